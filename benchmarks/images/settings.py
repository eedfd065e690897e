"""Where the benchmark lives, on which ports, and what every part of it shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.scratch import scratch
from imagesys_lib.config import Batching
from include.sandbox.settings import PROJECT

BASE = PROJECT / ".local" / "bench-images"
HERE = Path(__file__).parent

SCRATCH = scratch("bench-images", BASE / "scratch")
"""What contenders write."""

UV = PROJECT / ".local" / "tools" / "bin" / "uv"

PORT_BASE = 18500
"""+0 is the private MariaDB, +10 the web server."""

WEB_PORT = PORT_BASE + 10
WEB_HOSTS = tuple(f"127.0.0.{last}" for last in range(41, 61))
"""Twenty hosts, so that no limit per host binds."""

DELAY_SECONDS = 0.2
CPUS = 2
"""Every contender, with its children, and the web server share this many processors."""

PYTHON = "3.11"
"""Of the contenders' own environments; img2dataset needs a module that 3.13 dropped."""

COUNTRY = "uk"
SIZES = ((160, 120, "fit"), (60, 60, "crop"))
QUALITY = 90
ENCODERS = ("fast", "lean")

PARTS = ("end-to-end", "cpu", "leanness", "fidelity", "memory")


@dataclass(frozen=True)
class Options:
    """What a call asks for.

    ``urls`` are those of the end-to-end list, by default two batches of the default size; ``quality_photos`` those of
    the parts that compare pixels.
    """

    photos: int = 1500
    urls: int = CPUS * Batching().size
    rounds: int = 3
    parts: tuple[str, ...] = PARTS
    quality_photos: int = 100
    memory_images: int = 5000
    calibrate: bool = True
