"""The life of an image: its states, and the one table of allowed transitions.

Every statement that changes ``lis_images.state`` is made by :func:`move`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.db.engine import NOW, Row
from imagesys_lib.db.schema import lis_images


class State(str, Enum):
    """Where an image is in its life."""

    NEW = "new"
    RESERVED = "reserved"
    DOWNLOADED = "downloaded"
    THUMBNAILED = "thumbnailed"
    LIVE = "live"
    PURGED = "purged"
    FAILED = "failed"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"


class Desired(str, Enum):
    """What the nodes should hold of an image."""

    NONE = "none"  # nothing yet
    PRESENT = "present"
    ABSENT = "absent"


UNFINISHED = (State.RESERVED, State.DOWNLOADED)
"""States of an image that its batch still has to do."""

NEVER = dt.datetime(9999, 12, 31)  # noqa: DTZ001 - as the database keeps instants
"""When an image is due that no run will come back to by itself: the index of what is due shows such ones together."""

CLEAN_SLATE: Mapping[str, Any] = {
    "attempts": 0,
    "releases": 0,
    "reason": None,
    "detail": None,
    "next_attempt_at": NOW,
}
"""Values of an image that starts anew, as if it had never been tried."""

_NEW, _RES, _DOWN, _THUMB, _LIVE, _PURGED, _FAIL, _REJ, _QUAR = State

ALLOWED: Mapping[State, frozenset[State]] = {
    _NEW: frozenset({_RES, _PURGED, _QUAR}),  # quarantined: fetched time and again without an end
    _RES: frozenset({_DOWN, _FAIL, _REJ, _QUAR, _NEW, _LIVE}),  # new: unattempted; live: a remake failed
    _DOWN: frozenset({_THUMB, _FAIL, _REJ, _QUAR, _NEW, _LIVE}),
    _THUMB: frozenset({_LIVE, _NEW, _PURGED, _QUAR}),  # quarantined: its original is found to be a placeholder
    _LIVE: frozenset({_RES, _NEW, _PURGED, _QUAR}),  # reserved: forced remake; new: its files are lost everywhere
    _FAIL: frozenset({_RES, _NEW, _PURGED, _REJ}),  # rejected: it has had its attempts
    _REJ: frozenset({_NEW, _PURGED}),
    _QUAR: frozenset({_NEW, _PURGED}),
    _PURGED: frozenset({_NEW, _THUMB}),  # thumbnailed: listed again while its files are still on the nodes
}


_TOLD_WITH_REASON = frozenset(state.value for state in (State.FAILED, State.REJECTED, State.QUARANTINED, State.LIVE))


def tally(rows: Iterable[Row]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Add up rows of (state, reason, images): images by state, and by reason those that are not as they should be.

    Live ones with a reason were to be made again, which failed: they are kept as before.
    """
    states: dict[str, int] = {}
    reasons: dict[str, dict[str, int]] = {}
    for row in rows:
        states[row.state] = states.get(row.state, 0) + row.images
        if row.reason and row.state in _TOLD_WITH_REASON:
            reasons.setdefault(row.state, {})[row.reason] = row.images
    return states, reasons


def outcome(state: str) -> str:
    """Return what became of images in a state that have a reason, as people read it."""
    return "kept as before" if state == State.LIVE.value else state


def work_left(batch_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a batch has images that it still has to do."""
    i = lis_images.c
    return sa.exists().where(i.batch_id == batch_id, i.state.in_([state.value for state in UNFINISHED]))


def move(
    connection: Connection,
    to: State,
    *,
    frm: Iterable[State],
    where: sa.ColumnElement[bool],
    values: Mapping[str, Any] | None = None,
) -> int:
    """Change the state of the images that match ``where`` and are in one of the states ``frm``.

    Returns the number of images changed. Raises ValueError for a transition that the table does not allow.
    """
    sources = tuple(frm)
    for source in sources:
        if to not in ALLOWED[source]:
            raise ValueError(f"an image never goes from {source.value} to {to.value}")
    statement = (
        sa.update(lis_images)
        .where(where, sa.or_(*(lis_images.c.state == source.value for source in sources)))
        .values(state=to.value, updated_at=NOW, **(values or {}))
    )
    return connection.execute(statement).rowcount
