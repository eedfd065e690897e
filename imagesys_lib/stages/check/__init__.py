"""Check: compare the files on a node with the database (fs_check, scrub), and the live table with itself (db_scan).

``parts`` cuts the tree into shares of a week, ``expected`` asks the database, ``compare`` merges both sides while they
stream, ``suspects`` checks once more whatever differed, before it counts.
"""

from imagesys_lib.stages.check.compare import Difference, Expected, differences
from imagesys_lib.stages.check.db_scan import db_scan
from imagesys_lib.stages.check.expected import expected_on
from imagesys_lib.stages.check.fs_check import check, daily_part
from imagesys_lib.stages.check.parts import WHOLE, Part
from imagesys_lib.stages.check.results import Checked
from imagesys_lib.stages.check.scrub import scrub
from imagesys_lib.stages.check.suspects import extra_cutoff, stat_images

__all__ = [
    "WHOLE",
    "Checked",
    "Difference",
    "Expected",
    "Part",
    "check",
    "daily_part",
    "db_scan",
    "differences",
    "expected_on",
    "extra_cutoff",
    "scrub",
    "stat_images",
]
