"""What ``lis_hosts`` remembers of photo hosts: pauses they asked for, breakers, and whose turn is next."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.breaker import MOST, Standing, host_trips
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import NOW, Session, chunks, from_now, read, seconds_until, write
from imagesys_lib.db.schema import lis_hosts

_LATELY = 2 * 86_400  # seconds
_WAIT = seconds_until(lis_hosts.c.not_before)


def _key(host: str) -> str:
    """Return a host as its ascii column holds it; a feed's host may be of any alphabet and length.

    Without spaces at its end: the server takes names that differ in these for equal.
    """
    return host.encode("ascii", "backslashreplace").decode()[:255].rstrip(" ")


def standings(shared: Engine, hosts: Iterable[str]) -> dict[str, Standing]:
    """Return what is remembered of those among ``hosts`` of which anything is."""
    names: dict[str, list[str]] = {}
    for host in set(hosts):
        names.setdefault(_key(host), []).append(host)
    found: dict[str, Standing] = {}
    c = lis_hosts.c
    for piece in chunks(sorted(names)):
        query = sa.select(c.host, c.failures, c.trips, _WAIT.label("wait")).where(c.host.in_(piece))
        for row in read(shared, query):
            found |= dict.fromkeys(names[row.host], _standing(row.failures, row.trips, row.wait))
    return found


def _standing(failures: int, trips: int, wait: Decimal | None) -> Standing:
    return Standing(failures, trips, float(wait or 0))


def paused(shared: Engine, hosts: Iterable[str]) -> dict[str, float]:
    """Return the hosts among ``hosts`` that may not be asked now, with the seconds still to wait."""
    return {host: known.wait for host, known in standings(shared, hosts).items() if known.wait > 0}


def pause(shared: Engine, host: str, seconds: float, reason: str) -> None:
    """Ask nothing of ``host`` for ``seconds``; a longer pause that is already set stays."""
    write(shared, lambda session: _pause(session, _key(host), seconds, reason))


def _pause(session: Session, key: str, seconds: float, reason: str, **values: object) -> None:
    until = from_now(round(seconds))
    longer = sa.func.greatest(sa.func.coalesce(lis_hosts.c.not_before, until), until)
    row = {"reason": reason, "updated_at": NOW, **values}
    statement = insert(lis_hosts).values(host=key, not_before=until, **row)
    session.execute(statement.on_duplicate_key_update(not_before=longer, **row))


def note_failures(shared: Engine, host: str, failures: int, reason: str, settings: Breaker) -> Standing:
    """Add failures in a row and open the host's breaker if they are enough. Returns the host's new standing."""
    key, c = _key(host), lis_hosts.c

    def work(session: Session) -> Standing:
        statement = insert(lis_hosts).values(host=key, failures=failures, reason=reason, updated_at=NOW)
        grown = sa.func.least(c.failures + failures, MOST)
        session.execute(statement.on_duplicate_key_update(failures=grown, reason=reason, updated_at=NOW))
        query = sa.select(c.failures, c.trips, _WAIT.label("wait")).where(c.host == key).with_for_update()
        known = _standing(*session.execute(query).one())
        if known.wait > 0 or not host_trips(known, settings):
            return known  # open already: what was under way when it opened is no further trip
        opened = known.tripped(settings)
        _pause(session, key, opened.wait, reason, trips=opened.trips, failures=0)
        return opened

    return write(shared, work)


def note_success(shared: Engine, hosts: Iterable[str]) -> None:
    """Close the breakers of hosts that answered, and forget their failures."""
    c = lis_hosts.c
    for piece in chunks(sorted(map(_key, hosts))):
        statement = (
            sa.update(lis_hosts)
            .where(c.host.in_(piece), (c.failures > 0) | (c.trips > 0))
            .values(failures=0, trips=0, reason=None, updated_at=NOW)
        )
        write(shared, lambda session, s=statement: session.execute(s))  # type: ignore[misc]


def note_answers(shared: Engine, hosts: Iterable[str]) -> None:
    """Remember that these hosts answered just now: they show, later, whether our own network is up."""
    for piece in chunks(sorted(set(map(_key, hosts)))):
        statement = insert(lis_hosts).values(answered_at=NOW, updated_at=NOW)
        statement = statement.on_duplicate_key_update(answered_at=NOW)
        write(shared, lambda session, s=statement, p=piece: session.execute(s, [{"host": key} for key in p]))  # type: ignore[misc]


def answered_lately(shared: Engine, most: int = 3) -> list[str]:
    """Return the hosts that answered last, of any country, and within two days: others may be gone for good."""
    c = lis_hosts.c
    query = sa.select(c.host).where(c.answered_at > from_now(-_LATELY)).order_by(c.answered_at.desc()).limit(most)
    return [row.host for row in read(shared, query)]


def turn(shared: Engine, host: str, rate: float) -> float:
    """Reserve the host's next turn at ``rate`` requests a second; returns the seconds until it comes."""
    key, c = _key(host), lis_hosts.c
    gap = sa.text(f"INTERVAL {round(1e6 / rate)} MICROSECOND")

    def work(session: Session) -> float:
        statement = insert(lis_hosts).values(host=key, updated_at=NOW)
        session.execute(statement.on_duplicate_key_update(updated_at=NOW))
        due = sa.func.greatest(sa.func.coalesce(c.next_at, NOW), NOW)
        seconds = session.scalar(sa.select(seconds_until(due)).where(c.host == key).with_for_update())
        session.execute(sa.update(lis_hosts).where(c.host == key).values(next_at=sa.func.date_add(due, gap)))
        return float(seconds or 0.0)

    return write(shared, work)
