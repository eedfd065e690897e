"""What ``lis_hosts`` remembers of photo hosts: pauses they asked for, circuit breakers, and whose turn is next."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import NOW, chunks, from_now, read, seconds_until, write
from imagesys_lib.db.schema import lis_hosts
from imagesys_lib.fetch.politeness import breaker_records
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit

_LATELY = 2 * 86_400  # seconds


def _key(host: str) -> str:
    """Return a host as its ascii column holds it; a feed's host may be of any alphabet and length.

    Without spaces at its end: the server takes names that differ in these for equal.
    """
    return host.encode("ascii", "backslashreplace").decode()[:255].rstrip(" ")


def circuits(shared: Engine, hosts: Iterable[str]) -> dict[str, Circuit]:
    """Return what is remembered of those among ``hosts`` of which anything is."""
    keys = {host: _key(host) for host in hosts}
    found = breaker_records.load_circuits(shared, lis_hosts, keys.values())
    return {host: found[key] for host, key in keys.items() if key in found}


def change(shared: Engine, host: str, reason: str | None, decide: Callable[[Circuit], Circuit]) -> Circuit:
    """Change a host's circuit as ``decide`` says, and keep the reason; returns what it is then."""
    return write(
        shared,
        lambda connection: breaker_records.change_circuit(connection, lis_hosts, _key(host), decide, reason=reason)[1],
    )


def pause(shared: Engine, host: str, seconds: float, reason: str) -> Circuit:
    """Ask nothing of ``host`` for ``seconds``; a longer pause that is already set stays."""
    return change(shared, host, reason, lambda circuit: circuit.paused(seconds))


def note_answers(shared: Engine, hosts: Iterable[str]) -> None:
    """Remember that these hosts answered just now: they show, later, whether our own network is up."""
    for piece in chunks(sorted(set(map(_key, hosts)))):
        statement = insert(lis_hosts).values(answered_at=NOW)
        statement = statement.on_duplicate_key_update(answered_at=NOW)
        write(shared, lambda connection, s=statement, p=piece: connection.execute(s, [{"host": key} for key in p]))  # type: ignore[misc]


def answered_lately(shared: Engine, most: int = 3) -> list[str]:
    """Return the hosts that answered last, of any country, and within two days: others may be gone for good."""
    c = lis_hosts.c
    query = sa.select(c.host).where(c.answered_at > from_now(-_LATELY)).order_by(c.answered_at.desc()).limit(most)
    return [row.host for row in read(shared, query)]


def turn(shared: Engine, host: str, rate: float) -> float:
    """Reserve the host's next turn at ``rate`` requests a second; returns the seconds until it comes."""
    key, c = _key(host), lis_hosts.c
    gap = sa.text(f"INTERVAL {round(1e6 / rate)} MICROSECOND")

    def work(connection: Connection) -> float:
        connection.execute(insert(lis_hosts).values(host=key).on_duplicate_key_update(host=c.host))
        due = sa.func.greatest(sa.func.coalesce(c.next_at, NOW), NOW)
        seconds = connection.scalar(sa.select(seconds_until(due)).where(c.host == key).with_for_update())
        connection.execute(sa.update(lis_hosts).where(c.host == key).values(next_at=sa.func.date_add(due, gap)))
        return float(seconds or 0.0)

    return write(shared, work)
