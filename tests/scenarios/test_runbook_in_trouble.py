"""Pages of docs/runbook.md: each command in the very trouble that its page is about, which is over after it."""

from __future__ import annotations

import re
import shlex

import pytest
import sqlalchemy as sa

from imagesys_lib.alerts.message import Message
from imagesys_lib.alerts.outbox import put
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import write
from imagesys_lib.fetch.politeness.datasources import Tally, note_results
from imagesys_lib.runs import leases, runs
from imagesys_lib.stages.ingest import ingest
from imagesys_lib.stages.plan import plan
from imagesys_lib.stages.purge import purge
from include.sandbox.settings import PROJECT
from tests.library.stages.test_purge import Entries, first_listings
from tests.library.stages.test_purge_proposals import STRICT
from tests.support.world import DAY, Ran, World

PAGE = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
PROPOSAL = "3"
"""The number that stands for any proposal's."""


def commands(title: str, fence: str = "sh") -> list[list[str]]:
    """The commands of a page, as words."""
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    blocks = re.findall(rf"^```{fence}\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def follow(world: World, title: str) -> list[Ran]:
    """Do what a page says, in its order."""
    ran = [world.cli(*words[1:]) for words in commands(title) if words[0] == "imagesys"]
    assert ran
    return ran


def test_a_node_that_is_behind_is_brought_back(world: World, live: Entries) -> None:
    world.sandbox.nodes.stop_node("n2")
    world.seed(60)
    assert world.pipeline().lost
    world.sandbox.nodes.start_node("n2")
    assert [ran.code for ran in follow(world, "A node is behind")] == [0, 0, 0]
    assert len(world.equal_trees()) == 120


def test_a_run_whose_worker_died_is_done_by_hand(world: World) -> None:
    world.seed(20)
    run = world.run(run_id="died")
    runs.begin(world.ctx.db, run)
    ingest(world.ctx, run)
    (batch,) = plan(world.ctx, run)
    leases.acquire(world.ctx.db, batch.batch_id, "worker that died", 1)
    world.sql("UPDATE lis_batches SET lease_until = UTC_TIMESTAMP(6) - INTERVAL 1 HOUR")
    world.sql("UPDATE lis_runs SET state = 'failed'")
    assert [ran.code for ran in follow(world, "A run failed")] == [0, 0]
    assert world.count() == {"live": 20}


@pytest.mark.parametrize(("answer", "left"), [("--reject", 0), ("--approve", 1)])
def test_a_purge_that_waits_is_answered(world: World, live: Entries, answer: str, left: int) -> None:
    world.reconfigure(purge=STRICT)
    listings, urls = first_listings(live, 3)
    world.sandbox.etl.remove("uk", listings)
    number = purge(world.ctx).proposal
    assert [ran.code for ran in follow(world, "A purge waits for an answer")] == [1]  # it would ask
    (words,) = [words for words in commands("A purge waits for an answer", "sh trouble") if answer in words]
    assert words[-1] == PROPOSAL
    assert world.cli(*words[1:-1], str(number)).code == 0
    assert world.live().keys() == live.keys() - (urls if left else set())


def test_a_data_source_that_was_left_alone_is_tried_again(world: World) -> None:
    title = "A data source fails and is left alone"
    world.seed(12)
    world.sandbox.manifest.remove("uk")
    world.pipeline()
    assert world.count() == {"rejected": 12}
    own = [url for url, image in world.images().items() if image.datasource_id == 101]
    assert 0 < len(own) < 12
    note_results(world.ctx.db, "uk", {101: Tally(40, 40)}, Breaker(source_percent=90, source_images=30))
    world.seed(12)  # the site is mended
    shown, would, done = follow(world, title)
    assert (shown.code, would.code, done.code) == (0, 0, 0)
    assert would.out == done.out == f"requeued: {len(own)}\n"
    assert DAY.isoformat() in " ".join(commands(title)[-1])
    world.sql(
        "UPDATE lis_datasources SET not_before = '2026-01-01' WHERE datasource_id = 101"
    )  # half-open: a few images are due
    world.pipeline()
    assert world.live().keys() == set(own)


def test_mails_that_did_not_come_go_out_when_the_server_is_back(patient: World) -> None:
    world = patient
    world.configure(alerts={"mail_to": ["ops@example.test"]})
    write(world.ctx.db, lambda connection: put(connection, Message("[ImageSys] UK hello", "Intro.", ())))
    world.sandbox.mail.stop()
    try:
        (away,) = follow(world, "Mails do not come")
        assert away.code == 3
        assert "no alert is mailed until then" in away.out.replace("\n", " ")
    finally:
        world.sandbox.mail.start()
    (back,) = follow(world, "Mails do not come")
    assert "a message was sent to ops@example.test" in back.out.replace("\n", " ")
    assert world.scalar(sa.text("SELECT COUNT(*) FROM lis_mails WHERE sent_at IS NULL")) == 1  # `heal` takes it along


def test_every_command_that_wants_trouble_is_run_in_it() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [title for title in titles if commands(title, "sh trouble")] == ["A purge waits for an answer"]
    assert len(commands("A purge waits for an answer", "sh trouble")) == 2
