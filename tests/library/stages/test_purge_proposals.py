"""A purge above its cap: it leaves a proposal, and what a person says to it is done, no less and no more."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_images, lis_purge_proposals
from imagesys_lib.errors import UsageError
from imagesys_lib.runs import runs
from imagesys_lib.stages.purge import carry_out, proposals, purge
from imagesys_lib.stages.purge import run as run_module
from imagesys_lib.stages.report import render, report
from include.sandbox import ManifestEntry
from tests.library.stages.test_purge import first_listings, ingested
from tests.support.world import World

Entries = dict[str, ManifestEntry]
STRICT = {"retention_days": 0, "max_unlisted_percent": 100, "cap_percent": 5, "grace_hours": 24}


@pytest.fixture
def gone(world: World, live: Entries) -> set[str]:
    """URLs that the ETL shows no more, above the cap."""
    world.reconfigure(purge=STRICT)
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    return urls


def states(world: World) -> list[str]:
    rows = world.rows(sa.select(lis_purge_proposals.c.state).order_by(lis_purge_proposals.c.proposal_id))
    return [row.state for row in rows]


def test_above_its_cap_a_purge_leaves_a_proposal_and_the_report_tells_of_it(
    world: World, live: Entries, gone: set[str]
) -> None:
    run = ingested(world, world.run())
    found = purge(world.ctx, run=run)
    assert (found.unpublished, found.unlisted, found.candidates) == (0, 3, len(gone))
    assert f"{len(gone)} of 40 live images are due, above the cap of 5 %" in found.refused
    assert f"--approve {found.proposal}" in found.refused
    assert world.live().keys() == live.keys()
    proposal = proposals.waiting(world.ctx.db)
    assert proposal
    assert (proposal.proposal_id, proposal.live) == (found.proposal, 40)
    assert {sample["url"] for sample in proposal.samples} == set(list(gone)[:20]) or len(gone) > 20
    summary = report(world.ctx, run)
    assert f"Purge proposal {found.proposal} waits for an answer" in render(summary)
    assert summary.lost == []  # the run goes on and ends well


def test_an_approved_proposal_is_carried_out_once(world: World, live: Entries, gone: set[str]) -> None:
    number = purge(world.ctx).proposal
    assert number
    proposals.decide(world.ctx.db, number, approve=True, by="ann")
    before = world.dump()
    assert purge(world.ctx, dry_run=True).unpublished == len(gone)
    assert world.dump() == before
    found = carry_out(world.ctx, number)
    assert (found.unpublished, found.in_grace, found.refused) == (len(gone), len(gone), "")
    assert world.live().keys() == live.keys() - gone
    again = carry_out(world.ctx, number)
    assert (again.unpublished, again.refused) == (0, f"proposal {number} is carried out")
    assert purge(world.ctx).refused == ""


def test_an_approval_does_not_cover_what_nobody_has_approved(world: World, live: Entries, gone: set[str]) -> None:
    number = purge(world.ctx).proposal
    assert number
    proposals.decide(world.ctx.db, number, approve=True, by="ann")
    world.sandbox.etl.empty("uk")
    world.sql("UPDATE lis_listing_images SET missing_since = '2026-01-01'")
    assert purge(world.ctx, dry_run=True).refused.endswith("a person would be asked")
    found = carry_out(world.ctx, number)
    assert (found.unpublished, found.proposal) == (0, number + 1)
    assert (
        f"proposal {number} was approved for {len(gone)} and is expired; proposal {number + 1} waits" in found.refused
    )
    assert world.live().keys() == live.keys()
    assert states(world) == ["expired", "open"]
    assert carry_out(world.ctx, number).refused == f"proposal {number} is expired"


def test_an_approved_purge_that_is_killed_goes_on_and_ends_with_any_later_one(
    world: World, live: Entries, gone: set[str]
) -> None:
    number = purge(world.ctx).proposal
    assert number
    proposals.decide(world.ctx.db, number, approve=True, by="ann")

    def killed(*_: object, **__: object) -> int:
        raise KeyboardInterrupt  # within the step, and once more after it has been committed

    for place in ("unpublish", "restore_relisted"):
        with world.patch.context() as patch:
            patch.setattr(run_module, place, killed)
            with pytest.raises(KeyboardInterrupt):
                carry_out(world.ctx, number)
        assert proposals.get(world.ctx.db, number).fate == "approved"
    found = purge(world.ctx, run=ingested(world, world.run()))  # it goes by the approval, too
    assert (found.refused, found.proposal) == ("", None)
    assert world.live().keys() == live.keys() - gone
    assert carry_out(world.ctx, number).refused == f"proposal {number} is carried out"


def test_what_is_being_made_again_counts_as_live_for_the_cap_and_its_approval(
    world: World, live: Entries, gone: set[str]
) -> None:
    """A forced backfill leaves images new or thumbnailed for a while; the website shows them all the time."""
    for number, url in enumerate(sorted(gone)):
        state = ("new", "thumbnailed")[number % 2]
        world.write_all(world.ctx.db, [sa.update(lis_images).where(lis_images.c.image_url == url).values(state=state)])
    found = purge(world.ctx)
    assert f"{len(gone)} of {40 - len(gone)} live images are due, above the cap of 5 %" in found.refused
    assert world.live().keys() == live.keys()
    assert found.proposal
    proposals.decide(world.ctx.db, found.proposal, approve=True, by="ann")
    carry_out(world.ctx, found.proposal)
    assert world.live().keys() == live.keys() - gone
    assert proposals.get(world.ctx.db, found.proposal).fate == "carried out"


def test_what_the_etl_shows_again_by_then_is_spared(world: World, live: Entries, gone: set[str]) -> None:
    number = purge(world.ctx).proposal
    assert number
    proposals.decide(world.ctx.db, number, approve=True, by="ann")
    world.seed(40)
    assert carry_out(world.ctx, number).unpublished == 0
    assert world.live().keys() == live.keys()


def test_an_etl_that_is_empty_by_then_lets_an_approval_wait(world: World, live: Entries, gone: set[str]) -> None:
    number = purge(world.ctx).proposal
    assert number
    proposals.decide(world.ctx.db, number, approve=True, by="ann")
    world.reconfigure(purge={**STRICT, "max_unlisted_percent": 20})
    world.sandbox.etl.empty("uk")
    assert "looks half loaded" in carry_out(world.ctx, number).refused
    assert world.live().keys() == live.keys()
    assert proposals.get(world.ctx.db, number).fate == "approved"
    world.reconfigure(purge=STRICT)
    world.seed(40)
    world.sandbox.etl.remove("uk", first_listings(live, 3)[0])
    assert carry_out(world.ctx, number).unpublished == len(gone)


def test_a_rejected_proposal_is_not_asked_again_for_a_week_unless_much_more_is_due(
    world: World, live: Entries, gone: set[str]
) -> None:
    number = purge(world.ctx).proposal
    assert number
    assert proposals.decide(world.ctx.db, number, approve=False, by="bob").state == "rejected"
    again = purge(world.ctx)
    assert f"proposal {number} was rejected by bob" in again.refused
    assert states(world) == ["rejected"]
    assert carry_out(world.ctx, number).unpublished == 0
    assert world.live().keys() == live.keys()
    world.sql("UPDATE lis_purge_proposals SET decided_at = TIMESTAMPADD(DAY, -8, decided_at)")
    assert purge(world.ctx).proposal == number + 1
    proposals.decide(world.ctx.db, number + 1, approve=False, by="bob")
    world.sandbox.etl.remove("uk", first_listings(live, 7)[0])
    assert purge(world.ctx).proposal == number + 2


def test_at_most_one_is_open_and_it_stays_while_it_stands(world: World, live: Entries, gone: set[str]) -> None:
    number = purge(world.ctx).proposal
    assert number
    assert purge(world.ctx).proposal == number
    world.sandbox.etl.remove("uk", first_listings(live, 6)[0])
    assert purge(world.ctx).proposal == number + 1
    assert states(world) == ["expired", "open"]
    assert proposals.decide(world.ctx.db, number, approve=True, by="ann").state == "expired"  # too late
    assert carry_out(world.ctx, number).unpublished == 0
    world.reconfigure(purge={**STRICT, "cap_percent": 100})
    assert purge(world.ctx).unpublished > 0
    assert states(world) == ["expired", "expired"]


def test_one_run_asks_about_a_proposal_and_another_only_when_it_was_silent_for_long(
    world: World, live: Entries, gone: set[str]
) -> None:
    number = purge(world.ctx).proposal
    invited: list[str] = []
    for asker, expected in (("r1", number), ("r2", None), ("r1", number)):
        taken = proposals.take(world.ctx.db, asker, 49, lambda *_, asker=asker: invited.append(asker))  # type: ignore[misc]
        assert (taken.proposal_id if taken else None) == expected
    world.sql("UPDATE lis_purge_proposals SET asked_at = TIMESTAMPADD(HOUR, -50, asked_at)")
    assert proposals.take(world.ctx.db, "r2", 49, lambda *_: invited.append("r2"))
    assert invited == ["r1", "r2"]


def test_a_proposal_that_was_never_made_cannot_be_decided(world: World) -> None:
    with pytest.raises(UsageError, match="There is no purge proposal 7"):
        proposals.decide(world.ctx.db, 7, approve=True, by="ann")


def test_it_can_be_answered_by_hand(world: World, live: Entries, gone: set[str]) -> None:
    ran = world.cli("purge", "uk", "--json")
    assert ran.code == 1
    number = str(ran.json["proposal"])
    before = world.dump()
    assert world.cli("purge", "uk", "--dry-run", "--json").json["rules"]["unlisted"]["due"] == len(gone)
    assert world.dump() == before
    assert world.cli("purge", "uk", "--approve", number, "--reject", number).code == 2
    assert json.loads(world.cli("purge", "uk", "--approve", number, "--json").out)["unpublished"] == len(gone)
    assert world.live().keys() == live.keys() - gone
    assert world.cli("purge", "uk", "--reject", number).code == 2
    assert world.cli("purge", "uk", "--rule", "age").code == 2  # it is off


def test_a_data_source_that_vanishes_is_left_alone_and_named(world: World, live: Entries) -> None:
    listings = world.sandbox.etl.listings("uk")
    source = listings[0].datasource_id
    own = [one.listing_id for one in listings if one.datasource_id == source]
    other = next(one.listing_id for one in listings if one.datasource_id != source)
    settings = {**STRICT, "cap_percent": 100, "max_unlisted_percent": 60, "datasource_listings": 2, "grace_hours": 0}
    world.reconfigure(purge=settings)
    world.sandbox.etl.remove("uk", [*own, other])
    before = world.live()
    run = ingested(world, world.run())
    found = purge(world.ctx, run=run)
    assert f"data source {source} ({len(own)} of {len(own)} listings)" in found.refused
    kept = {url for url, entry in live.items() if set(entry.listing_ids) & set(own)}
    only = {url for url, entry in live.items() if set(entry.listing_ids) == {other}}
    assert found.unpublished == len(only)
    assert world.live().keys() == before.keys() - only
    assert kept <= world.live().keys()
    # A person says that it has ended.
    world.reconfigure(purge={**settings, "ended_datasources": [source]})
    assert runs.figures(world.ctx.db, run.run_id, "purge.")["refused"] == 1
    found = purge(world.ctx, run=run)
    assert (found.refused, found.unpublished > 0) == ("", True)
    assert "refused" not in runs.figures(world.ctx.db, run.run_id, "purge.")
