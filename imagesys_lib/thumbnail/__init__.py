"""Thumbnails of one photo, and the processes that make them: decode no more than needed, finish, encode lean.

:mod:`make` says how one photo goes, by :mod:`decode`, :mod:`finish` and :mod:`encode`. :mod:`pool` has it done in child
processes (:mod:`worker`, :mod:`preload`) that a broken decoder may take down. No decoder is imported here: who hands
out :mod:`jobs` needs none.
"""

from imagesys_lib.thumbnail.messages import Limits

__all__ = ["Limits"]
