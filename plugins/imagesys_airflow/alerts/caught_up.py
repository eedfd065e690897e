"""What one day's run has to do with those before it: a node that stays away is one trouble, and a good day ends theirs.

Nobody need clear a red run: the next one does what it left undone. So it is the next one that takes its alert back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_airflow.alerts.failures import Failure
from imagesys_airflow.alerts.mail_texts import RunFacts, run_facts
from imagesys_lib.alerts import incidents
from imagesys_lib.config.intervals import UTC
from imagesys_lib.db.engine import Row, chunks
from imagesys_lib.db.schema import lis_nodes, lis_runs
from imagesys_lib.errors import WorkLost
from imagesys_lib.runs.runs import RunKind, naive_utc


def facts_of(country: str, key: str, since: dt.datetime, row: Row | None) -> RunFacts:
    """Return what mails say of a run that has ended well, from its row.

    One without a row, such as a weekly check, was on the day before its incident opened.
    """
    dag_id, _, run_id = key.partition(" ")
    plain = {"run_id": run_id, "state": "success", "run_type": run_id.partition("__")[0]}
    if row is None:
        return run_facts(country, {**plain, "run_after": since.replace(tzinfo=UTC)}, dag_id)
    start, end = (instant.replace(tzinfo=UTC) for instant in (row.interval_start, row.interval_end))
    interval = {"data_interval_start": start, "data_interval_end": end}
    return run_facts(country, {**plain, **interval, "run_type": row.kind}, dag_id)


def with_cause(connection: Connection, facts: RunFacts, failures: Sequence[Failure]) -> RunFacts:
    """Return the facts of a failed daily run with the nodes that are to blame, if nothing else is.

    That is what its report has seen; a run that has none says nothing of its cause.
    """
    from imagesys_lib.stages import report  # every task reads its DAG, and few runs fail

    verdicts = [failure for failure in failures if failure.kind == WorkLost.__name__]
    row = next(_rows(connection, [facts.run.run_id]), None)
    if facts.is_check or facts.run.kind is not RunKind.SCHEDULED or not verdicts or row is None:
        return facts

    summary = report.kept(row)
    if summary is None:
        return facts
    tasks = [failure.name for failure in failures if failure not in verdicts]
    alone = report.nodes_alone(summary, row.ingested_at is not None, tasks)
    n = lis_nodes.c
    query = sa.select(n.node, n.fault).where(n.node.in_(alone), n.fault.is_not(None)).order_by(n.node)
    away = [f"{node.node} ({node.fault})" for node in connection.execute(query)]
    return replace(facts, away=tuple(away)) if len(away) == len(alone) else facts


def caught_up_with(connection: Connection, facts: RunFacts) -> dict[str, str]:
    """Return earlier scheduled runs that incidents wait for and that this good one has caught up with, by day.

    It has what they left of batches, nodes, purges and checks, and reads on from the last completed ingest. Rows of the
    ETL that nobody has read for all that keep such a run's alert open.
    """
    if facts.run.kind is not RunKind.SCHEDULED:
        return {}
    awaited = {key: since for key, since in incidents.awaited_runs(connection).items() if key != facts.key}
    ids = {key: run_id for key in awaited for dag_id, _, run_id in [key.partition(" ")] if dag_id == facts.dag_id}
    rows: dict[str, Row] = {}
    if not facts.is_check:
        rows = {row.run_id: row for row in _rows(connection, [facts.run.run_id, *ids.values()])}
        this_run = rows.get(facts.run.run_id)
        if this_run is None or this_run.state != "success":
            return {}  # marked by hand: no report has seen it
    others = [facts_of(facts.config.country, key, awaited[key], rows.get(run_id)) for key, run_id in ids.items()]
    return {
        other.key: other.day
        for other in others
        if other.run.kind is RunKind.SCHEDULED
        and other.run.interval.start < facts.run.interval.start
        and (other.is_check or _rows_are_in(connection, other))
    }


def _rows(connection: Connection, run_ids: Collection[str]) -> Iterator[Row]:
    for some in chunks(list(run_ids)):
        yield from connection.execute(sa.select(lis_runs).where(lis_runs.c.run_id.in_(some))).all()


def _rows_are_in(connection: Connection, facts: RunFacts) -> bool:
    """Say whether some run has read all rows of this one's interval: itself, a backfill, or a later one.

    It must have begun when that was over. A run keeps from when on it has read; of older ones the look-back says it.
    """
    r = lis_runs.c
    start, end = naive_utc(facts.run.interval.start), naive_utc(facts.run.interval.end)
    look_back = dt.timedelta(hours=facts.config.look_back_hours)
    from_then_on = (sa.func.coalesce(r.read_from, r.interval_start) <= start) | (
        (r.kind != RunKind.BACKFILL.value) & (r.interval_start <= start + look_back)
    )
    read = sa.select(r.run_id).where(
        r.ingested_at.is_not(None), from_then_on, r.interval_end >= end, r.started_at >= end
    )
    return connection.execute(read.limit(1)).first() is not None
