"""The page of a run says what its report says, where the run's work was, what failed with samples, and where to go."""

from __future__ import annotations

import pytest

from imagesys_lib.dashboard.failed_tasks import FailedTask, failed_task
from imagesys_lib.dashboard.run import RunPage, run_page
from imagesys_lib.dashboard.tables import Table, Tone, by_name
from imagesys_lib.errors import UsageError
from imagesys_lib.runs import runs
from imagesys_lib.stages.plan import plan
from tests.support.world import World


def table(page: RunPage, name: str) -> Table:
    found = by_name(page.tables, name)
    assert found is not None
    return found


def test_a_good_run_is_told_by_its_figures_and_that_nothing_was_lost(world: World) -> None:
    world.seed(30)
    summary = world.pipeline(world.run(run_id="good"))
    page = run_page(world.ctx, "good")
    assert (page.state.text, page.state.tone) == ("well", Tone.GOOD)
    assert [(one.text, one.tone) for one in page.sentences] == [("Nothing was lost.", Tone.GOOD)]
    assert (page.tiles["Images"].value, page.tiles["Live"].value) == (30, 30)
    assert summary.weights
    assert page.tiles["Fetched"].value == summary.weights.originals
    assert not page.running
    nodes = {row["node"]: row for row in table(page, "nodes").as_json()}
    assert [nodes[name]["state"] for name in ("n1", "n2", "n3")] == ["well"] * 3
    assert nodes["n1"]["files"] == 60
    assert nodes["staging"]["free"] > 0


def test_the_timeline_has_the_stages_in_their_order_within_the_run(world: World) -> None:
    world.seed(30)
    world.pipeline(world.run(run_id="good"))
    page = run_page(world.ctx, "good")
    parts = table(page, "timeline")
    names = [row["part"] for row in parts.as_json()]
    assert names[:3] == ["preflight to ingest", "process", "sync to report"]
    assert names[3:] == [f"{stage} of {node}" for stage in ("sync", "check") for node in ("n1", "n2", "n3")]
    spans = [cell.span for row in parts.cells() for column, cell in row if column.key == "when"]
    assert all(0 <= begin <= end <= 1 for begin, end in spans)
    assert spans[0][0] == 0
    assert spans[2][1] == 1
    assert spans[0][1] <= spans[1][0] <= spans[1][1] <= spans[2][0]
    (batch,) = table(page, "batches").as_json()
    assert (batch["images"], batch["state"], batch["leases"]) == (30, "done", 2)


def test_each_reason_has_its_count_and_samples_of_its_images(world: World) -> None:
    entries = world.seed(60, broken_share=0.5)
    summary = world.pipeline(world.run(run_id="broken"))
    found = table(run_page(world.ctx, "broken"), "reasons").as_json()
    assert {(row["outcome"], row["reason"]): row["images"] for row in found} == {
        (state, code): count for state, codes in summary.reasons.items() for code, count in codes.items()
    }
    states = world.states()
    for row in found:
        urls = row["samples"].split("; ")
        assert 1 <= len(urls) <= 3
        assert all(
            entries[url] and states[url] == f"{row['outcome']}:{row['reason']}" for url in urls if "…" not in url
        )


def test_a_node_that_is_behind_is_a_loss_with_the_way_to_its_task(world: World) -> None:
    world.seed(10)
    world.sandbox.nodes.stop_node("n2")
    world.pipeline(world.run(run_id="red"))
    page = run_page(world.ctx, "red")
    assert page.state.tone is Tone.BAD
    (loss,) = [one for one in page.sentences if one.tone is Tone.BAD]
    assert loss.text.startswith("Node n2 is behind by 10 images.")
    assert loss.task == "dags/imagesys_uk/runs/red/tasks/sync/mapped/1"
    nodes = {row["node"]: row for row in table(page, "nodes").as_json()}
    assert nodes["n2"]["backlog"] == 10
    assert "unreachable" in nodes["n2"]["state"]


def test_a_run_under_way_shows_how_many_of_its_batches_are_done(world: World) -> None:
    run, _ = world.planned(20)
    world.sql("UPDATE lis_runs SET ingested_at = started_at")
    page = run_page(world.ctx, run.run_id)
    assert page.running
    assert page.state.text == "running"
    assert page.tiles["Images"].value == 20
    assert page.tiles["Batches"].text == "0 of 1 done"
    assert "under way" in page.sentences[0].text
    assert plan(world.ctx, run)


def test_a_run_that_broke_off_says_why(world: World) -> None:
    run = world.run(run_id="off")
    runs.begin(world.ctx.db, run)
    runs.finish(world.ctx.db, run, "failed", {"error": "The ETL's table is not there."})
    (told,) = run_page(world.ctx, "off").sentences
    assert told.text == "The run broke off: The ETL's table is not there."
    assert told.task == "dags/imagesys_uk/runs/off"


def test_a_run_that_is_not_known_is_the_askers_fault(world: World) -> None:
    with pytest.raises(UsageError, match="uk has no run none"):
        run_page(world.ctx, "none")


@pytest.mark.parametrize(
    ("loss", "task"),
    [
        ("Task publish failed. Remedy: read its log.", FailedTask("publish")),
        ("Task check[n3] failed. Remedy: read its log.", FailedTask("check", 2)),
        ("Task process.download[7] failed. Remedy: read its log.", FailedTask("process.download", 7)),
        ("Batch 3 is unfinished: 5 images left.", FailedTask("process.download", 3)),
        ("Batch 4 is unfinished: 5 images left.", FailedTask("process.thumbnail", 4)),
        ("Node n1 is behind by 3 images.", FailedTask("sync", 0)),
        ("Node n2 lacks 3 images that were not staged any more.", FailedTask("repair", 1)),
        ("The ETL's rows are not all in: ingest did not complete.", FailedTask("ingest")),
        ("Something else.", None),
    ],
)
def test_a_loss_leads_to_the_task_that_it_names(loss: str, task: FailedTask | None) -> None:
    assert failed_task(loss, ("n1", "n2", "n3"), {3: "planned", 4: "downloaded"}) == task
