"""Data sources: what a status means from them, and how one that fails is left alone and comes back."""

from __future__ import annotations

import sqlalchemy as sa

from imagesys_lib.config import Breaker
from imagesys_lib.db.schema import lis_datasources, lis_mails
from imagesys_lib.fetch.politeness.circuit_breaker import HALF_OPEN_IMAGES
from imagesys_lib.fetch.politeness.datasources import Tally, failing, may_try, note_results
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.thumbnail import thumbnail
from tests.support.images import encoded, quarters
from tests.support.photo_host import photo_host
from tests.support.world import World

SETTINGS = Breaker(source_percent=90, source_images=30, first_seconds=600, window_hours=24)


def test_a_status_means_what_its_data_source_says(world: World) -> None:
    with photo_host() as host:
        urls = {
            (datasource, status): host.put(f"/{datasource}-{status}", status=status)
            for datasource in (101, 102)
            for status in (403, 404, 410, 451)
        }
        world.reconfigure(
            fetch={"statuses": {451: "unknown"}}, datasources={102: {"statuses": {403: "gone", 404: "unknown"}}}
        )
        for (datasource, status), url in urls.items():
            world.put(f"{datasource}-{status}", url, datasource=datasource)
        world.pipeline()
    states = world.states()
    assert {key: states[url] for key, url in urls.items()} == {
        (101, 403): "failed:http_403",
        (101, 404): "rejected:http_404",
        (101, 410): "rejected:http_410",
        (101, 451): "failed:http_451",
        (102, 403): "rejected:http_403",
        (102, 404): "failed:http_404",
        (102, 410): "rejected:http_410",
        (102, 451): "failed:http_451",
    }
    assert len(host.asked) == len(urls)  # a refusal is not asked again within the batch


def test_a_data_source_whose_images_nearly_all_fail_is_left_alone_for_longer_each_time(world: World) -> None:
    db = world.ctx.db
    assert note_results(db, "uk", {7: Tally(29, 29)}, SETTINGS) == {}
    assert note_results(db, "uk", {7: Tally(1, 1), 8: Tally(30, 20)}, SETTINGS) == {7: 600}
    assert failing(db, [7, 8])[7].wait > 590
    assert failing(db, [8]) == {}
    assert note_results(db, "uk", {7: Tally(50, 50)}, SETTINGS) == {}  # open: what was under way tells nothing new
    elapse(world)
    assert note_results(db, "uk", {7: Tally(HALF_OPEN_IMAGES, HALF_OPEN_IMAGES)}, SETTINGS) == {7: 1200}
    elapse(world)
    assert note_results(db, "uk", {7: Tally(HALF_OPEN_IMAGES, 3)}, SETTINGS) == {}
    assert failing(db, [7]) == {}


def test_one_batch_of_all_tries_what_is_half_open_and_its_findings_count(world: World) -> None:
    db = world.ctx.db
    assert not may_try(db, 7, SETTINGS)  # closed: nothing to try
    note_results(db, "uk", {7: Tally(30, 30)}, SETTINGS)
    assert not may_try(db, 7, SETTINGS)  # open
    elapse(world)
    assert [may_try(db, 7, SETTINGS) for _ in range(3)] == [True, False, False]
    assert note_results(db, "uk", {7: Tally(HALF_OPEN_IMAGES, HALF_OPEN_IMAGES)}, SETTINGS) == {7: 1200}
    elapse(world)
    assert may_try(db, 7, SETTINGS)
    elapse(world)
    assert may_try(db, 7, SETTINGS)  # whoever was to try it has died
    assert note_results(db, "uk", {7: Tally(HALF_OPEN_IMAGES, 3)}, SETTINGS) == {}
    assert failing(db, [7]) == {}


def test_failures_of_long_ago_do_not_count(world: World) -> None:
    note_results(world.ctx.db, "uk", {7: Tally(29, 29)}, SETTINGS)
    world.sql("UPDATE lis_datasources SET window_at = window_at - INTERVAL 25 HOUR")
    assert note_results(world.ctx.db, "uk", {7: Tally(1, 1)}, SETTINGS) == {}


def elapse(world: World) -> None:
    past = sa.func.timestampadd(sa.text("SECOND"), -1, sa.func.utc_timestamp(6))
    world.write_all(world.ctx.db, [sa.update(lis_datasources).values(not_before=past)])


def test_pictures_that_cannot_be_read_count_against_their_data_source(world: World) -> None:
    with photo_host() as host:
        for number in range(40):
            world.put(
                f"bad-{number}", host.put(f"/{number}.jpg", b"<html>no longer listed %d" % number), datasource=666
            )
        world.put("good", host.put("/good.jpg", encoded(quarters(200, 150), "JPEG")), datasource=101)
        world.reconfigure(fetch={"breaker": {"source_percent": 90, "source_images": 30}})
        summary = world.pipeline()
    assert summary.reasons == {"rejected": {"not_an_image": 40}}
    found = failing(world.ctx.db, [101, 666])
    assert list(found) == [666]
    assert found[666].wait > 0


def test_a_bad_data_source_is_tried_with_a_few_images_and_comes_back_by_itself(world: World) -> None:
    def batch() -> int:
        run = world.run()
        ingest(world.ctx, run)
        return plan(world.ctx, run)[0].batch_id

    photo = encoded(quarters(200, 150), "JPEG")
    with photo_host() as host:
        for number in range(100):
            world.put(f"bad-{number}", host.url(f"/bad/{number}"), datasource=666)
        world.put("good", host.put("/good.jpg", photo), datasource=101)
        world.reconfigure(batch={"size": 60}, fetch={"breaker": {"source_percent": 90, "source_images": 30}})
        run = world.run()
        ingest(world.ctx, run)
        first, second = plan(world.ctx, run)
        done = [download(world.ctx, each.batch_id) for each in (first, second)]
        assert sum(sum(each.failed.values()) for each in done) in (59, 60)  # the second batch left it alone
        assert sum(each.fetched for each in done) == 1
        elapse(world)
        world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
        for number in range(100):
            host.put(f"/bad/{number}", photo + bytes([number]))
        asked = len(host.asked)
        third = batch()
        assert download(world.ctx, third).fetched == HALF_OPEN_IMAGES
        assert len(host.asked) - asked == HALF_OPEN_IMAGES
        assert list(failing(world.ctx.db, [666])) == [666]  # a page of HTML would have come as well
        assert thumbnail(world.ctx, third).made == HALF_OPEN_IMAGES
        world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01'")
        assert download(world.ctx, batch()).given_back == 0


def test_a_data_source_that_serves_pages_for_photos_is_left_alone_for_longer_each_time(world: World) -> None:
    with photo_host() as host:
        for number in range(160):
            world.put(f"bad-{number}", host.put(f"/{number}.jpg", b"<html>log in, %d" % number), datasource=666)
        world.reconfigure(
            batch={"size": 40}, fetch={"breaker": {"source_percent": 90, "source_images": 30, "first_seconds": 60}}
        )
        ingest(world.ctx, world.run())

        def asked() -> int:
            before = len(host.asked)
            world.sql("UPDATE lis_images SET next_attempt_at = '2026-01-01' WHERE state = 'new'")
            for each in plan(world.ctx, world.run()):
                download(world.ctx, each.batch_id)
                thumbnail(world.ctx, each.batch_id)
            return len(host.asked) - before

        seen = []
        for _ in range(4):
            seen.append((asked(), round(failing(world.ctx.db, [666])[666].wait, -1)))
            elapse(world)
    assert seen == [(40, 60), (HALF_OPEN_IMAGES, 120), (HALF_OPEN_IMAGES, 240), (HALF_OPEN_IMAGES, 480)]
    (mail,) = world.rows(sa.select(lis_mails.c.subject))
    assert mail.subject == "[ImageSys] UK data source 666 fails and is left alone"


def test_a_half_open_source_waits_for_what_its_images_turn_out_to_be(world: World) -> None:
    db = world.ctx.db
    note_results(db, "uk", {7: Tally(30, 30)}, SETTINGS)
    elapse(world)
    assert may_try(db, 7, SETTINGS)
    assert note_results(db, "uk", {7: Tally(HALF_OPEN_IMAGES, 3)}, SETTINGS, closes=False) == {}
    assert set(failing(db, [7, 8])) == {7}
    assert note_results(db, "uk", {7: Tally()}, SETTINGS) == {}
    assert failing(db, [7]) == {}
