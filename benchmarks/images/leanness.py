"""Bytes at equal quality: each encoder's, as a share of those of Pillow's default at one quality.

For each photo and size, qualities are tried upwards and downwards until the reference's score is between two of them;
the bytes in between are interpolated in their logarithm. An encoder's figure is its bytes over all photos.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from benchmarks.common.outcome import Grid, Part, Target

from . import corpus, engine
from .decoders import full, jpeg
from .metrics import BY_SCALE, SSIM, SSIMULACRA2, Reference
from .settings import CPUS, Options

REFERENCE_QUALITY = 87
BOXES = ((160, 120), (240, 180), (640, 480))
MEASURES = (SSIMULACRA2, BY_SCALE, SSIM)
_STEP, _LOWEST, _HIGHEST = 4, 16, 100

_WANTED = {(160, 120): 0.75, (240, 180): 0.75, (640, 480): 0.82}


@dataclass(frozen=True)
class Encoder:
    """``start`` is the quality that is tried first."""

    encode: Callable[[Image.Image, int], bytes]
    start: int = REFERENCE_QUALITY


@dataclass(frozen=True)
class Comparison:
    """One photo at one size: the reference's bytes, and each encoder's at equal score (None: never reached)."""

    reference_bytes: int
    equal_bytes: dict[str, dict[str, float | None]]


def encoders() -> dict[str, Encoder]:
    """Return the contenders by name."""
    return {
        "Pillow optimize": Encoder(lambda image, quality: jpeg(image, quality, optimize=True)),
        **{f"ImageSys {name}": Encoder(encode) for name, encode in engine.encoders().items()},
        **{name: Encoder(encode, start) for name, (encode, start) in engine.siblings().items()},
    }


def measure(options: Options) -> Part:
    """Compare all encoders on the same photos at three sizes."""
    photos = corpus.plain_photos(options.quality_photos, corpus.photos(options.photos))
    files = [photo.file for photo in photos if photo.width >= 640 and photo.height >= 480]
    part = Part(f"Leanness: bytes at equal quality, {len(files)} photos, Pillow's default at {REFERENCE_QUALITY} = 1")
    with ProcessPoolExecutor(CPUS, mp_context=get_context("spawn")) as pool:
        for box in BOXES:
            compared = list(pool.map(compare, files, [box] * len(files)))
            _add(part, box, compared)
    part.notes.append(
        "Photos in full, scaled with LANCZOS, unsharpened. Below 256 pixels the published SSIMULACRA2 gives some "
        "scales another one's weights (as its C++ original does): 'by scale' is the same score with each weight in "
        "its place."
    )
    return part


def compare(file: Path, box: tuple[int, int]) -> Comparison:
    """Compare all encoders on one photo."""
    reference = Reference(full(file, box))
    original = jpeg(reference.image, REFERENCE_QUALITY)
    wanted = reference.scores(_decoded(original))
    known: dict[bytes, dict[str, float]] = {}  # encoders that differ in packing alone share their scores
    equal = {name: equal_bytes(encoder, reference, wanted, known) for name, encoder in encoders().items()}
    return Comparison(len(original), equal)


def equal_bytes(
    encoder: Encoder, reference: Reference, wanted: dict[str, float], known: dict[bytes, dict[str, float]]
) -> dict[str, float | None]:
    """Return an encoder's bytes at each of the wanted scores."""
    points: dict[int, tuple[int, dict[str, float]]] = {}

    def point(quality: int) -> dict[str, float]:
        if quality not in points:
            data = encoder.encode(reference.image, quality)
            image = _decoded(data)
            pixels = image.tobytes()
            if pixels not in known:
                known[pixels] = reference.scores(image)
            points[quality] = (len(data), known[pixels])
        return points[quality][1]

    found: dict[str, float | None] = {}
    for measure_name, score in wanted.items():
        low = high = encoder.start
        while low > _LOWEST and point(low)[measure_name] > score:
            low = max(_LOWEST, low - _STEP)
        while high < _HIGHEST and point(high)[measure_name] < score:
            high = min(_HIGHEST, high + _STEP)
        point(low)
        point(high)
        bracket = [(points[q][1][measure_name], points[q][0]) for q in sorted(points) if low <= q <= high]
        found[measure_name] = interpolated(bracket, score)
    return found


def interpolated(points: Sequence[tuple[float, int]], score: float) -> float | None:
    """Return the bytes at ``score`` between the first two points around it, by the logarithm of the bytes."""
    for (score_a, bytes_a), (score_b, bytes_b) in pairwise(points):
        if score_a <= score <= score_b and score_b > score_a:
            share = (score - score_a) / (score_b - score_a)
            return math.exp(math.log(bytes_a) + share * (math.log(bytes_b) - math.log(bytes_a)))
    return next((float(size) for own, size in points if own == score), None)


def _decoded(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _add(part: Part, box: tuple[int, int], compared: Sequence[Comparison]) -> None:
    label = f"{box[0]}x{box[1]}"
    names = list(compared[0].equal_bytes)
    shares = {name: {m: _share(compared, name, m) for m in MEASURES} for name in names}
    rows = [["Pillow default", *["1.000"] * len(MEASURES), "0"]]
    for name in names:
        unreached = sum(one.equal_bytes[name][m] is None for one in compared for m in MEASURES)
        rows.append([name, *[_text(shares[name][m]) for m in MEASURES], str(unreached)])
    part.grids.append(Grid(f"{label}: bytes at equal score", ("encoder", *MEASURES, "scores not reached"), rows))
    lean = shares["ImageSys lean"]
    part.targets.append(Target(f"lean at {label}, equal {SSIMULACRA2}", "<=", _WANTED[box], lean[SSIMULACRA2]))
    part.targets.append(Target(f"lean at {label}, equal {SSIM}", "<=", 1.0, lean[SSIM]))
    part.data[label] = shares


def _share(compared: Sequence[Comparison], name: str, measure_name: str) -> float | None:
    pairs = [
        (size, one.reference_bytes) for one in compared if (size := one.equal_bytes[name][measure_name]) is not None
    ]
    if len(pairs) < 0.9 * len(compared):
        return None  # what is left would not be the same photos
    return sum(size for size, _ in pairs) / sum(reference for _, reference in pairs)


def _text(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"
