"""Summary: what the database tells of one run, and of the runs before it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.config import config_troubles
from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, read
from imagesys_lib.db.schema import lis_batches, lis_images
from imagesys_lib.images.states import UNFINISHED, State, tally
from imagesys_lib.replication.node_records import ABSENT_KINDS, CHECK_FIGURES, FREE_FIGURES
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, naive_utc
from imagesys_lib.stages.heal import HEAL_FIGURES
from imagesys_lib.stages.purge import proposals
from imagesys_lib.stages.purge.delete import in_grace
from imagesys_lib.stages.purge.rules import PURGE_FIGURES, live_of
from imagesys_lib.stages.recheck import RECHECK_FIGURES
from imagesys_lib.stages.report.breakers import data_sources
from imagesys_lib.stages.report.disk_forecast import STAGING, DiskForecast, forecasts
from imagesys_lib.stages.report.nodes import FullCheck, NodeState, full_checks, node_state
from imagesys_lib.stages.report.trend import BYTES_SAVED, MOST_RUNS, medians

_IN_GRACE = "in_grace"
_REFUSED = "refused"
_ROWS = "rows."
_HOW = ("skipped", "cut")

FETCH_FIGURES = "fetch."
"""How the names of what downloads saw, among the figures of their run, begin."""

_OWN = lis_images.join(lis_batches, lis_batches.c.batch_id == lis_images.c.batch_id)


@dataclass(frozen=True)
class Weights:
    """The run's images that have thumbnails: bytes of their originals as they were fetched, and of all thumbnails."""

    images: int
    originals: int
    thumbnails: int

    @property
    def saved(self) -> int:
        """Bytes by which the thumbnails are less than the originals."""
        return self.originals - self.thumbnails


@dataclass(frozen=True)
class Summary:
    """What a run did, per outcome; ``lost`` names each loss with its remedy and is empty in a good run.

    ``images`` are all that it took on, each once; ``left`` of them a later run has taken, or will take, on.
    ``refused`` counts what purge took for half loaded, ``same_target`` images whose URLs led to one address with very
    many others, ``sources`` the data sources that are left alone, and that failed and recovered since the run before.
    ``full_checks`` are the newest weekly ones, of each node and of the live table. ``medians`` are those of the figures
    of ``earlier_runs`` of the same kind; ``anomalies`` says what is far from them, and what else is unusual, as what is
    to be mended in the ``configuration`` is.
    ``bad_rows`` says, by stage, how many rows of the ETL were skipped and cut, and names some; ``caught_up`` the days
    beyond the look-back up to its own that it has read because no ingest had. ``recheck`` counts live images whose
    hosts were asked again, which are none of ``images``.
    """

    country: str
    run_id: str
    kind: str
    interval: str
    images: int
    states: dict[str, int]
    reasons: dict[str, dict[str, int]]
    batches: int
    unfinished: dict[int, int]
    nodes: dict[str, NodeState]
    lost: list[str]
    left: int = 0
    purge: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    proposal: str = ""
    healed: dict[str, int] = field(default_factory=dict)
    same_target: int = 0
    sources: dict[str, int] = field(default_factory=dict)
    weights: Weights | None = None
    disks: dict[str, DiskForecast] = field(default_factory=dict)
    earlier_runs: int = 0
    medians: dict[str, float] = field(default_factory=dict)
    anomalies: list[str] = field(default_factory=list)
    full_checks: dict[str, FullCheck] = field(default_factory=dict)
    configuration: list[str] = field(default_factory=list)
    bad_rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    caught_up: str = ""
    recheck: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as ``lis_runs.summary`` keeps it."""
        return asdict(self)


def kept(row: Row) -> Summary | None:
    """Return the summary that a row of ``lis_runs`` keeps; None where the run broke off before its report."""
    raw = row.summary
    if not raw or "run_id" not in raw:
        return None
    parts = {
        "unfinished": {int(seq): images for seq, images in raw["unfinished"].items()},
        "nodes": {name: NodeState(**node) for name, node in raw["nodes"].items()},
        "weights": Weights(**raw["weights"]) if raw.get("weights") else None,
        "disks": {name: DiskForecast(**disk) for name, disk in raw.get("disks", {}).items()},
        "full_checks": {name: FullCheck(**check) for name, check in raw.get("full_checks", {}).items()},
    }
    return Summary(**{**raw, **parts})


def gather(ctx: Context, run: Run) -> Summary:
    """Read everything but the verdict."""
    i, b = lis_images.c, lis_batches.c
    query = (
        sa.select(i.state, i.reason, sa.func.count().label("images"))
        .select_from(_OWN)
        .where(b.run_id == run.run_id, b.rechecks == 0)
        .group_by(i.state, i.reason)
    )
    states, reasons = tally(read(ctx.db, query))
    states.pop(State.NEW.value, None)  # given back, or to start anew: whoever takes them counts them
    columns = (b.batch_id, b.seq, b.size, b.rechecks)
    batches = read(ctx.db, sa.select(*columns).where(b.run_id == run.run_id).order_by(b.seq))
    own = [row for row in batches if not row.rechecks]
    images = sum(row.size for row in own)
    purged = _purge(ctx, run)
    history = runs.all_figures(ctx.db, runs.reported_before(ctx.db, run, MOST_RUNS))
    summary = Summary(
        country=ctx.country,
        run_id=run.run_id,
        kind=run.kind.value,
        interval=str(run.interval),
        images=images,
        states=states,
        reasons=reasons,
        batches=len(own),
        unfinished=_unfinished(ctx, {row.batch_id: row.seq for row in batches}),
        nodes={name: node_state(ctx, name, run) for name in ctx.config.nodes},
        lost=[],
        left=images - sum(states.values()),
        purge={name: count for name, count in purged.items() if name != _REFUSED},
        refused=purged.get(_REFUSED, 0),
        proposal=_proposal(ctx),
        healed=runs.figures(ctx.db, run.run_id, HEAL_FIGURES),
        recheck=runs.figures(ctx.db, run.run_id, RECHECK_FIGURES),
        same_target=runs.figures(ctx.db, run.run_id, FETCH_FIGURES).get("same_target", 0),
        sources=data_sources(ctx.db, run),
        weights=_weights(ctx, run),
        disks=forecasts(ctx, run, history),
        full_checks=full_checks(ctx),
        configuration=[str(trouble) for trouble in config_troubles()],
        **_of_etl(ctx, run),
    )
    return _compared(summary, history)


def _of_etl(ctx: Context, run: Run) -> dict[str, Any]:
    """Return what the run's row says of the rows of the ETL that it has read."""
    row = runs.load(ctx.db, run.run_id)
    if row is None:
        return {}
    caught_up, start = "", run.interval.start
    if row.read_from and row.read_from < naive_utc(start) - dt.timedelta(hours=ctx.config.look_back_hours):
        first = row.read_from.replace(tzinfo=UTC).astimezone(ctx.config.zone)
        last = start.astimezone(ctx.config.zone) - dt.timedelta(microseconds=1)
        caught_up = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return {"bad_rows": row.bad_rows or {}, "caught_up": caught_up}


def figures_of(summary: Summary) -> dict[str, int]:
    """Return what a report measures, by the names that ``lis_metrics`` keeps it under."""
    figures = {"images": summary.images, "batches": summary.batches}
    figures |= {f"state.{state}": count for state, count in summary.states.items()}
    for reasons in summary.reasons.values():
        for code, count in reasons.items():
            figures[f"reason.{code}"] = figures.get(f"reason.{code}", 0) + count
    figures |= {f"backlog.{name}": node.backlog for name, node in summary.nodes.items()}
    figures |= {f"missing.{name}": node.missing for name, node in summary.nodes.items() if node.missing is not None}
    figures |= {f"sources.{name}": count for name, count in summary.sources.items()}
    figures |= {f"{_ROWS}{how}": summary.bad_rows["ingest"][how] for how in _HOW if "ingest" in summary.bad_rows}
    figures[BYTES_SAVED] = summary.weights.saved if summary.weights else 0
    if STAGING in summary.disks:
        figures[FREE_FIGURES + STAGING] = summary.disks[STAGING].free_bytes
    return figures


def compared_figures(summary: Summary) -> dict[str, int]:
    """Return what a report compares with earlier runs: its measures, and what the run's tasks have counted."""
    counted = {PURGE_FIGURES + name: count for name, count in summary.purge.items() if name != _IN_GRACE}
    counted |= {HEAL_FIGURES + name: count for name, count in summary.healed.items()}
    counted |= {
        f"{CHECK_FIGURES}{name}.{kind}": count
        for name, node in summary.nodes.items()
        for kind, count in node.findings.items()
        if kind not in ABSENT_KINDS  # their sum is ``missing.<node>``
    }
    return {**figures_of(summary), **counted}


def forgotten_figures(db: Engine, summary: Summary) -> dict[str, int]:
    """Return as 0 what an earlier report of this run measured and this one does not: no image or row is so any more."""
    had = {
        prefix + name for prefix in ("state.", "reason.", _ROWS) for name in runs.figures(db, summary.run_id, prefix)
    }
    return dict.fromkeys(sorted(had - figures_of(summary).keys()), 0)


def _compared(summary: Summary, history: Sequence[Row]) -> Summary:
    earlier: dict[str, dict[str, int]] = {}
    for row in history:
        if not (row.name.startswith(CHECK_FIGURES) and row.name.rpartition(".")[2] in ABSENT_KINDS):
            earlier.setdefault(row.run_id, {})[row.name] = row.value
    names = sorted({*compared_figures(summary), *(name for figures in earlier.values() for name in figures)})
    return replace(summary, earlier_runs=len(earlier), medians=medians(names, list(earlier.values())))


def _purge(ctx: Context, run: Run) -> dict[str, int]:
    """Return what the run's purge unpublished and deleted, and how many images wait for their grace to end."""
    done = runs.figures(ctx.db, run.run_id, PURGE_FIGURES)
    waiting = in_grace(ctx).total()
    return {**done, **({_IN_GRACE: waiting} if waiting else {})}


def _proposal(ctx: Context) -> str:
    """Return the sentence about a purge that waits for a person; "" if none does."""
    found = proposals.waiting(ctx.db)
    if found is None:
        return ""
    return (
        f"Purge proposal {found.proposal_id} waits for an answer: {live_of(found.counts)} of {found.live} live images "
        f"are due. Answer in DAG imagesys_purge_approval or by `imagesys purge {ctx.country} --approve` (or --reject) "
        f"{found.proposal_id}."
    )


def _unfinished(ctx: Context, batches: Mapping[int, int]) -> dict[int, int]:
    """Return images left to do, by the sequence number of their batch; ``batches`` has it by the batch's id."""
    i = lis_images.c
    left = i.batch_id.in_(list(batches)) & i.state.in_([state.value for state in UNFINISHED])
    query = sa.select(i.batch_id, sa.func.count().label("images")).where(left).group_by(i.batch_id)
    return dict(sorted((batches[row.batch_id], row.images) for row in read(ctx.db, query)))


def _weights(ctx: Context, run: Run) -> Weights | None:
    """Add the bytes up; None if the run has no image whose original was weighed and whose thumbnails are made."""
    i, b = lis_images.c, lis_batches.c
    thumbs = sa.text(
        "JSON_TABLE(lis_images.thumbs, '$[*]' COLUMNS (place FOR ORDINALITY, bytes BIGINT PATH '$.bytes')) AS thumb"
    )
    place: sa.ColumnElement[int] = sa.literal_column("thumb.place")
    size: sa.ColumnElement[int] = sa.literal_column("thumb.bytes")
    query = (
        sa.select(
            sa.func.sum(sa.case((place == 1, 1), else_=0)).label("images"),
            sa.func.sum(sa.case((place == 1, i.source_bytes), else_=0)).label("originals"),
            sa.func.sum(size).label("thumbnails"),
        )
        .select_from(_OWN, thumbs)
        .where(
            b.run_id == run.run_id,
            b.rechecks == 0,
            i.state.in_([State.THUMBNAILED.value, State.LIVE.value]),
            i.source_bytes.is_not(None),
            i.recipe.is_not(None),  # the thumbnails there are of this original
        )
    )
    row = read(ctx.db, query)[0]
    return Weights(int(row.images), int(row.originals), int(row.thumbnails)) if row.images else None
