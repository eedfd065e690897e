"""Judgement: what of a run was lost, and what in it is unusual. Decisions without any I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.report.summary import Summary
from imagesys_lib.stages.report.trend import Figures, is_unusual
from imagesys_lib.stages.report.words import amount, label

_SOON_FULL_DAYS = 14

_JUDGED = frozenset({"process.download", "process.thumbnail", "sync", "ingest"})
"""Stages of which the database knows better than a task's state whether anything was lost."""


def losses(summary: Summary, ingested: bool, failed_tasks: Sequence[str]) -> list[str]:
    """Return what was lost, one sentence each with its remedy. Reasons of single images are never a loss."""
    found = []
    if not ingested:
        found.append(
            "The ETL's rows are not all in: ingest did not complete. Remedy: read the log of `ingest`, mend the "
            "ETL connection, then clear `ingest` with downstream."
        )
    for seq, images in summary.unfinished.items():
        found.append(
            f"Batch {seq} is unfinished: {images} images left. Remedy: read the log of process.download[{seq}] and "
            f"process.thumbnail[{seq}], then clear the failed one with downstream; or leave it to the next run."
        )
    for name, node in summary.nodes.items():
        # A fault of today is no loss of a run whose own sync went well.
        unsynced = node.fault and f"sync[{name}]" in failed_tasks
        if unsynced or node.own_backlog:
            cause = node.fault or f"Remedy: clear sync of {name}."
            found.append(f"Node {name} is behind by {node.backlog} images. {cause}")
        elif node.not_staged and summary.kind != RunKind.BACKFILL.value:  # which repairs nothing
            found.append(
                f"Node {name} lacks {node.not_staged} images that were not staged any more when it synced. Remedy: "
                f"clear repair of {name}, or `imagesys repair {summary.country} --node {name}`."
            )
    for task in failed_tasks:
        if task.partition("[")[0] not in _JUDGED:
            found.append(f"Task {task} failed. Remedy: read its log, then clear it with downstream.")
    return found


def anomalies(summary: Summary, figures: Figures) -> list[str]:
    """Return what is unusual in a run with these figures, one sentence each. None of it is a loss."""
    found = list(summary.configuration)
    if summary.refused:
        found.append(
            f"purge refused {summary.refused} times: the ETL, or so many data sources in it, look half loaded; nothing "
            "of it was purged. The log of `purge` names them."
        )
    for name, node in summary.nodes.items():
        found += _undone(summary.country, name, node.repaired)
    earlier = f"{summary.earlier_runs} earlier {summary.kind} runs"
    found += [
        f"{label(name)}: {amount(name, figures.get(name, 0))}, where {earlier} had {amount(name, median)} (median)"
        for name, median in summary.medians.items()
        if is_unusual(name, figures.get(name, 0), median)
    ]
    for name, disk in summary.disks.items():
        if disk.full_in_days is not None and disk.full_in_days < _SOON_FULL_DAYS:
            found.append(f"disk of {name}: down to its floor in {disk.full_in_days:.0f} days, as it went lately")
    return found


def nodes_alone(summary: Summary, ingested: bool, failed_tasks: Sequence[str]) -> list[str]:
    """Return the nodes whose own sync failed, if nothing was lost but by them; else none."""
    away = {name for name, node in summary.nodes.items() if node.fault and f"sync[{name}]" in failed_tasks}
    others = {name: node for name, node in summary.nodes.items() if name not in away}
    rest = losses(replace(summary, nodes=others), ingested, failed_tasks)
    return [] if rest else sorted(away)


def _undone(country: str, node: str, repaired: Mapping[str, int]) -> list[str]:
    """Return what a repair has left undone, and how to go on."""
    on, found = f"{country} --node {node}", []
    if refused := repaired.get("refused", 0):
        found.append(
            f"repair of {node} left {refused} images alone: too many at once have files that nothing wants, or are on "
            f"no node. Remedy: look at some with `imagesys fs-check {on} --verbose`; the log of `repair` has the "
            "command to go on."
        )
    if waiting := repaired.get("waiting", 0):
        found.append(
            f"repair of {node}: {waiting} images wait: they could not be written, or a node that may have them is "
            f"away. Remedy: mend that; the next run brings them, or `imagesys repair {on}`."
        )
    return found
