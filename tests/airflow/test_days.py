"""Days that follow each other: a node that stays away is notified once; a good day resolves earlier incidents."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from tests.airflow.mails import DAG_ID, Sink, ends, failed, run
from tests.support.world import DAY, World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


def a_run(world: World, day: int, kind: RunKind = RunKind.SCHEDULED) -> Run:
    return world.run(kind, DAY.replace(day=day), run_id=f"{kind.value}__2026-03-{day}")


def passes(world: World, day: int, monkeypatch: pytest.MonkeyPatch, *more: Any) -> None:
    """A day's run, all of it, and its end; ``more`` are tasks that failed beside those that the run has seen fail."""
    summary = world.pipeline(a_run(world, day))
    nodes = [failed(f"sync[{name}]", node.fault, "NodeFault") for name, node in summary.nodes.items() if node.fault]
    verdict = [failed("report", "\n".join(summary.lost), "WorkLost")] if summary.lost else []
    ends(run(day), well=not summary.lost, monkeypatch=monkeypatch, failures=[*nodes, *more, *verdict])


def judged(world: World, day: int, state: str, *, ingested: bool = True, kind: RunKind = RunKind.SCHEDULED) -> None:
    """What a day's run leaves in the database."""
    own = a_run(world, day, kind)
    runs.begin(world.ctx.db, own)
    if ingested:
        runs.mark_ingested(world.ctx.db, own)
    runs.finish(world.ctx.db, own, state, {})


def waiting(world: World) -> list[str]:
    """The subjects of open incidents, without the DAG."""
    rows = world.rows(sa.text("SELECT subject FROM lis_incidents WHERE is_open = 1 ORDER BY incident_id"))
    return [row.subject.removeprefix(f"{DAG_ID} ") for row in rows]


def test_a_node_that_is_away_for_two_days_is_one_mail_and_its_return_another(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.seed(30, spread_days=3)
    world.sandbox.nodes.stop_node("n2")
    for day in (26, 27):
        passes(world, day, monkeypatch)
        assert sink.subjects() == ["run of 2026-03-26 failed"]
    assert "Node n2 is behind" in sink.texts()[0]
    assert "daily runs that fail for this alone get no mail" in sink.texts()[0]
    assert waiting(world) == ["without n2 (unreachable)"]

    world.sandbox.nodes.start_node("n2")
    passes(world, 28, monkeypatch)  # nobody has cleared anything
    assert sink.subjects()[1:] == ["run of 2026-03-28 has ended well"]
    assert "With it, nothing is left of what was reported of 2026-03-26, 2026-03-27." in sink.texts()[1]
    assert "  - 2026-03-26, 2026-03-27: failed, reported 20" in sink.texts()[1]
    assert waiting(world) == []
    assert len(world.equal_trees()) == 60
    ends(run(28), well=True, monkeypatch=monkeypatch)
    assert len(sink.subjects()) == 2


@pytest.mark.long  # four days
def test_another_cause_beside_or_instead_of_the_node_is_reported(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.seed(20, spread_days=4)
    world.sandbox.nodes.stop_node("n2")
    passes(world, 25, monkeypatch)
    passes(world, 26, monkeypatch, failed("publish", "Database away"))
    assert "publish, try 1: Database away" in sink.texts()[1]
    assert "daily runs that fail for this alone" not in sink.texts()[1]
    world.sandbox.nodes.stop_node("n3")
    passes(world, 27, monkeypatch)
    assert sink.subjects() == [f"run of 2026-03-{day} failed" for day in (25, 26, 27)]
    assert waiting(world)[2] == "without n2 (unreachable), n3 (unreachable)"
    for name in ("n2", "n3"):
        world.sandbox.nodes.start_node(name)
    passes(world, 28, monkeypatch)
    assert sink.subjects()[3:] == ["run of 2026-03-28 has ended well"]
    assert waiting(world) == []


def test_a_cleared_day_ends_well_by_itself_and_does_not_speak_for_later_ones(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (27, 28):
        judged(world, day, "failed")
        ends(run(day), well=False, monkeypatch=monkeypatch)
    judged(world, 27, "success")
    ends(run(27), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["run of 2026-03-27 has ended well"]
    for kind in (RunKind.MANUAL, RunKind.BACKFILL):  # they do not do all that a daily run does
        judged(world, 29, "success", kind=kind)
        ends(run(29, kind.value), well=True, monkeypatch=monkeypatch)
    judged(world, 29, "failed")
    ends(run(29), well=True, monkeypatch=monkeypatch)  # marked by hand
    assert len(sink.subjects()) == 3
    assert waiting(world) == ["scheduled__2026-03-28"]


def test_a_day_whose_rows_nobody_has_read_is_not_caught_up_with(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (23, 26):
        judged(world, day, "failed", ingested=False)
        ends(run(day), well=False, monkeypatch=monkeypatch)
    judged(world, 28, "success")  # it looks back for two days
    ends(run(28), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[2:] == ["run of 2026-03-28 has ended well"]
    assert "  - 2026-03-26: failed, reported 20" in sink.texts()[2]
    assert waiting(world) == ["scheduled__2026-03-23"]
    judged(world, 23, "success", kind=RunKind.BACKFILL)
    judged(world, 29, "success")
    ends(run(29), well=True, monkeypatch=monkeypatch)
    assert sink.subjects()[3:] == ["run of 2026-03-29 has ended well"]
    assert waiting(world) == []


def test_a_good_weekly_check_takes_an_earlier_one_back(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(day: int, *, well: bool) -> None:
        saturday = {**run(day), "data_interval_start": None, "data_interval_end": None}
        ends(saturday, well=well, monkeypatch=monkeypatch, dag_id="imagesys_check_uk")

    check(14, well=False)
    judged(world, 13, "failed")
    ends(run(13), well=False, monkeypatch=monkeypatch)
    world.sql("UPDATE lis_incidents SET opened_at = '2026-03-14 06:00'")  # when they were notified
    check(21, well=True)
    assert sink.subjects()[2:] == ["weekly check of 2026-03-22 has ended well"]
    assert waiting(world) == ["scheduled__2026-03-13"]  # that is the daily run's
