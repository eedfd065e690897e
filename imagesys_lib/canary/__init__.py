"""The canary: one known photo goes the whole way to every node and is read back ("live continuous testing").

:mod:`flight` has the way, :mod:`visit` what is done at one node, :mod:`legs` how steps are timed and judged. It knows
no image, batch or listing: it meets the daily run only at the host gate and on the nodes.
"""

from imagesys_lib.canary.flight import fly
from imagesys_lib.canary.legs import Flight, Leg

__all__ = ["Flight", "Leg", "fly"]
