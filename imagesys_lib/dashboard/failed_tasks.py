"""Which task a loss is about, so that a button can lead there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagesys_lib.dashboard.addresses import dag_of, task_link

_TASK = re.compile(r"Task ([\w.]+)(?:\[(\w+)\])? failed\.")
_BATCH = re.compile(r"Batch (\d+) is unfinished")
_NODE = re.compile(r"Node (\w+) (is behind|lacks)")


@dataclass(frozen=True)
class FailedTask:
    """A task of a run; ``map_index`` is None for one that is not mapped."""

    task_id: str
    map_index: int | None = None

    def address(self, country: str, run_id: str) -> str:
        """Return where Airflow shows it."""
        return task_link(dag_of(country), run_id, self.task_id, self.map_index)


def failed_task(loss: str, nodes: Sequence[str], batches: Mapping[int, str]) -> FailedTask | None:
    """Return the task that a sentence of a report's ``lost`` is about; None where it names none.

    ``batches`` are their states by number: one that is still ``planned`` failed in its download.
    """
    if found := _TASK.match(loss):
        return _named(found[1], found[2], nodes)
    if found := _BATCH.match(loss):
        stage = "download" if batches.get(int(found[1])) == "planned" else "thumbnail"
        return FailedTask(f"process.{stage}", int(found[1]))
    if (found := _NODE.match(loss)) and found[1] in nodes:
        return FailedTask("sync" if found[2] == "is behind" else "repair", nodes.index(found[1]))
    return FailedTask("ingest") if "ingest did not complete" in loss else None


def _named(task_id: str, of: str | None, nodes: Sequence[str]) -> FailedTask | None:
    if of is None:
        return FailedTask(task_id)
    if of in nodes:
        return FailedTask(task_id, nodes.index(of))
    return FailedTask(task_id, int(of)) if of.isdigit() else None
