"""Photo hosts that asked to be left alone: kept in the shared schema, so that it holds for every country."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.db.engine import NOW, chunks, from_now, read, write
from imagesys_lib.db.schema import lis_hosts


def _key(host: str) -> str:
    """Return a host as its ascii column holds it; a feed's host may be of any alphabet and length."""
    return host.encode("ascii", "backslashreplace").decode()[:255]


def paused(shared: Engine, hosts: Iterable[str]) -> dict[str, float]:
    """Return the hosts among ``hosts`` that may not be asked now, with the seconds still to wait."""
    found: dict[str, float] = {}
    wait = sa.func.timestampdiff(sa.text("MICROSECOND"), NOW, lis_hosts.c.not_before) / 1e6
    names: dict[str, list[str]] = {}
    for host in set(hosts):
        names.setdefault(_key(host), []).append(host)
    for piece in chunks(sorted(names)):
        query = sa.select(lis_hosts.c.host, wait.label("wait")).where(
            lis_hosts.c.host.in_(piece), lis_hosts.c.not_before > NOW
        )
        found |= {host: float(row.wait) for row in read(shared, query) for host in names[row.host]}
    return found


def pause(shared: Engine, host: str, seconds: float, reason: str) -> None:
    """Ask nothing of ``host`` for ``seconds``; a longer pause that is already set stays."""
    until = from_now(round(seconds))
    statement = insert(lis_hosts).values(host=_key(host), not_before=until, reason=reason, updated_at=NOW)
    longer = sa.func.greatest(sa.func.coalesce(lis_hosts.c.not_before, until), until)
    write(
        shared,
        lambda session: session.execute(
            statement.on_duplicate_key_update(not_before=longer, reason=reason, updated_at=NOW)
        ),
    )
