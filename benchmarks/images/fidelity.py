"""How near the scaled pixels are to a full decode with LANCZOS, before anything is sharpened or encoded."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from benchmarks.common.outcome import Grid, Part

from . import contact_sheet, corpus, decoders, engine, peer
from .metrics import BY_SCALE, SSIM, SSIMULACRA2, Reference
from .pinning import run_all
from .settings import BASE, CPUS, ENCODERS, HERE, QUALITY, SIZES, Options

BOX = (SIZES[0][0], SIZES[0][1])
_FOLDER = BASE / "pixels"
_INTERPOLATIONS = ("area", "linear", "nearest")  # what img2dataset may be told to use
_SHEET_PHOTOS = 8
_DIGITS = {SSIMULACRA2: 1, BY_SCALE: 1, SSIM: 4}


def ways() -> dict[str, Callable[[Path], Image.Image]]:
    """Return the contenders by name: file to image of at most 160x120."""
    return {
        **{f"ImageSys {name}": partial(engine.scaled, encoder=name, box=BOX) for name in ENCODERS},
        "Pillow draft at the size + LANCZOS": partial(decoders.draft, box=BOX),
        "Pillow draft at twice the size + LANCZOS": partial(decoders.draft, box=BOX, oversampling=2),
        "simplejpeg M/8 at the size + LANCZOS": partial(decoders.scaled_by_simplejpeg, box=BOX),
        **{f"cv2 full decode + {name}": partial(_by_cv2, interpolation=name) for name in _INTERPOLATIONS},
    }


def measure(options: Options) -> Part:
    """Score all contenders on the same photos and draw the contact sheet."""
    photos = corpus.plain_photos(options.quality_photos, corpus.photos(options.photos))
    files = [photo.file for photo in photos]
    prepare(files)
    with ProcessPoolExecutor(CPUS, mp_context=get_context("spawn")) as pool:
        scored = list(pool.map(score, files))
    part = Part(f"Fidelity of 160x120 before sharpening and encoding, {len(files)} photos")
    rows = []
    for name in scored[0]:
        values = {m: [one[name][m] for one in scored] for m in _DIGITS}
        part.data[name] = values
        rows.append(
            [
                name,
                *(
                    f"{statistics.median(some):.{_DIGITS[m]}f} / {min(some):.{_DIGITS[m]}f}"
                    for m, some in values.items()
                ),
            ]
        )
    columns = ("median / min of", *_DIGITS)
    part.grids.append(Grid("Against full decode + LANCZOS", columns, rows))
    sheet = contact_sheet.draw(_for_sheet(files), BASE / "contact-sheet.png")
    part.notes.append(f"Contact sheet: {sheet.name}. Its figures are of files at quality {QUALITY}, unsharpened.")
    return part


def prepare(files: Sequence[Path]) -> None:
    """Let img2dataset's environment make its thumbnails and cv2's pixels of these files."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    jobs = []
    for file in files:
        with Image.open(file) as image:
            size = decoders.fitted(image.size, BOX)
        jobs.append(
            {
                "source": str(file),
                "jpeg": str(peer_file(file)),
                "png": {name: str(_cv2_file(file, name)) for name in _INTERPOLATIONS},
                "size": size,
                "quality": QUALITY,
            }
        )
    (_FOLDER / "jobs.json").write_text(json.dumps(jobs))
    run_all(
        [[str(peer.python()), str(HERE / "peer_pixels.py"), str(_FOLDER / "jobs.json")]], BASE / "log" / "pixels.log"
    )


def score(file: Path) -> dict[str, dict[str, float]]:
    """Return every contender's scores for one photo."""
    reference = Reference(decoders.full(file, BOX))
    return {name: reference.scores(way(file)) for name, way in ways().items()}


def peer_file(file: Path) -> Path:
    """Return where img2dataset's thumbnail of a photo lies."""
    return _FOLDER / f"{file.stem}.img2dataset.jpg"


def _cv2_file(file: Path, interpolation: str) -> Path:
    return _FOLDER / f"{file.stem}.{interpolation}.png"


def _by_cv2(file: Path, interpolation: str) -> Image.Image:
    with Image.open(_cv2_file(file, interpolation)) as image:
        return image.convert("RGB")


def _for_sheet(files: Sequence[Path]) -> list[contact_sheet.Row]:
    """Choose photos of which all contenders make the same size, so that they can be compared."""
    rows = []
    for file in files:
        with Image.open(peer_file(file)) as image:
            same_size = image.size == decoders.full(file, BOX).size
        if same_size:
            rows.append(contact_sheet.Row(file, peer_file(file)))
        if len(rows) == _SHEET_PHOTOS:
            break
    return rows
