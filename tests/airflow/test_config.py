"""A broken configuration under Airflow: DAGs and tasks go on with what was good, nothing is purged, one mail a day."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from imagesys_lib.config import config_path, keep_good
from imagesys_lib.stages.report import summarize
from include.sandbox.settings import PROJECT
from tests.airflow.mails import Sink
from tests.airflow.test_runs import context_of
from tests.support.world import World

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("airflow_database")]


@pytest.fixture
def state(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the last good configuration is kept; nothing is yet."""
    folder = tmp_path / "state"
    monkeypatch.setenv("IMAGESYS_STATE", str(folder))
    return folder


def break_it() -> None:
    path = config_path()
    path.write_text(path.read_text().replace("quorum: 2", "quorum: 2\n  quorum: 3", 1))


def lose(country: str) -> str:
    """Write the file without a country, and let the DAG processor see it; returns the text as it was."""
    text = config_path().read_text()
    raw = yaml.safe_load(text)
    del raw["countries"][country]
    config_path().write_text(yaml.safe_dump(raw))
    keep_good()
    return text


def parsed(monkeypatch: pytest.MonkeyPatch, component: str) -> tuple[set[str], dict[str, str]]:
    """The DAGs that a component of Airflow reads, and its import errors."""
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setattr(sys, "argv", ["airflow", component])
    bag = DagBag(str(PROJECT / "dags"))
    return set(bag.dags), bag.import_errors


def test_all_dags_stay_while_the_file_is_broken(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed(monkeypatch, "scheduler")
    assert not state.exists()  # the DAG processor alone keeps it
    whole = parsed(monkeypatch, "dag-processor")
    assert whole[1] == {}
    good = config_path().read_text()
    for broken in (good.replace("quorum: 2", "quorum: off"), "", good[: len(good) // 3]):
        config_path().write_text(broken)
        for component in ("dag-processor", "scheduler"):
            assert parsed(monkeypatch, component) == whole
        assert (state / "countries.yaml").read_text() == good
    (state / "countries.yaml").unlink()
    dags, errors = parsed(monkeypatch, "dag-processor")
    assert dags == set()
    assert all("countries" in error for error in errors.values())


def test_a_state_directory_that_takes_nothing_costs_no_dag(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.write_text("a file")
    dags, errors = parsed(monkeypatch, "dag-processor")
    assert "imagesys_uk" in dags
    assert errors == {}


def tell() -> None:
    from imagesys_airflow.alerts.broken_config import notify_config_faults

    notify_config_faults({})


def test_every_task_of_every_dag_tells_before_it_begins(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from imagesys_airflow.alerts.broken_config import notify_config_faults

    for dag in DagBag(str(PROJECT / "dags")).dags.values():
        for task in dag.task_dict.values():
            callbacks = (getattr(task, "partial_kwargs", None) or {}).get("on_execute_callback")
            names = [one.__name__ for one in callbacks or task.on_execute_callback]  # a module may be loaded twice here
            assert names == [notify_config_faults.__name__], task.task_id


def test_one_mail_a_day_tells_who_is_to_mend_it_and_one_that_it_is_well(world: World, state: Path, sink: Sink) -> None:
    keep_good()
    tell()
    assert sink.subjects() == []
    break_it()
    for _ in range(3):
        tell()
    assert sink.subjects() == ["[ImageSys] The configuration is to be mended"]
    (mail,) = sink.server.mails(sink.since)
    assert mail["to"] == "ops@example.test"
    assert f"{config_path()}:" in sink.texts()[0]
    assert "stands twice, in line" in sink.texts()[0]
    assert "Airflow goes on with what was good 0.0 hours ago" in sink.texts()[0]
    day_ago = sa.text("UPDATE lis_incidents SET notified_at = notified_at - INTERVAL 25 HOUR")
    world.write_all(world.ctx.shared, [day_ago])
    for _ in range(2):
        tell()
    assert len(sink.subjects()) == 2
    config_path().write_text(config_path().read_text().replace("\n  quorum: 3", ""))
    for _ in range(2):
        tell()
    assert sink.subjects()[2:] == ["[ImageSys] The configuration is well again"]


def test_a_mail_that_cannot_be_sent_is_logged_all_the_same_once(world: World, state: Path, sink: Sink) -> None:
    from imagesys_airflow.alerts.mail import post

    keep_good()
    break_it()
    sink.server.stop()
    tell()
    sink.server.start()
    post(world.ctx)
    tell()
    assert sink.subjects() == ["[ImageSys] The configuration is to be mended"]


def test_a_lost_country_is_mailed_until_it_is_back(state: Path, sink: Sink) -> None:
    keep_good()
    whole = lose("fr")
    for _ in range(2):
        tell()
    assert sink.subjects() == ["[ImageSys] The configuration is to be mended"]
    assert "Country fr is in" in sink.texts()[0]
    assert "`ended_countries: [fr]`" in sink.texts()[0]
    config_path().write_text(whole)
    keep_good()
    tell()
    assert sink.subjects()[1:] == ["[ImageSys] The configuration is well again"]


def test_nothing_is_purged_and_the_report_says_why(world: World, state: Path) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from imagesys_airflow.operators.stages import PurgeOperator

    keep_good()
    world.with_live_photos()
    live = set(world.live())
    world.sandbox.etl.empty("uk")
    break_it()
    purge: Any = PurgeOperator(task_id="purge", country="uk")
    with pytest.raises(AirflowSkipException, match=r"nothing is purged: 1 fault\(s\)(?s:.)*goes on with what was good"):
        purge.execute(context_of(purge))
    assert set(world.live()) == live
    (unusual, *_) = summarize(world.ctx, world.run()).anomalies
    assert "Airflow goes on with what was good 0.0 hours ago" in unusual


def test_an_approved_purge_waits_until_the_file_is_mended(world: World, state: Path) -> None:
    from imagesys_airflow.dags.purge_approval import CarryOutOperator
    from imagesys_lib.errors import ConfigError

    keep_good()
    break_it()
    task: Any = CarryOutOperator(task_id="carry_out", proposal={"country": "uk", "proposal_id": 1})
    with pytest.raises(ConfigError, match="stands twice"):
        task.execute(context_of(task))


def test_a_run_goes_on_with_what_was_good_and_its_report_names_a_lost_country(world: World, state: Path) -> None:
    keep_good()
    lose("fr")
    assert any(text.startswith("Country fr is in") for text in summarize(world.ctx, world.run()).anomalies)
    break_it()
    assert world.context().config == world.ctx.config
