"""Incidents: what is wrong now, so that each is told once when it begins and once when it is over.

An incident is opened or closed in the transaction that puts its mail into the outbox: one never goes without the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import CHUNK, NOW, Session, from_now, write
from imagesys_lib.db.schema import lis_incidents

BACKFILL_LAPSES_HOURS = 24
"""A backfill has no name that its runs know. So long after its last trouble, the next trouble is another backfill's."""


class Kind(str, Enum):
    """What is wrong: a run is late, very late, waits for its date or failed, a data source is left alone, a canary did
    not come through.
    """

    LATE = "late"
    MISSED = "missed"
    WAITS = "waits"
    FAILED = "failed"
    SOURCE = "source"
    CANARY = "canary"


ENDED_BY_FAILURE = (Kind.LATE, Kind.MISSED, Kind.WAITS)
"""A run that has failed is late no longer, and its failure's mail says so."""

ABOUT_RUNS = (*ENDED_BY_FAILURE, Kind.FAILED)


@dataclass(frozen=True)
class Over:
    """An incident that is over, with the last runs that it had waited for."""

    kind: Kind
    subject: str
    opened_at: dt.datetime
    runs: tuple[str, ...] = ()

    @property
    def since(self) -> str:
        """When it began, as a mail says it."""
        return f"{self.opened_at:%Y-%m-%d %H:%M} UTC"


def begin(
    session: Session,
    kind: Kind,
    subject: str,
    run: str = "",
    *,
    lapses_hours: float | None = None,
    opened: dt.datetime | None = None,
) -> bool:
    """Open an incident; returns whether it is new, which is when it has to be told.

    ``run`` has to end well before it is over; runs of one subject, a backfill say, share an incident. After
    ``lapses_hours`` without another run an open one counts as forgotten, and a new one begins. ``opened`` (naive, UTC)
    is when a new one began, if not now.
    """
    c = lis_incidents.c
    own = (c.kind == kind.value) & (c.subject == subject) & (c.is_open == 1)
    first = insert(lis_incidents).values(
        kind=kind.value, subject=subject, is_open=1, runs=[], opened_at=opened or NOW, touched_at=NOW, told=0
    )
    session.execute(first.on_duplicate_key_update(kind=c.kind))  # and thereby wait for whoever is at it
    lapsed = c.touched_at < from_now(-round((lapses_hours or 0) * 3600))
    query = sa.select(c.incident_id, c.told, c.runs, lapsed.label("lapsed")).where(own).with_for_update()
    row = session.execute(query).one()
    runs = list(row.runs)
    if lapses_hours is not None and row.told and row.lapsed and run not in runs:
        _close(session, row.incident_id)
        return begin(session, kind, subject, run, opened=opened)
    if run and run not in runs:
        runs.append(run)
    change = sa.update(lis_incidents).where(c.incident_id == row.incident_id)
    session.execute(change.values(told=1, runs=runs, touched_at=NOW))
    return not row.told


def end(session: Session, kind: Kind, subject: str) -> Over | None:
    """Close an incident; None where it was not open."""
    c = lis_incidents.c
    query = sa.select(c.incident_id, c.opened_at).where(c.is_open == 1, c.kind == kind.value, c.subject == subject)
    row = session.execute(query.with_for_update()).one_or_none()
    if row is None:
        return None
    _close(session, row.incident_id)
    return Over(kind, subject, row.opened_at)


def runs_ended(session: Session, runs: Collection[str], kinds: Collection[Kind]) -> list[Over]:
    """Take runs off the incidents that wait for them; returns those that are over with it, to be told.

    One that is over while another of the same subject still waits (days of a backfill that were late, beside some that
    failed) closes in silence: nothing is well before the last.
    """
    over, waiting = [], set()
    for row in _open(session, kinds, lock=True):
        left = [run for run in row.runs if run not in runs]
        if left:
            waiting.add(row.subject)
        if len(left) == len(row.runs):
            continue
        if left:
            change = sa.update(lis_incidents).where(lis_incidents.c.incident_id == row.incident_id)
            session.execute(change.values(runs=left))
        else:
            _close(session, row.incident_id)
            over.append(Over(Kind(row.kind), row.subject, row.opened_at, tuple(row.runs)))
    return [incident for incident in over if incident.subject not in waiting]


def waited_for(session: Session, kinds: Collection[Kind] = ABOUT_RUNS) -> dict[str, dt.datetime]:
    """Return the runs that have to end well before something is over, each with when its first incident began.

    Whoever knows how they stand calls :func:`runs_ended` for those of which nobody has told that they have.
    """
    runs: dict[str, dt.datetime] = {}
    for row in _open(session, kinds):
        for run in row.runs:
            runs.setdefault(run, row.opened_at)
    return runs


def waits(db: Engine) -> list[str]:
    """Return a sentence for each run that was seen to wait for its date and to keep all others of its DAG waiting."""
    return [
        f"run {run} was seen on {since:%Y-%m-%d %H:%M} UTC to wait for its date, which lies in the future: until it is "
        "marked failed in Airflow, it holds the DAG's only slot"
        for run, since in write(db, lambda session: waited_for(session, [Kind.WAITS])).items()
    ]


def told_of(session: Session, kind: Kind, closed_after: dt.datetime) -> dict[str, dt.datetime | None]:
    """Return the runs of incidents that are open, or were closed after an instant, each with when; None: it is open."""
    c = lis_incidents.c
    closed = sa.select(c.runs, c.closed_at).where(c.closed_at > closed_after, c.kind == kind.value)
    rows = session.execute(closed.order_by(c.closed_at).limit(CHUNK)).all()
    runs: dict[str, dt.datetime | None] = {run: row.closed_at for row in rows for run in row.runs}
    return {**runs, **dict.fromkeys(run for row in _open(session, [kind]) for run in row.runs)}


def _open(session: Session, kinds: Collection[Kind], *, lock: bool = False) -> Iterator[Any]:
    """Go through the open incidents, a page at a time: there are as many as red runs that nobody has cleared."""
    c = lis_incidents.c
    query = sa.select(c.incident_id, c.kind, c.subject, c.runs, c.opened_at)
    query = query.where(c.is_open == 1, c.kind.in_([kind.value for kind in kinds])).order_by(c.incident_id).limit(CHUNK)
    last = 0
    while True:
        page = query.where(c.incident_id > last)
        rows = session.execute(page.with_for_update() if lock else page).all()
        yield from rows
        if len(rows) < CHUNK:
            return
        last = rows[-1].incident_id


def _close(session: Session, incident_id: int) -> None:
    change = sa.update(lis_incidents).where(lis_incidents.c.incident_id == incident_id)
    session.execute(change.values(is_open=None, closed_at=NOW))
