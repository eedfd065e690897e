"""Thumbnails of one photo, and the processes that make them: decode no more than needed, finish, encode lean.

:mod:`one_photo` has the steps, by :mod:`decode`, :mod:`scale`, :mod:`gamma_and_sharpen` and :mod:`encode`. :mod:`pool`
has them done in child processes (:mod:`worker`, :mod:`preload`) that a broken decoder may take down. No decoder is
imported here: who hands out jobs (:mod:`messages`) needs none.
"""

from imagesys_lib.thumbnail.messages import Limits

__all__ = ["Limits"]
