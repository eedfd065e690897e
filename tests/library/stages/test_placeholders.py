"""Placeholders served as photos: found out by their bytes, set aside, unpublished where they are live."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_placeholders
from imagesys_lib.stages.shared import placeholders
from tests.support.images import encoded, quarters
from tests.support.photo_host import PhotoHost, photo_host
from tests.support.world import World

NOTHING_YET = encoded(quarters(300, 200), "PNG")


@pytest.fixture
def host(world: World) -> Iterator[PhotoHost]:
    world.reconfigure(thumbnail={"placeholder_listings": 3})
    with photo_host() as server:
        yield server


def show(
    world: World, host: PhotoHost, listings: range, *, datasource: int = 101, body: bytes = NOTHING_YET
) -> list[str]:
    """Let each listing show a URL of its own with the same bytes."""
    urls = [host.put(f"/{datasource}/{number}.png", body) for number in listings]
    for number, url in zip(listings, urls, strict=True):
        world.put(f"{datasource}-{number}", url, datasource=datasource)
    return urls


def test_the_same_bytes_on_more_listings_than_allowed_are_a_placeholder(world: World, host: PhotoHost) -> None:
    many = show(world, host, range(4))
    few = show(world, host, range(3), datasource=102)  # the same bytes, but each data source for itself
    good = host.put("/good.jpg", encoded(quarters(320, 200), "JPEG"))
    world.put("good", good)
    summary = world.pipeline()
    assert summary.lost == []
    assert summary.reasons == {"quarantined": {"placeholder": 4}}
    assert set(world.live()) == {*few, good}
    states = world.states()
    assert {states[url] for url in many} == {"quarantined:placeholder"}
    assert world.staged("originals") == []


def test_one_url_on_many_listings_of_a_data_source_is_a_placeholder_too(world: World, host: PhotoHost) -> None:
    url = host.put("/none.png", NOTHING_YET)
    for number in range(4):
        world.put(f"l{number}", url)
    world.pipeline()
    assert world.states() == {url: "quarantined:placeholder"}


def test_a_listing_that_shows_the_same_bytes_often_counts_once(world: World, host: PhotoHost) -> None:
    urls = [host.put(f"/{number}.png", NOTHING_YET) for number in range(6)]
    world.put("one", *urls)
    world.pipeline()
    assert set(world.live()) == set(urls)


def test_placeholders_that_are_live_already_are_unpublished_and_leave_the_nodes(world: World, host: PhotoHost) -> None:
    good = host.put("/good.jpg", encoded(quarters(320, 200), "JPEG"))
    world.put("good", good)
    first = show(world, host, range(3))
    world.pipeline()
    assert set(world.live()) == {*first, good}
    assert len(world.equal_trees()) == 8
    second = show(world, host, range(3, 5))
    summary = world.pipeline()
    assert set(world.live()) == {good}
    assert summary.reasons == {"quarantined": {"placeholder": 2}}  # of the run's own
    world.sync_all()
    assert len(world.equal_trees()) == 2
    assert world.staged("out") == []
    assert {world.states()[url] for url in (*first, *second)} == {"quarantined:placeholder"}

    # Found out once, it is known: the next one is set aside at sight, and nothing is counted anew.
    third = show(world, host, range(5, 6))
    world.pipeline()
    assert world.states()[third[0]] == "quarantined:placeholder"
    assert [row.listings for row in world.rows(sa.select(lis_placeholders))] == [5]


def test_a_live_photo_that_more_and_more_listings_show_is_a_placeholder_without_a_download(
    world: World, host: PhotoHost
) -> None:
    url = host.put("/none.png", NOTHING_YET)
    good = host.put("/good.jpg", encoded(quarters(320, 200), "JPEG"))
    for number in range(3):
        world.put(f"l{number}", url)
    world.put("good", good)
    world.pipeline()
    assert set(world.live()) == {url, good}
    for number in range(3, 5):
        world.put(f"l{number}", url)
    world.pipeline()
    assert set(world.live()) == {good}
    world.sync_all()
    assert len(world.equal_trees()) == 2
    assert world.states()[url] == "quarantined:placeholder"
    assert len(host.asked) == 2


@pytest.mark.long
def test_a_higher_limit_and_a_retry_bring_what_was_no_placeholder_back(world: World, host: PhotoHost) -> None:
    urls = show(world, host, range(4))
    world.pipeline()
    assert world.live() == {}
    world.reconfigure(thumbnail={"placeholder_listings": 10})
    assert world.cli("retry", "uk", "--reason", "placeholder").code == 0
    world.pipeline()
    assert set(world.live()) == set(urls)
    assert len(world.equal_trees()) == 8


def test_nothing_is_a_placeholder_where_the_limit_is_zero(world: World, host: PhotoHost) -> None:
    world.reconfigure(thumbnail={"placeholder_listings": 0})
    urls = show(world, host, range(12))
    world.pipeline()
    assert set(world.live()) == set(urls)


def test_no_statement_about_placeholders_walks_a_table(world: World, host: PhotoHost) -> None:
    show(world, host, range(4))
    world.pipeline()
    world.new_images(3000)
    world.sql("UPDATE lis_images SET state = 'live' WHERE state = 'new'")
    world.sql("ANALYZE TABLE lis_images")
    statements: list[tuple[str, object]] = []

    def listen(_conn: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("SELECT lis_images") and "placeholders" in statement:
            statements.append((statement, parameters))

    sa.event.listen(world.ctx.db, "before_cursor_execute", listen)
    placeholders.unpublish_placeholders(world.ctx.db, 3)
    assert statements
    for statement, parameters in statements:
        with world.ctx.db.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).mappings().all()  # type: ignore[call-overload]
        assert {row["table"]: row["key"] for row in plan}["lis_images"] == "ix_images_source"
