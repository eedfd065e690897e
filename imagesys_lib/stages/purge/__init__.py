"""Purge: images that no listing shows any more, or that have grown too old, leave the site first, then the nodes.

In two phases: an image is unpublished, its files wait for a grace period, and only then does a change delete them.
An ETL that cannot be reached, or suddenly shows much less than it did, purges nothing; a purge above its cap is left
as a proposal, which a person approves or rejects.
"""

from imagesys_lib.stages.purge.run import Purged, RuleResult, carry_out, purge

__all__ = ["Purged", "RuleResult", "carry_out", "purge"]
