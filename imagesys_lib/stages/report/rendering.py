"""A summary as plain text, for a log, a mail or the run's note in the UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imagesys_lib.images.states import State, outcome
from imagesys_lib.replication.node_records import ABSENT_KINDS, absent_files
from imagesys_lib.stages.check.db_scan import LIVE_TABLE
from imagesys_lib.stages.report.nodes import FullCheck, NodeState
from imagesys_lib.stages.report.summary import Summary, Weights
from imagesys_lib.stages.report.words import label, listed, megabytes

_TOP_REASONS = 5
_NAMED_ROWS = 5
_NOTE_LENGTH = 1000  # Airflow takes no longer one
_REPAIRED = {
    "restored": "repaired",
    "deleted": "extra deleted",
    "requeued": "to be made again",
    "waiting": "waiting for repair",
    "refused": "left alone",
}
_RECHECKED = ("asked", "unchanged", "replaced", "gone", "failed")
_SHOWN = ("images", f"state.{State.LIVE.value}", f"state.{State.FAILED.value}", f"state.{State.REJECTED.value}")


def render(summary: Summary) -> str:
    """Return the summary as plain text for a log or a mail."""
    return "\n".join([*_body(summary), *_verdict(summary)])


def run_note(summary: Summary) -> str:
    """Return the summary with the verdict first, in the UI's Markdown, cut to what a run's note may have."""
    head, rest = _body(summary)[0], facts(summary)
    verdict = "WORK LOST" if summary.lost else _nothing_lost(summary)
    first = [*(f"UNUSUAL: {one}" for one in summary.anomalies), *summary.lost]
    text = "\n".join([f"**{verdict}**", "", *(f"- {one}" for one in (*first, head, *rest))])
    return text if len(text) <= _NOTE_LENGTH else text[: _NOTE_LENGTH - 2] + " …"


def facts(summary: Summary) -> list[str]:
    """Return what a run did, a line each, without its name and without the verdict."""
    return [line.strip() for line in _body(summary)[1:]]


def _verdict(summary: Summary) -> list[str]:
    lines = []
    if summary.anomalies:
        lines += ["  UNUSUAL:", *(f"  - {one}" for one in summary.anomalies)]
    if summary.lost:
        return [*lines, "  WORK LOST:", *(f"  - {loss}" for loss in summary.lost)]
    return [*lines, f"  {_nothing_lost(summary)}"]


def _nothing_lost(summary: Summary) -> str:
    """Return the verdict of a good run. A row that cannot be read is its owner's to mend; it is no loss of ours."""
    return "Nothing of ours was lost, but rows of the ETL cannot be read." if summary.bad_rows else "Nothing was lost."


def _body(summary: Summary) -> list[str]:
    live = summary.states.get(State.LIVE.value, 0)
    lines = [
        f"{summary.country.upper()} {summary.kind} run {summary.run_id}, interval {summary.interval}",
        f"  {summary.images} images in {summary.batches} batches: {live} live",
    ]
    if summary.caught_up:
        lines.append(f"  caught up with {summary.caught_up}, of which no completed ingest had read all")
    lines += [f"  {_bad_rows(stage, found)}" for stage, found in summary.bad_rows.items()]
    if summary.left:
        lines.append(f"  {summary.left} left to later runs: given back, queued anew or due again since")
    lines += [
        f"  {sum(reasons.values())} {outcome(state)}: {top_reasons(reasons)}"
        for state, reasons in sorted(summary.reasons.items())
    ]
    if summary.same_target:
        lines.append(
            f"  {summary.same_target} images ended at addresses that very many others of their batch end at: "
            "placeholders, probably"
        )
    lines += _rechecked(summary.recheck)
    lines += [_node(name, node) for name, node in summary.nodes.items()]
    lines += [_full_check(name, check) for name, check in summary.full_checks.items()]
    if summary.purge:
        purged = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(summary.purge.items()))
        lines.append(f"  purge: {purged}")
    lines += [f"  healed: {count} {name.replace('_', ' ')}" for name, count in sorted(summary.healed.items()) if count]
    if any(summary.sources.values()):
        alone, failed, recovered = (summary.sources.get(name, 0) for name in ("left_alone", "failed", "recovered"))
        lines.append(
            f"  data sources: {alone} left alone now; since the run before {failed} failed and {recovered} recovered"
        )
    if summary.proposal:
        lines.append(f"  {summary.proposal}")
    if summary.weights is not None:
        lines.append(f"  {_weights(summary.weights)}")
    if summary.disks:
        free = ", ".join(
            f"{name} {megabytes(disk.free_bytes)}"
            + ("" if disk.full_in_days is None else f" (at its floor in {disk.full_in_days:.0f} days)")
            for name, disk in summary.disks.items()
        )
        lines.append(f"  disk left: {free}")
    if summary.medians:
        medians = ", ".join(f"{label(name)} {summary.medians[name]:g}" for name in _SHOWN if name in summary.medians)
        lines.append(f"  median of {summary.earlier_runs} earlier {summary.kind} runs: {medians}")
    return lines


def top_reasons(reasons: dict[str, int], most: int = _TOP_REASONS) -> str:
    """Return the most frequent reasons of an outcome, and how many images have another."""
    ordered = sorted(reasons.items(), key=lambda reason: (-reason[1], reason[0]))
    top = [f"{count} {reason}" for reason, count in ordered[:most]]
    others = sum(count for _, count in ordered[most:])
    return ", ".join([*top, *([f"{others} with another reason"] if others else [])])


def _rechecked(figures: Mapping[str, int]) -> list[str]:
    told = ", ".join(f"{figures[name]} {name}" for name in _RECHECKED if name in figures)
    return [f"  live images asked for again: {told}"] if told else []


def _bad_rows(stage: str, found: Mapping[str, Any]) -> str:
    samples, bad = found["samples"][:_NAMED_ROWS], found["skipped"] + found["cut"]
    named = "; ".join([*samples, *(["..."] if bad > len(samples) else [])])
    return f"{stage}: {found['skipped']} rows of the ETL skipped, {found['cut']} cut to what can be kept: {named}"


def _node(name: str, node: NodeState) -> str:
    seen = "not checked" if node.files is None else _seen(node.files, node.findings, node.repaired, node.part)
    waits = "" if node.behind_hours is None else f" (the oldest for {node.behind_hours:.1f} h)"
    gone = f" ({node.not_staged} not staged)" if node.not_staged else ""
    return f"  {name}: {seen}, {node.backlog} images behind{waits}, {node.marked} marked for repair{gone}"


def _full_check(name: str, check: FullCheck) -> str:
    what = "rows" if name == LIVE_TABLE else "files"
    seen = _seen(check.files, check.findings, check.repaired, what=what)
    return f"  full check of {name.replace('_', ' ')}, {check.day}: {seen}"


def _seen(
    files: int, findings: Mapping[str, int], repaired: Mapping[str, int], part: str | None = None, what: str = "files"
) -> str:
    """Return what was looked at, found and made of it: ``958 files, 12 missing and 3 damaged found, 15 repaired``."""
    counts = {"missing": absent_files(findings), "damaged": 0}
    counts |= {kind: findings[kind] for kind in sorted(findings.keys() - {*ABSENT_KINDS})}
    found = [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items() if count]
    done = [f"{repaired[name]} {word}" for name, word in _REPAIRED.items() if repaired.get(name)]
    looked_at = f"{files} {what}" + (f" (part {part})" if part not in (None, "all") else "")
    return ", ".join([looked_at, f"{listed(found)} found" if found else "nothing wrong", *done])


def _weights(weights: Weights) -> str:
    share = 100 * weights.saved / weights.originals if weights.originals else 0.0
    return (
        f"{weights.images} originals of {megabytes(weights.originals)} became thumbnails of "
        f"{megabytes(weights.thumbnails)}: {megabytes(weights.saved)} saved ({share:.1f} %)"
    )
