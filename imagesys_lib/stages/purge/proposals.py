"""Proposals: purges above the cap, left in the database until a person approves or rejects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Engine

from imagesys_lib.db.engine import NOW, Row, Session, from_now, read, write
from imagesys_lib.db.schema import lis_purge_proposals
from imagesys_lib.errors import UsageError
from imagesys_lib.stages.purge.rules import Counts, Due, Proposal, Rule

_p = lis_purge_proposals.c

NOBODY = "nobody in time"
"""Who has rejected a proposal that nobody answered."""


def _proposal(row: Row) -> Proposal:
    return Proposal(
        proposal_id=row.proposal_id,
        state=row.state,
        created_at=row.created_at,
        counts={Rule(name): Due(**count) for name, count in row.rules.items()},
        live=row.live,
        samples=tuple(row.samples),
        decided_by=row.decided_by or "",
        decided_at=row.decided_at,
        unpublished={Rule(name): count for name, count in row.unpublished.items()},
        finished=row.finished_at is not None,
    )


def latest(engine: Engine) -> Proposal | None:
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
    query = sa.select(lis_purge_proposals).where(_p.state == "open").order_by(_p.proposal_id.desc()).limit(1)
    rows = read(engine, query)
    return _proposal(rows[0]) if rows else None


def _expire(session: Session) -> None:
    open_ones = sa.update(lis_purge_proposals).where(_p.state == "open")
    session.execute(open_ones.values(state="expired", finished_at=NOW))


def expire(engine: Engine) -> None:
    """Close an open proposal that does not stand any more: the purge is within its cap again."""
    if waiting(engine):
        write(engine, _expire)


def leave(engine: Engine, counts: Counts, live: int, samples: Sequence[Mapping[str, str]]) -> int:
    """Leave a proposal in the place of one that is open, and return its id."""
    values = {
        "created_at": NOW,
        "rules": {rule.value: {"due": count.due, "live": count.live} for rule, count in counts.items()},
        "candidates": sum(count.live for count in counts.values()),
        "live": live,
        "samples": list(samples),
        "state": "open",
        "unpublished": {},
    }

    def work(session: Session) -> int:
        _expire(session)
        return int(session.execute(sa.insert(lis_purge_proposals).values(values)).lastrowid)

    return write(engine, work)


def claim(engine: Engine, asker: str, patience_hours: float) -> Proposal | None:
    """Return the proposal that ``asker``, a run, is to see through; None if there is none or another one is at it.

    That is the open one, or an approved one that was never carried out. A run keeps it for itself ``patience_hours``,
    so that hourly runs do not ask twice.
    """

    def work(session: Session) -> Row | None:
        free = _p.asked_by.is_(None) | (_p.asked_by == asker) | (_p.asked_at < from_now(-round(patience_hours * 3600)))
        query = sa.select(lis_purge_proposals).where(_p.state.in_(["open", "approved"]), _p.finished_at.is_(None), free)
        row = session.execute(query.order_by(_p.proposal_id.desc()).limit(1).with_for_update()).one_or_none()
        if row is not None:
            own = sa.update(lis_purge_proposals).where(_p.proposal_id == row.proposal_id)
            session.execute(own.values(asked_by=asker, asked_at=NOW))
        return row

    row = write(engine, work)
    return _proposal(row) if row is not None else None


def invite(session: Session, proposal_id: int, answer_hours: float) -> bool:
    """Note that people are told of an open proposal; returns whether they have yet to be told.

    For a transaction that leaves the mail. Once for the time they have to answer, however often the question is put;
    a run that finds it unanswered after that puts it anew, to the same people with a new link.
    """
    silent = _p.invited_at.is_(None) | (_p.invited_at < from_now(-round(answer_hours * 3600)))
    own = sa.update(lis_purge_proposals).where(_p.proposal_id == proposal_id, _p.state == "open", silent)
    return session.execute(own.values(invited_at=NOW)).rowcount > 0


def decide(engine: Engine, proposal_id: int, *, approve: bool, by: str) -> Proposal:
    """Record a decision on an open proposal and return it; one that is decided or replaced already stays as it is."""
    state = "approved" if approve else "rejected"
    get(engine, proposal_id)
    values = {"state": state, "decided_by": by[:255], "decided_at": NOW, "finished_at": None if approve else NOW}
    own = sa.update(lis_purge_proposals).where(_p.proposal_id == proposal_id, _p.state == "open")
    write(engine, lambda session: session.execute(own.values(values)))
    return get(engine, proposal_id)


def lock_approved(session: Session, proposal_id: int) -> Proposal | None:
    """Lock an approved, unfinished proposal for one step of carrying it out; None where there is none any more."""
    query = sa.select(lis_purge_proposals).where(
        _p.proposal_id == proposal_id, _p.state == "approved", _p.finished_at.is_(None)
    )
    row = session.execute(query.with_for_update()).one_or_none()
    return _proposal(row) if row is not None else None


def count(session: Session, proposal: Proposal, rule: Rule, live: int) -> None:
    """Add the live images of one step to what was carried out, in the step's own transaction."""
    done = {**proposal.unpublished, rule: proposal.unpublished.get(rule, 0) + live}
    own = sa.update(lis_purge_proposals).where(_p.proposal_id == proposal.proposal_id)
    session.execute(own.values(unpublished={rule.value: number for rule, number in done.items()}))


def finish(engine: Engine, proposal_id: int) -> None:
    """Close an approved proposal: all that it allows is done."""
    own = sa.update(lis_purge_proposals).where(_p.proposal_id == proposal_id, _p.state == "approved")
    write(engine, lambda session: session.execute(own.values(finished_at=NOW)))
