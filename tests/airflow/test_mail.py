"""Mails about runs: what each says."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.stages.report import NodeState, Summary

RUN = {
    "dag_run_id": "scheduled__2026-03-29",
    "run_type": "scheduled",
    "state": "running",
    "data_interval_start": "2026-03-28T00:00:00Z",
    "data_interval_end": "2026-03-29T00:00:00Z",
    "run_after": "2026-03-29T03:00:00Z",
}


def summary(**own: Any) -> Summary:
    node = {"backlog": 0, "own_backlog": 0, "marked": 0}
    fields: dict[str, Any] = {
        "country": "uk",
        "run_id": RUN["dag_run_id"],
        "kind": "scheduled",
        "interval": "",
        "images": 60,
        "states": {"live": 20, "thumbnailed": 10, "reserved": 30},
        "reasons": {"live": {"too_small": 4}, "rejected": {"http_404": 2, "not_an_image": 1}},
        "batches": 3,
        "unfinished": {1: 20, 2: 10},
        "nodes": {
            "n1": NodeState("n1", **node),
            "n2": NodeState("n2", **{**node, "backlog": 7}, fault="unreachable: refused"),
        },
        "lost": [],
    }
    return Summary(**{**fields, **own})


def failure(name: str, kind: str, message: str, try_number: int | None = 1) -> Any:
    from imagesys_airflow.alerts.failures import Failure

    return Failure(name, message, f"http://airflow.example.test/{name}", kind, try_number)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("plan", ("plan", -1)),
        ("purge_node", ("purge_node", -1)),
        ("purge_node_2", ("purge_node", 2)),
        ("process.download_13", ("process.download", 13)),
        ("odd_1", ("odd_1", -1)),
    ],
)
def test_a_task_instance_is_told_from_its_key(key: str, expected: tuple[str, int]) -> None:
    from imagesys_airflow.alerts.failures import split_key

    assert split_key(key, ["plan", "purge", "purge_node", "process.download", "odd_1"]) == expected


@pytest.mark.parametrize(
    ("task_id", "index", "node", "expected"),
    [
        ("sync", 1, "n2", "sync[n2]"),
        ("check", 5, None, "check[5]"),  # it died before it could leave its node's name
        ("process.download", 1, None, "process.download[1]"),
        ("report", -1, None, "report"),
    ],
)
def test_tasks_of_nodes_are_called_by_their_node(task_id: str, index: int, node: str | None, expected: str) -> None:
    from imagesys_airflow.alerts.failures import name_of

    assert name_of(task_id, index, node) == expected


def test_the_late_mail_says_what_is_done_what_is_left_and_where_to_look() -> None:
    from imagesys_airflow.alerts.mail_texts import late_message, progress_of, run_facts

    facts = run_facts("uk", RUN, "imagesys_uk")
    message = late_message(facts, IncidentKind.MISSED, "2026-03-29T07:00:00Z", progress_of(summary(), ingested=True))

    assert message.subject == "[ImageSys] UK run of 2026-03-28 missed its deadline"
    assert late_message(facts, IncidentKind.LATE, "", ()).subject == "[ImageSys] UK run of 2026-03-28 is late"
    text = message.text()
    for reported in (
        "DAG imagesys_uk",
        "Run scheduled__2026-03-29 (scheduled), state running",
        "http://airflow.example.test/dags/imagesys_uk/runs/scheduled__2026-03-29",
        "20 images live",
        "3 rejected, with reason: 2 http_404, 1 not_an_image",
        "4 kept as before, with reason: 4 too_small",
        "30 images in 2 of 3 batches",
        "10 images to be published",
        "Node n2 is behind by 7 images: unreachable: refused",
    ):
        assert reported in text
    assert "Node n1" not in text
    assert "<li>30 images in 2 of 3 batches</li>" in message.html()


def test_the_failure_mail_tells_losses_causes_and_logs_once() -> None:
    from imagesys_airflow.alerts.mail_texts import failed_message, run_facts

    facts = run_facts("uk", {**RUN, "state": "failed"}, "imagesys_uk")
    reported = [
        failure("plan", "PreflightMissing", "preflight has not succeeded"),
        failure("report", "WorkLost", "Batch 3 is unfinished.\nNode n2 is behind by <b>9</b> images."),
        failure("process.download[3]", "", "It left no message", None),
        failure("sync[n2]", "NodeFault", "Node n2: unreachable", 2),
    ]
    message = failed_message(facts, reported, "task_failure")

    lost, tasks = message.sections[1][1], message.sections[2][1]
    assert lost == ("Batch 3 is unfinished.", "Node n2 is behind by <b>9</b> images.")
    assert tasks == (
        "process.download[3]: It left no message",
        "sync[n2], try 2: Node n2: unreachable",
        "report, which judges the run",
    )
    assert "http://airflow.example.test/sync[n2]" in message.text()
    assert "&lt;b&gt;9&lt;/b&gt;" in message.html()


def test_a_run_whose_report_never_ran_still_has_a_mail_that_says_so() -> None:
    from imagesys_airflow.alerts.mail_texts import failed_message, run_facts

    message = failed_message(run_facts("uk", {**RUN, "state": "failed"}, "imagesys_uk"), [], "")

    assert "the report did not run" in message.text()


def test_many_failures_make_a_short_mail() -> None:
    from imagesys_airflow.alerts.mail_texts import failed_message, run_facts

    failures = [failure(f"process.download[{n}]", "BatchFailed", "no network") for n in range(60)]
    tasks = failed_message(run_facts("uk", RUN, "imagesys_uk"), failures, "").sections[2][1]

    assert len(tasks) == 21
    assert tasks[-1] == "... and 40 more"


def test_a_run_without_an_interval_is_about_the_latest_complete_day() -> None:
    from imagesys_airflow.alerts.mail_texts import run_facts

    bare = {
        "dag_run_id": "manual__1",
        "run_type": "manual",
        "run_after": dt.datetime(2026, 7, 2, 1, tzinfo=dt.timezone.utc),
    }

    assert run_facts("uk", bare, "imagesys_uk").day == "2026-07-01"
    assert run_facts("br", bare, "imagesys_br").day == "2026-06-30"  # still 1 July there


def test_a_run_with_an_interval_that_cannot_be_meant_still_has_its_mail() -> None:
    from imagesys_airflow.alerts.mail_texts import run_facts

    absurd = {"data_interval_start": "0001-01-01T00:00:00Z", "data_interval_end": "0001-01-02T00:00:00Z"}

    assert run_facts("br", {**RUN, **absurd}, "imagesys_br").day == "2026-03-28"
