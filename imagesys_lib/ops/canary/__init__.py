"""The canary: one known photo goes the whole way to every node and is read back ("live continuous testing").

:mod:`run` has the way, :mod:`node` what is done at one node, :mod:`timed_steps` how steps are timed and judged. It
knows no image, batch or listing: it meets the daily run only at the limits of hosts and on the nodes.
"""

from imagesys_lib.ops.canary.run import run_canary
from imagesys_lib.ops.canary.timed_steps import CanaryRun, Place

__all__ = ["CanaryRun", "Place", "run_canary"]
