"""img2dataset, the established downloader and resizer of photo lists, in an environment of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .outcome import Done
from .pinning import ensure_venv, run_all
from .settings import BASE, CPUS, HERE, QUALITY, SCRATCH, SIZES

VENV = BASE / "img2dataset-venv"
OUT = SCRATCH / "img2dataset"
_URLS = BASE / "urls.txt"

_CALL = "import json, sys; from img2dataset import download; download(**json.loads(sys.argv[1]))"


@dataclass(frozen=True)
class Tuning:
    """What img2dataset lets one choose, as far as it changes the speed. ``shards`` is the number of its jobs."""

    threads: int = 32
    interpolation: str = "area"
    output: str = "files"
    shards: int = CPUS

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.interpolation}, {self.output}, {self.shards} shards"


def python() -> Path:
    """Return the Python that has img2dataset."""
    return ensure_venv(VENV, HERE / "requirements-img2dataset.txt")


def run(urls: Sequence[str], tuning: Tuning) -> Done:
    """Make one thumbnail of each URL: longest side 160, nothing done that could be left out."""
    shutil.rmtree(OUT, ignore_errors=True)
    _URLS.write_text("\n".join(urls) + "\n")
    settings = {
        "url_list": str(_URLS),
        "output_folder": str(OUT),
        "processes_count": CPUS,
        "thread_count": tuning.threads,
        "number_sample_per_shard": -(-len(urls) // tuning.shards),
        "output_format": tuning.output,
        "image_size": SIZES[0][0],
        "resize_mode": "keep_ratio_largest",
        "resize_only_if_bigger": True,
        "downscale_interpolation": tuning.interpolation,
        "encode_quality": QUALITY,
        "extract_exif": False,
        "compute_hash": None,
        "disallowed_header_directives": [],
        "enable_wandb": False,
        "timeout": 20,
        "retries": 2,
    }
    # Its check for a newer release of one of its parts would wait for the network.
    env = {"NO_ALBUMENTATIONS_UPDATE": "1"}
    cost = run_all([[str(python()), "-c", _CALL, json.dumps(settings)]], BASE / "log" / "img2dataset.log", env)
    return Done(cost, *_counts(), _last_file())


def _counts() -> tuple[int, dict[str, int]]:
    """Return the images that it counts as done, and the failures by reason."""
    done, failures = 0, {}
    for file in OUT.glob("*_stats.json"):
        stats = json.loads(file.read_text())
        done += stats["successes"]
        for reason, count in stats["status_dict"].items():
            if reason != "success":
                failures[reason] = failures.get(reason, 0) + count
    return done, failures


def _last_file() -> float:
    """Return when the last photo's file, or its part of an archive, was written (epoch)."""
    files = [*OUT.glob("*/*.jpg")] or [*OUT.glob("*.tar")]
    return max((file.stat().st_mtime for file in files), default=0.0)


def candidates(threads: Sequence[int], best: Tuning, *, all_settings: bool) -> Iterator[Tuning]:
    """Yield what to try, asking for the best so far by ``send``: threads first, then one other setting at a time."""
    for count in threads:
        best = (yield replace(best, threads=count)) or best
    if all_settings:
        best = (yield replace(best, interpolation="linear")) or best
        best = (yield replace(best, interpolation="nearest")) or best
        best = (yield replace(best, output="webdataset")) or best
        yield replace(best, shards=4 * CPUS)


def described(tuning: Tuning) -> dict[str, object]:
    """Return a tuning for the report."""
    return asdict(tuning)
