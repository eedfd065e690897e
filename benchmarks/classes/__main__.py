"""Print precision, recall, confusion and cost of the classes; ``--fit`` prints the weights as well.

python -m benchmarks.classes [--each 60] [--size 160x120] [--fit] [--photographs FOLDER ...] [--drawings FILE ...]

The photographs are those of the sandbox and of any folder given, such as where packages with pictures are installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from benchmarks.classes.measure import Picture, fitted, pictures, told
from imagesys_lib.thumbnail.classes import class_of
from include.sandbox.photos.originals import fetch_originals
from include.sandbox.settings import DEFAULT_CACHE

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
_ROUNDS = 20


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        found = place.rglob("*") if place.is_dir() else [place]
        yield from (file for file in found if file.suffix.lower() in _SUFFIXES)


def opened(files: Iterable[Path]) -> dict[str, Image.Image]:
    """Return pictures by file name, on white, at most 1600 pixels a side."""
    found = {}
    for file in files:
        picture = Image.open(file)
        picture.draft("RGB", (1600, 1600))
        whole = picture.convert("RGBA")
        whole.thumbnail((1600, 1600))
        found[file.name] = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return found


def _microseconds(some: list[Picture]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time()
        for picture in some:
            class_of(picture.pixels)
        best = min(best, (time.process_time() - start) / len(some))
    return best * 1e6


def main() -> None:
    """Make the pictures and print what comes of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=60, help="pictures of each family")
    parser.add_argument("--size", default="160x120", help="of the thumbnail that is looked at")
    parser.add_argument("--fit", action="store_true", help="print the weights")
    parser.add_argument("--photographs", type=Path, nargs="*", default=[], help="more of them: files, folders")
    parser.add_argument("--drawings", type=Path, nargs="*", default=[], help="graphics: files, folders")
    asked = parser.parse_args()
    originals = [original.file(DEFAULT_CACHE) for original in fetch_originals(DEFAULT_CACHE)]
    photographs = opened([*originals, *_files(asked.photographs)])
    width, height = map(int, asked.size.split("x"))
    some = list(pictures(photographs, opened(_files(asked.drawings)), asked.each, (width, height)))
    for what, held_out in (("weighed", False), ("held out", True)):
        result = told(picture for picture in some if picture.held_out == held_out)
        count = sum(result.confusion.values())
        print(f"{what}: {count} pictures, photo precision {result.precision:.1%}, recall {result.recall:.1%}")
        for (kind, said), number in sorted(result.confusion.items()):
            print(f"  {kind:8} said to be {said:8} {number:5}")
        print("  " + ", ".join(f"{family} {share:.0%}" for family, share in result.right.items()))
    print(f"{_microseconds(some[:: max(1, len(some) // 200)]):.0f} microseconds of CPU a picture")
    if asked.fit:
        print("\n".join(f"  {name}: {value:.3g}" for name, value in fitted(some).items()))


if __name__ == "__main__":
    main()
