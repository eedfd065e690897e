"""Where the benchmark lives, on which ports, and what every part of it shares."""

from __future__ import annotations

from dataclasses import dataclass

from include.sandbox.settings import PROJECT

BASE = PROJECT / ".local" / "bench-nodes"
TREES = BASE / "trees"

PORT_BASE = 18900
"""+0 is the private MariaDB, +1 to +3 are the sshd of n1 to n3."""

COUNTRY = "uk"
FILES_AN_IMAGE = 2
COUNTRY_FILES = 15_000_000
"""What the table at the end extends to: the files of a large country."""

PARTS = ("push", "check", "refill", "scrub")


@dataclass(frozen=True)
class Options:
    """What a call asks for.

    ``images`` are checked, and a push goes into a tree of so many files. ``day_images`` is the day of the table at
    the end.
    """

    images: int = 1_000_000
    rounds: int = 3
    parts: tuple[str, ...] = PARTS
    push_images: int = 2500
    refill_images: int = 20_000
    day_images: int = 50_000
    keep: bool = False
