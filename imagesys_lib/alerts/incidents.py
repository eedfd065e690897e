"""Incidents: what is wrong now, so that each is mailed once when it opens and once when it is resolved.

An incident opens or is resolved in the transaction that puts its mail into the outbox: one never goes without the
other. Those of a country live in its own schema, those about all countries in the shared one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.alerts import outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.db.engine import CHUNK, NOW, from_now, write
from imagesys_lib.db.schema import lis_incidents


class IncidentKind(str, Enum):
    """What is wrong: a run is late, very late, waits for its date or failed, a data source is left alone, a canary did
    not come through; or a DAG for all countries fails, the configuration is broken, an address is refused.
    """

    LATE = "late"
    MISSED = "missed"
    WAITS = "waits"
    FAILED = "failed"
    SOURCE = "source"
    CANARY = "canary"
    SERVICE = "service"
    CONFIG = "config"
    REFUSED = "refused"


ENDED_BY_FAILURE = (IncidentKind.LATE, IncidentKind.MISSED, IncidentKind.WAITS)
"""A run that has failed is late no longer, and its failure's mail says so."""

ABOUT_RUNS = (*ENDED_BY_FAILURE, IncidentKind.FAILED)

BACKFILL_LAPSES_HOURS = 24
"""A backfill has no name that its runs know: Airflow (3.3) shows ``backfill_id`` neither to tasks nor to callbacks. So
long after its last trouble, the next trouble is another backfill's."""

_NEVER = 1_000_000  # hours
_LAPSES_HOURS = {IncidentKind.SERVICE: 48, IncidentKind.REFUSED: 48}
"""What has no run that must end well counts as forgotten when it was not seen for so long."""

_REPEATED_HOURS = {IncidentKind.CONFIG: 24}


@dataclass(frozen=True)
class Resolved:
    """An incident that is over, with the last runs that it had waited for."""

    kind: IncidentKind
    subject: str
    opened_at: dt.datetime
    runs: tuple[str, ...] = ()

    @property
    def since(self) -> str:
        """When the incident opened, as a mail says it."""
        return f"{self.opened_at:%Y-%m-%d %H:%M} UTC"


def open_incident(
    connection: Connection,
    kind: IncidentKind,
    subject: str,
    message: Message,
    *,
    run: str = "",
    lapses_hours: int = 0,
    countries: Iterable[str] = (),
) -> bool:
    """Open an incident and put its mail, unless it is open already; returns whether a mail was put.

    ``run`` has to end well before it is resolved; runs of one subject, a backfill say, share an incident. One that was
    seen for the last time over ``lapses_hours`` ago counts as forgotten, and a new one opens. A broken configuration is
    mailed again each day. ``countries``: see :func:`imagesys_lib.alerts.outbox.put`.
    """
    c = lis_incidents.c
    is_it = (c.kind == kind.value) & (c.subject == subject) & (c.is_open == 1)
    first = insert(lis_incidents).values(
        kind=kind.value, subject=subject, is_open=1, runs=[], opened_at=NOW, last_seen_at=NOW
    )
    connection.execute(first.on_duplicate_key_update(kind=c.kind))  # and thereby wait for whoever is at it
    lapsed = (c.last_seen_at < _hours_ago(lapses_hours or _LAPSES_HOURS.get(kind, _NEVER))).label("lapsed")
    due = (c.notified_at.is_(None) | (c.notified_at < _hours_ago(_REPEATED_HOURS.get(kind, _NEVER)))).label("due")
    row = connection.execute(sa.select(c.incident_id, c.runs, lapsed, due).where(is_it).with_for_update()).one()
    if row.lapsed and run not in row.runs:
        _close(connection, row.incident_id)
        return open_incident(connection, kind, subject, message, run=run, countries=countries)
    runs = [*row.runs, run] if run and run not in row.runs else row.runs
    notified = {"notified_at": NOW} if row.due else {}
    change = sa.update(lis_incidents).where(c.incident_id == row.incident_id)
    connection.execute(change.values(runs=runs, last_seen_at=NOW, **notified))
    if row.due:
        outbox.put(connection, message, countries)
    return bool(row.due)


def _hours_ago(hours: int) -> sa.ColumnElement[Any]:
    return from_now(-3600 * hours)


def resolve(
    connection: Connection,
    kind: IncidentKind,
    subject: str,
    message: Callable[[Resolved], Message],
    countries: Iterable[str] = (),
) -> bool:
    """Close an incident and put the mail that says so; returns whether it was open."""
    c = lis_incidents.c
    query = sa.select(c.incident_id, c.opened_at).where(c.is_open == 1, c.kind == kind.value, c.subject == subject)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        return False
    _close(connection, row.incident_id)
    outbox.put(connection, message(Resolved(kind, subject, row.opened_at)), countries)
    return True


def resolve_runs(connection: Connection, runs: Collection[str], kinds: Collection[IncidentKind]) -> list[Resolved]:
    """Take runs off the incidents that wait for them; returns those that are resolved by it, to be notified.

    One that is over while another of its subject still waits (days of a backfill that were late, beside some that
    failed) closes in silence: nothing is well before the last.
    """
    over, waiting = [], set()
    for row in _open(connection, kinds, lock=True):
        left = [run for run in row.runs if run not in runs]
        if left:
            waiting.add(row.subject)
        if len(left) == len(row.runs):
            continue
        if left:
            change = sa.update(lis_incidents).where(lis_incidents.c.incident_id == row.incident_id)
            connection.execute(change.values(runs=left))
        else:
            _close(connection, row.incident_id)
            over.append(Resolved(IncidentKind(row.kind), row.subject, row.opened_at, tuple(row.runs)))
    return [incident for incident in over if incident.subject not in waiting]


def awaited_runs(connection: Connection, kinds: Collection[IncidentKind] = ABOUT_RUNS) -> dict[str, dt.datetime]:
    """Return the runs that have to end well before something is resolved, each with when its first incident opened.

    Whoever knows their state calls :func:`resolve_runs` for those that have ended.
    """
    runs: dict[str, dt.datetime] = {}
    for row in _open(connection, kinds):
        for run in row.runs:
            runs.setdefault(run, row.opened_at)
    return runs


def waits(db: Engine) -> list[str]:
    """Return a sentence for each run that was seen to wait for its date and to keep all others of its DAG waiting."""
    return [
        f"run {run} was seen on {since:%Y-%m-%d %H:%M} UTC to wait for its date, which lies in the future: until it is "
        "marked failed in Airflow, it holds the DAG's only slot"
        for run, since in write(db, lambda connection: awaited_runs(connection, [IncidentKind.WAITS])).items()
    ]


def notified_runs(
    connection: Connection, kind: IncidentKind, resolved_after: dt.datetime
) -> dict[str, dt.datetime | None]:
    """Return the runs of incidents that are open, or were closed after an instant, each with when; None: it is open."""
    c = lis_incidents.c
    closed = sa.select(c.runs, c.resolved_at).where(c.resolved_at > resolved_after, c.kind == kind.value)
    rows = connection.execute(closed.order_by(c.resolved_at).limit(CHUNK)).all()
    runs: dict[str, dt.datetime | None] = {run: row.resolved_at for row in rows for run in row.runs}
    return {**runs, **dict.fromkeys(run for row in _open(connection, [kind]) for run in row.runs)}


def _open(connection: Connection, kinds: Collection[IncidentKind], *, lock: bool = False) -> Iterator[Any]:
    """Go through the open incidents, a page at a time: there are as many as red runs that nobody has cleared."""
    c = lis_incidents.c
    query = sa.select(c.incident_id, c.kind, c.subject, c.runs, c.opened_at)
    query = query.where(c.is_open == 1, c.kind.in_([kind.value for kind in kinds])).order_by(c.incident_id).limit(CHUNK)
    last = 0
    while True:
        page = query.where(c.incident_id > last)
        rows = connection.execute(page.with_for_update() if lock else page).all()
        yield from rows
        if len(rows) < CHUNK:
            return
        last = rows[-1].incident_id


def _close(connection: Connection, incident_id: int) -> None:
    change = sa.update(lis_incidents).where(lis_incidents.c.incident_id == incident_id)
    connection.execute(change.values(is_open=None, resolved_at=NOW))
