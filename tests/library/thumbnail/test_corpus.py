"""Thousands of damaged pictures: each ends live or with one reason, none is lost, and none costs more than it may.

A failure names seed and number: ``python -m tests.support.corpus SEED NUMBER > file`` makes the same file again.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imagesys_lib.thumbnail.messages import Made, ThumbnailJob
from imagesys_lib.thumbnail.processes.pool import TASK_IMAGES, Decoders
from tests.support import bombs
from tests.support.anatomy import anatomy
from tests.support.corpus import Specimen, originals, photographs, specimen
from tests.support.fault_site import ADDRESSES
from tests.support.poison import MAKING, timed
from tests.support.raw_host import RawHost, serving_all
from tests.support.site import whole
from tests.support.watch import Stages, Watch, assert_nothing_is_left
from tests.support.world import World

MEMORY_MB = 512
OVERHEAD_MB = 160  # of a process with its libraries, which the limit on allocations does not count
SECONDS = 8.0  # of one image: two busy cores are slower than one idle one
MEAN_SECONDS = 0.1
SETTINGS = {
    "batch": {"size": 2000, "lease_seconds": 10},
    "fetch": {"per_host": 64, "image_deadline": 30, "read_timeout": 20},
    "thumbnail": {"memory_mb": MEMORY_MB, "seconds": SECONDS, "placeholder_listings": 0},
}
OUTCOMES = frozenset(
    {
        "live",
        "failed:truncated",
        "rejected:decode_error",
        "rejected:not_an_image",
        "rejected:too_many_pixels",
        "rejected:too_small",
        "rejected:unsupported_format",
        "quarantined:decoder_crash",
    }
)
SLOW_OR_HUNGRY = "quarantined:decoder_crash"


@pytest.fixture
def host(world: World) -> Iterator[RawHost]:
    world.reconfigure(**SETTINGS)
    server = RawHost(ADDRESSES[0])
    with serving_all(server):
        yield server


def show(world: World, urls: list[str]) -> None:
    for number in range(0, len(urls), 20):
        world.put(f"listing-{number}", *urls[number : number + 20])


def is_cut(one: Specimen) -> bool:
    """Whether much of the picture must be missing; of other formats the end may be of no account.

    Half of a progressive JPEG is the whole picture, a little blurred.
    """
    if one.kind not in ("JPEG", "WEBP", "AVIF") or not one.story.endswith(", truncated") or "many-pic" in one.story:
        return False
    if one.kind != "JPEG":
        return True
    whole = {f"{kind} {name}": data for kind, name, data in (*originals(), *photographs())}
    original = whole[one.story.removesuffix(", truncated")]
    return b"\xff\xc2" not in original and len(one.data) < 0.8 * len(original)


def assert_lean_jpegs(root: Path, url: str, image_data: dict[str, dict[str, Any]]) -> None:
    """Both files of a live image: whole, of their size, and with nothing in them but the picture."""
    for number, row in image_data.items():
        data = (root / row["path"]).read_bytes()
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
        assert (picture.format, picture.mode in ("RGB", "L"), len(data)) == ("JPEG", True, row["bytes"]), url
        assert picture.size == (row["width"], row["height"]), url
        assert (picture.size == (60, 60)) if number == "1" else (picture.width <= 160 and picture.height <= 120), url
        markers = {data[start + 1] for start, _ in anatomy("JPEG", data).blocks}
        assert not markers & {*range(0xE1, 0xF0), 0xFE}, (url, [hex(marker) for marker in markers])


def brought_through(
    world: World, files: dict[str, bytes], host: RawHost, mean_seconds: float = MEAN_SECONDS
) -> dict[str, str]:
    """Bring files through the whole pipeline and return their outcomes by name, after all that must hold of any."""
    urls = {host.put(f"/{name}", whole(data)): name for name, data in files.items()}
    show(world, list(urls))
    watch, stages = Watch(), Stages()
    with watch.running():
        summary = world.pipeline(say=stages)
    assert summary.lost == []
    states = world.states()
    outcomes = {name: states[url] for url, name in urls.items()}
    assert set(outcomes.values()) <= OUTCOMES, {n: o for n, o in outcomes.items() if o not in OUTCOMES}
    assert len(states) == len(files)
    live = {url for url, state in states.items() if state == "live"}
    assert set(world.live()) == live
    assert_nothing_is_left(world, live)
    assert watch.largest_child < (MEMORY_MB + OVERHEAD_MB) << 20
    made = sum(seconds for stage, seconds in stages.seconds.items() if stage.endswith("thumbnail"))
    assert made / len(files) < mean_seconds
    return outcomes


def through_the_pipeline(world: World, host: RawHost, seed: int, numbers: range) -> Counter[str]:
    specimens = {f"{seed}/{number}": specimen(seed, number) for number in numbers}
    files = {name: one.data for name, one in specimens.items()}
    outcomes = brought_through(world, files, host)
    for url, row in world.live().items():
        assert_lean_jpegs(world.root("n1"), url, row.image_data)
    assert [name for name, one in specimens.items() if is_cut(one) and outcomes[name] == "live"] == []
    assert all(row.detail for row in world.images().values() if row.state != "live")
    counts = Counter(outcomes.values())
    assert counts[SLOW_OR_HUNGRY] <= len(files) / 200, {n for n, o in outcomes.items() if o == SLOW_OR_HUNGRY}
    assert counts["live"] > len(files) / 5  # the corpus would prove little if nothing survived it
    return counts


def test_every_original_is_a_good_photo(world: World, host: RawHost) -> None:
    files = {f"{kind}/{name}": data for kind, name, data in originals()}
    outcomes = brought_through(world, files, host)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "live"} == {}


def test_crafted_bombs_cost_no_more_than_a_photo_may(world: World, host: RawHost) -> None:
    world.reconfigure(**{**SETTINGS, "thumbnail": {"memory_mb": MEMORY_MB, "seconds": 4}})
    files = {**bombs.pixel_bombs(), **bombs.resource_bombs()}
    outcomes = brought_through(world, files, host, mean_seconds=1)
    assert {outcomes[name] for name in bombs.pixel_bombs()} == {"rejected:too_many_pixels"}
    assert {name for name, outcome in outcomes.items() if outcome == SLOW_OR_HUNGRY} <= bombs.COSTLY


@pytest.mark.parametrize("count", [100, pytest.param(300, marks=pytest.mark.long)])
def test_short_hundreds_of_damaged_files_end_each_with_its_reason(world: World, host: RawHost, count: int) -> None:
    through_the_pipeline(world, host, 2026, range(count))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_long_thousands_of_damaged_files_end_each_with_its_reason(world: World, host: RawHost, seed: int) -> None:
    through_the_pipeline(world, host, seed, range(2000))


# Straight through the decoding processes, ten times as many


def decoded(folder: Path, specimens: Iterator[Specimen]) -> Iterator[tuple[Specimen, Made, float]]:
    """Yield each specimen, what two processes made of it, and the seconds; memory does not grow with their number."""
    known: dict[int, Specimen] = {}
    pending: set[Future[list[Made]]] = set()
    with Decoders(2, MEMORY_MB, SECONDS, timed) as decoders:
        while True:
            while len(pending) < 4 and (chunk := [one for _, one in zip(range(TASK_IMAGES), specimens, strict=False)]):
                jobs = []
                for one in chunk:
                    source = folder / f"{one.number}.file"
                    source.write_bytes(one.data)
                    known[one.number] = one
                    jobs.append(ThumbnailJob(one.number, source, folder, f"out/{one.number}", MAKING))
                pending.add(decoders.submit(jobs))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for made in [result for future in done for result in future.result()]:
                seconds = folder / f"{made.key}.seconds"
                took = float(seconds.read_text()) if seconds.exists() else SECONDS
                seconds.unlink(missing_ok=True)
                (folder / f"{made.key}.file").unlink()
                yield known.pop(made.key), made, took


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [11, 12])
def test_long_tens_of_thousands_of_damaged_files_break_no_decoder(tmp_path: Path, seed: int) -> None:
    (tmp_path / "out").mkdir()
    watch, count = Watch(), 20_000
    broken, seconds = [], 0.0
    with watch.running():
        for one, made, took in decoded(tmp_path, (specimen(seed, number) for number in range(count))):
            seconds += took
            assert bool(made.thumbs) != bool(made.code), one
            assert not (made.thumbs and is_cut(one)), one
            if made.code == "decoder_crash":
                broken.append((one.number, one.story, made.detail))
            for thumb in made.thumbs:
                (tmp_path / thumb["path"]).unlink()
    assert len(broken) <= count / 1000, broken
    assert watch.largest_child < (MEMORY_MB + OVERHEAD_MB) << 20
    assert seconds / count < MEAN_SECONDS
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
