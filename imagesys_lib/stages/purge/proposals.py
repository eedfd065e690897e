"""Proposals: purges above the cap, left in the database until a person approves or rejects them.

At most one is not finished, the newest. An approval says that so many live images may go: whichever purge comes next
does it, and finishes the proposal once nothing is left to do. Where more is due by then, a new one takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.db.engine import NOW, Row, from_now, read, write
from imagesys_lib.db.schema import lis_purge_proposals
from imagesys_lib.errors import UsageError
from imagesys_lib.stages.purge.rules import Counts, Due, Proposal, PurgeRule

_p = lis_purge_proposals.c

NOBODY = "nobody in time"
"""Who has rejected a proposal that nobody answered."""


def _proposal(row: Row) -> Proposal:
    return Proposal(
        proposal_id=row.proposal_id,
        state=row.state,
        counts={PurgeRule(name): Due(**count) for name, count in row.rules.items()},
        live=row.live,
        samples=tuple(row.samples),
        decided_by=row.decided_by or "",
        decided_at=row.decided_at,
        finished=row.finished_at is not None,
    )


def latest_proposal(engine: Engine) -> Proposal | None:
    """Return the newest proposal, whatever became of it."""
    rows = read(engine, sa.select(lis_purge_proposals).order_by(_p.proposal_id.desc()).limit(1))
    return _proposal(rows[0]) if rows else None


def get(engine: Engine, proposal_id: int) -> Proposal:
    """Return one proposal. Raises UsageError where there is none."""
    rows = read(engine, sa.select(lis_purge_proposals).where(_p.proposal_id == proposal_id))
    if not rows:
        raise UsageError(
            f"There is no purge proposal {proposal_id}.", remedy="`imagesys purge COUNTRY` names an open one."
        )
    return _proposal(rows[0])


def waiting(engine: Engine) -> Proposal | None:
    """Return the open proposal, or None."""
    found = latest_proposal(engine)
    return found if found and found.state == "open" else None


def _end(connection: Connection, state: str | sa.ColumnElement[str]) -> None:
    unfinished = sa.update(lis_purge_proposals).where(_p.finished_at.is_(None))
    connection.execute(unfinished.values(state=state, finished_at=NOW))


def finish_proposal(engine: Engine) -> None:
    """Close what is not finished, as nothing is due any more: an approval is carried out, a question is void."""
    state = sa.case((_p.state == "approved", _p.state), else_="expired")
    write(engine, lambda connection: _end(connection, state))


def leave(engine: Engine, counts: Counts, live: int, samples: Sequence[Mapping[str, str]]) -> int:
    """Leave a proposal in the place of one that is not finished, and return its id."""
    values = {
        "created_at": NOW,
        "rules": {rule.value: {"due": count.due, "live": count.live} for rule, count in counts.items()},
        "live": live,
        "samples": list(samples),
        "state": "open",
    }

    def work(connection: Connection) -> int:
        _end(connection, "expired")
        return int(connection.execute(sa.insert(lis_purge_proposals).values(values)).lastrowid)

    return write(engine, work)


def take(
    engine: Engine, asker: str, patience_hours: float, invite: Callable[[Connection, Proposal], None]
) -> Proposal | None:
    """Return the unfinished proposal that ``asker``, a run, is to see through; None if none, or another is at it.

    A run keeps it for itself ``patience_hours``, so that hourly runs do not ask twice. Whenever an open one passes to
    another run, ``invite`` leaves the mail that says so, in the same transaction.
    """

    def work(connection: Connection) -> Proposal | None:
        free = _p.asked_by.is_(None) | (_p.asked_by == asker) | (_p.asked_at < from_now(-round(patience_hours * 3600)))
        query = sa.select(lis_purge_proposals).where(_p.finished_at.is_(None), free)
        row = connection.execute(query.order_by(_p.proposal_id.desc()).limit(1).with_for_update()).one_or_none()
        if row is None:
            return None
        statement = sa.update(lis_purge_proposals).where(_p.proposal_id == row.proposal_id)
        connection.execute(statement.values(asked_by=asker, asked_at=NOW))
        proposal = _proposal(row)
        if row.asked_by != asker and row.state == "open":
            invite(connection, proposal)
        return proposal

    return write(engine, work)


def decide(engine: Engine, proposal_id: int, *, approve: bool, by: str) -> Proposal:
    """Record a decision on an open proposal and return it; one that is decided or replaced already stays as it is."""
    state = "approved" if approve else "rejected"
    get(engine, proposal_id)
    values = {"state": state, "decided_by": by[:255], "decided_at": NOW, "finished_at": None if approve else NOW}
    statement = sa.update(lis_purge_proposals).where(_p.proposal_id == proposal_id, _p.state == "open")
    write(engine, lambda connection: connection.execute(statement.values(values)))
    return get(engine, proposal_id)
