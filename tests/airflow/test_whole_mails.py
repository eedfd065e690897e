"""Mails as a whole, as they reach a mail server: all that ops need of a late run, and of a node that is at fault."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest
import sqlalchemy as sa

from imagesys_lib.nodes import NodeFault
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages.download.download import download
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.report import report
from imagesys_lib.stages.sync import sync
from imagesys_lib.stages.thumbnail import thumbnail
from tests.airflow.mails import Sink, ends, failed, late, run
from tests.airflow.test_runs import context_of, sync_operator
from tests.support.world import World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]

RUN_ID = run()["dag_run_id"]
RUN_PAGE = f"http://airflow.example.test/dags/imagesys_uk/runs/{RUN_ID}"


def test_the_mail_about_a_late_run_says_all_that_ops_need(sink: Sink, world: World) -> None:
    world.seed(20)
    for number in range(60):
        world.put(f"slow-{number}", f"http://slow.example.test/{number}.jpg")
    world.reconfigure(batch={"size": 100})
    own = world.run(run_id=RUN_ID)
    runs.begin(world.ctx.db, own)
    ingest(world.ctx, own)
    (batch,) = plan(world.ctx, own)
    leases.acquire(world.ctx.db, batch.batch_id, "somebody", 60)
    world.sql(
        "UPDATE lis_runs SET started_at = UTC_TIMESTAMP(6) - INTERVAL 90 MINUTE, "
        "ingested_at = UTC_TIMESTAMP(6) - INTERVAL 80 MINUTE"
    )
    world.sql("UPDATE lis_batches SET created_at = UTC_TIMESTAMP(6) - INTERVAL 70 MINUTE")

    late(run())

    assert sink.subjects() == ["run of 2026-03-28 is late"]
    alerts, limits = world.ctx.config.alerts, world.ctx.config.fetch.limits("slow.example.test")
    wanted = f"""\
The run of United Kingdom for 2026-03-28 was not done {alerts.warn_minutes:g} minutes after it was queued (the deadline
comes after {alerts.deadline_minutes:g}).

The run
  - DAG imagesys_uk
  - Run {RUN_ID} (scheduled), state running
    {RUN_PAGE}
  - Interval 2026-03-28T00:00:00+00:00/2026-03-29T00:00:00+00:00 (the local day 2026-03-28 in
Europe/London)

Done
  - 80 images reserved

Still to do
  - 80 images in 1 of 1 batches

Likely cause
  - Host slow.example.test is slow, and gets {limits.per_host} requests at a time (`fetch.hosts` in the configuration
allows it more).

What to do
  - Open the run and look at what is running: its log tells how far it is."""
    assert sink.texts()[0].split()[: len(wanted.split())] == wanted.split()  # wherever a line is broken


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        (
            "host_key",
            "its key changed: verify it with the node's administrator, then update host_key of connection n2.",
        ),
        ("disk_full", "free space on n2, then clear its sync task; it catches up from the change log."),
    ],
)
def test_the_mail_about_a_node_names_it_the_reason_and_the_remedy(
    sink: Sink, world: World, monkeypatch: pytest.MonkeyPatch, reason: str, remedy: str
) -> None:
    world.seed(5)
    own = world.run(run_id=RUN_ID)
    runs.begin(world.ctx.db, own)
    ingest(world.ctx, own)
    for batch in plan(world.ctx, own):
        download(world.ctx, batch.batch_id)
        thumbnail(world.ctx, batch.batch_id)
    for node in ("n1", "n3"):
        sync(world.ctx, node, own)
    if reason == "host_key":
        connection = json.loads(os.environ["AIRFLOW_CONN_N2"])
        connection["extra"]["host_key"] = world.sandbox.nodes["n1"].host_key
        monkeypatch.setenv("AIRFLOW_CONN_N2", json.dumps(connection))
    else:
        world.reconfigure(transfer={"node_min_free_mb": 2**40})
    task = sync_operator("n2")
    with pytest.raises(NodeFault) as fault:
        task.execute(context_of(task))
    lost = report(world.ctx, own, ["sync[n2]"]).lost
    tasks = [failed("sync[n2]", str(fault.value), "NodeFault"), failed("report", "\n".join(lost), "WorkLost")]

    ends(run(), well=False, monkeypatch=monkeypatch, failures=tasks)

    assert sink.subjects() == ["run of 2026-03-28 failed"]
    (text,) = sink.texts()
    assert f"What was lost\n  - Node n2 is behind by 5 images. Node n2: {reason}: " in text
    reported, link = next(pair for pair in pairwise(text.splitlines()) if "sync[n2], try 1" in pair[0])
    assert reported.startswith(f"  - sync[n2], try 1: Node n2: {reason}: ")
    assert reported.endswith(f"Remedy: {remedy}")
    assert link == "    http://airflow.example.test/sync[n2]"
    assert RUN_PAGE in text
    assert world.rows(sa.text("SELECT subject FROM lis_incidents"))[0].subject == f"imagesys_uk without n2 ({reason})"
