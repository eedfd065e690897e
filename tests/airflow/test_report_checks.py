"""What the operators' checks and repairs leave for the report, and that what needs a person is mailed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.report import render, report
from imagesys_lib.stages.sync import sync
from tests.airflow.test_incidents import Sink, ends
from tests.airflow.test_incidents import run as airflow_run
from tests.airflow.test_runs import context_of
from tests.library.stages.test_report_checks import extra_files, spoil
from tests.support.world import World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


@pytest.fixture
def sink(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sink:
    from imagesys_airflow.alerts import mail as imagesys_mail

    monkeypatch.setattr(imagesys_mail, "_HERE", tmp_path)
    return Sink(world)


def own_run(world: World) -> Run:
    """The run that the tasks' contexts speak of."""
    run = world.run(RunKind.MANUAL, run_id="manual__1")
    runs.begin(world.ctx.db, run)
    runs.mark_ingested(world.ctx.db, run)
    return run


def check_and_repair(node: str, *, full: bool = False, run_id: str = "manual__1") -> list[Any]:
    from imagesys_airflow.operators.nodes import CheckNodeOperator, RepairNodeOperator

    done = []
    for task_id, operator in (("check", CheckNodeOperator), ("repair", RepairNodeOperator)):
        task = operator(task_id=task_id, country="uk", node=node, full=full)
        context = context_of(task)
        context["dag_run"].run_id = run_id
        done.append(task.execute(context))
    return done


def test_the_check_after_the_repair_takes_nothing_of_the_findings_away(world: World) -> None:
    world.with_live_photos()
    good = world.equal_trees()
    hashes = sorted(row.image_hash for row in world.images().values())
    spoil(world, "n2", hashes[:12], hashes[20:23])
    run = own_run(world)
    found, repaired = check_and_repair("n2")
    assert found["findings"] == {"acked_absent": 12, "damaged": 3}
    assert repaired["restored"] == 15
    assert world.equal_trees() == good
    check_and_repair("n2")  # both are cleared
    summary = report(world.ctx, run)
    assert "  n2: 80 files, 12 missing and 3 damaged found, 15 repaired, 0 images behind" in render(summary)

    spoil(world, "n3", hashes[:4])
    check_and_repair("n3", full=True, run_id="scheduled__saturday")
    reported = report(world.ctx, run).full_checks
    assert reported.keys() == {"n3"}
    assert (reported["n3"].files, reported["n3"].findings, reported["n3"].repaired) == (
        80,
        {"acked_absent": 4},
        {"restored": 4},
    )


def test_a_repair_and_a_purge_that_refuse_are_mailed_without_any_setting(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagesys_airflow.operators.stages import PurgeOperator

    world.with_live_photos()
    assert world.ctx.config.alerts.mail_level == "error"
    world.reconfigure(check={"extra_cap_images": 0, "extra_cap_percent": 5})  # of 40: two
    extra_files(world, "n2", 3)
    world.sandbox.etl.empty("uk")
    run = own_run(world)
    check_and_repair("n2")
    purge = PurgeOperator(task_id="purge", country="uk")
    context = context_of(purge)
    context["dag_run"].run_type = "scheduled"
    purge.execute(context)

    ends({**airflow_run(), "dag_run_id": "manual__1"}, well=True, monkeypatch=monkeypatch)
    assert sink.subjects() == ["run of 2026-03-28 logged messages"]
    (text,) = sink.texts()
    assert "ERROR: UK n2: 3 images have extra files: none of these was deleted" in text
    assert "imagesys repair uk --node n2 --delete-extra" in text
    assert "ERROR: UK: " in text
    assert "it looks half loaded" in text
    unusual = [line.partition(":")[0] for line in report(world.ctx, run).anomalies]
    assert unusual == ["purge refused 1 times", "repair of n2 left 3 images alone"]


def test_a_good_run_mails_nothing_of_its_checks(sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.with_live_photos()
    sync(world.ctx, "n1")
    spoil(world, "n1", sorted(row.image_hash for row in world.images().values())[:3])
    check_and_repair("n1")
    ends({**airflow_run(), "dag_run_id": "manual__1"}, well=True, monkeypatch=monkeypatch)
    assert sink.subjects() == []
