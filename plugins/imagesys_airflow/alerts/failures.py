"""What failed in a run: noted by the tasks themselves, read by `report` and by the mails.

A task that fails leaves its try and its message in XCom. So a mail can name every cause without a database of ours,
which may be the very thing that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom

if TYPE_CHECKING:
    from airflow.sdk import Context

XCOM_KEY, NODE_KEY = "failure", "node"
NODE_TASKS = frozenset({"sync", "purge_node", "check", "repair"})
"""Tasks that are mapped over nodes. Each leaves its node's name: the configuration may list others by now."""

_MESSAGE_LIMIT = 4000
_KEPT_MESSAGES = 50
_NO_MESSAGE = "It left no message: its process or its machine died, was out of memory or out of time."


@dataclass(frozen=True)
class Failure:
    """One failed task instance. ``name`` reads ``sync[n2]``; ``kind`` is the exception's type, "" if it left none."""

    name: str
    message: str
    log_url: str
    kind: str = ""
    try_number: int | None = None


def note_failure(context: Context, error: BaseException) -> None:
    """Leave a failing try's message in XCom; Airflow deletes it when the next try starts."""
    ti = context["ti"]
    message = str(error) or type(error).__name__
    value = {"try": ti.try_number, "kind": type(error).__name__, "message": message[:_MESSAGE_LIMIT]}
    ti.xcom_push(key=XCOM_KEY, value=value)


def failures_of(dag_id: str, run_id: str, task_ids: Sequence[str]) -> list[Failure]:
    """Return the failed task instances of a run. Works in a task and in the DAG processor.

    The messages and nodes of the first fifty are read; a run that lost more has one cause.
    """
    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {})
    failed = sorted(key for key, state in states.items() if str(getattr(state, "value", state)) == "failed")
    found = []
    for number, key in enumerate(failed):
        task_id, map_index = split_key(key, task_ids)
        left: dict[str, Any] = _left_by(dag_id, run_id, task_id, map_index) if number < _KEPT_MESSAGES else {}
        note = left.get(XCOM_KEY) or {}
        found.append(
            Failure(
                name=name_of(task_id, map_index, left.get(NODE_KEY)),
                message=note.get("message", _NO_MESSAGE),
                log_url=log_url(dag_id, run_id, task_id, map_index, note.get("try")),
                kind=note.get("kind", ""),
                try_number=note.get("try"),
            )
        )
    return found


def _left_by(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
    """Return what a task instance has left in XCom for whoever reports it, by key."""
    keys = [XCOM_KEY, *([NODE_KEY] if task_id in NODE_TASKS else [])]
    return {
        key: XCom.get_one(key=key, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index) for key in keys
    }


def split_key(key: str, task_ids: Sequence[str]) -> tuple[str, int]:
    """Take apart Airflow's name of a task instance, ``task`` or ``task_<map index>``; -1 stands for unmapped."""
    head, _, tail = key.rpartition("_")
    if key in task_ids or not tail.isdigit():
        return key, -1
    return head, int(tail)


def name_of(task_id: str, map_index: int | None, node: str | None = "") -> str:
    """Return a task instance's name as people read it: ``sync[n2]``, ``process.download[3]``, ``plan``."""
    return task_id if map_index is None or map_index < 0 else f"{task_id}[{node or map_index}]"


def run_id_of(context: Context) -> str:
    """Return the id of the run that a DAG's callback is called for."""
    dag_run = context.get("dag_run")
    return dag_run.run_id if dag_run is not None else str(context.get("run_id"))


def base_url() -> str:
    """Return where the UI is, without a slash at its end."""
    return str(conf.get("api", "base_url", fallback="http://localhost:8080")).rstrip("/")


def run_url(dag_id: str, run_id: str) -> str:
    """Return the page of a run."""
    return f"{base_url()}/dags/{dag_id}/runs/{quote(run_id)}"


def log_url(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None) -> str:
    """Return the page with the log of one try."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    which = f"?try_number={try_number}" if try_number else ""
    return f"{run_url(dag_id, run_id)}/tasks/{task_id}{mapped}{which}"
