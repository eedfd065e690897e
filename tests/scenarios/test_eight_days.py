"""Eight days of a country with a host whose answers nobody can read: the other photos live through each of them."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest

from imagesys_lib.config.intervals import local_day
from imagesys_lib.runs.runs import Run, RunKind
from tests.soak.days import age_by_a_day
from tests.support.answers import CASES, nested_bomb
from tests.support.images import encoded, quarters
from tests.support.raw_host import RawHost, serving_all
from tests.support.site import raw, whole
from tests.support.world import DAY, World

DAYS = 8
UNREADABLE = (
    "an empty line and no more",
    "status of 60 digits",
    "a coding of words that are no text",
    "no status line",
)


@pytest.fixture
def bad_and_good(world: World):
    """A host that cannot be read, and 40 photos of another one."""
    bad, good = RawHost("127.0.0.11"), RawHost("127.0.0.12")
    photos = [encoded(quarters(200 + number, 160), "JPEG") for number in range(40)]
    for number, photo in enumerate(photos):
        good.put(f"/{number}.jpg", whole(photo))
    world.reconfigure(retry={"first_hours": 1, "max_hours": 12})
    with serving_all(bad, good):
        yield bad, good


@pytest.mark.long
def test_forty_of_forty_one_photos_live_each_of_eight_days_beside_a_host_that_cannot_be_read(
    world: World, bad_and_good: tuple[RawHost, RawHost]
) -> None:
    bad, good = bad_and_good
    answers = iter(
        [*(CASES[name].answer for name in UNREADABLE), nested_bomb(), b"", b"\xff" * 5000, b"HTTP/1.1 \r\n\r\n"]
    )
    seen = []
    for number in range(DAYS):
        day = DAY + dt.timedelta(days=number)
        bad.otherwise = raw(next(answers))
        moment = dt.datetime.combine(day, dt.time(12))
        if number == 0:
            world.put("other", *(good.url(f"/{n}.jpg") for n in range(40)), at=moment)
        world.put("bad", bad.url("/1.jpg"), at=moment)
        asked = len(bad.asked)
        summary = world.pipeline(Run(f"scheduled__{day}", RunKind.SCHEDULED, local_day(day, world.ctx.config.zone)))
        assert summary.lost == []
        assert len(bad.asked) > asked  # asked again each day
        assert len(world.live()) == 40
        row = world.images()[bad.url("/1.jpg")]
        assert row.state == "failed"
        seen.append(row.reason)
        assert (len(row.reason) <= 40, len(row.detail) <= 255) == (True, True)
        age_by_a_day(world)
    assert Counter(seen) == {"protocol": 6, "http_555": 1, "connect": 1}
    world.equal_trees()


def test_every_answer_of_the_table_ends_in_the_database_and_loses_no_batch(
    world: World, bad_and_good: tuple[RawHost, RawHost]
) -> None:
    bad, good = bad_and_good
    world.reconfigure(fetch={"tries": 1, "breaker": {"failures": 1000}}, batch={"size": 500})
    urls = {name: bad.put(f"/{n}.jpg", raw(case.answer)) for n, (name, case) in enumerate(CASES.items())}
    world.put("bad", *urls.values())
    world.put("other", *(good.url(f"/{n}.jpg") for n in range(40)))
    assert world.pipeline().lost == []
    images = world.images()
    ends = {name: images[url].reason or images[url].state for name, url in urls.items()}
    assert ends == {name: "live" if case.right == "photo" else case.right for name, case in CASES.items()}
    assert len(world.live()) == 40 + sum(case.right == "photo" for case in CASES.values())
