"""Breakers of data sources: one whose images nearly all fail is left alone, then tried with a trickle."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from sqlalchemy import Engine
from sqlalchemy.dialects.mysql import insert

from imagesys_lib.alerts import incidents
from imagesys_lib.alerts.incidents import Kind, Resolved
from imagesys_lib.alerts.message import Message
from imagesys_lib.breaker import PROBES, Standing, source_trips
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import NOW, Session, chunks, from_now, read, seconds_until, write
from imagesys_lib.db.schema import lis_datasources

log = logging.getLogger(__name__)

_WAIT = seconds_until(lis_datasources.c.not_before)


@dataclass(frozen=True)
class Tally:
    """How many images of a data source ended, and how many of them failed."""

    attempts: int = 0
    failures: int = 0


def standings(db: Engine, datasource_ids: Iterable[int]) -> dict[int, Standing]:
    """Return the data sources whose breaker is not closed."""
    c = lis_datasources.c
    found: dict[int, Standing] = {}
    for piece in chunks(sorted(set(datasource_ids))):
        query = sa.select(c.datasource_id, c.trips, _WAIT.label("wait")).where(c.datasource_id.in_(piece), c.trips > 0)
        found |= {row.datasource_id: Standing(0, row.trips, float(row.wait or 0)) for row in read(db, query)}
    return found


def may_probe(db: Engine, datasource_id: int, seconds: float) -> bool:
    """Let one batch of all try a few images of a half open data source; others wait ``seconds`` for what it finds."""
    c = lis_datasources.c
    statement = (
        sa.update(lis_datasources)
        .where(c.datasource_id == datasource_id, c.trips > 0, c.not_before.is_(None) | (c.not_before <= NOW))
        .values(
            not_before=from_now(round(seconds)),
            attempts=c.failures,  # what went well for an earlier try has closed nothing: it was never decoded
            window_at=sa.func.coalesce(c.window_at, NOW),
        )
    )
    return bool(write(db, lambda session: session.execute(statement).rowcount))


def on_trial(db: Engine, datasource_ids: Iterable[int]) -> set[int]:
    """Return the data sources of which a few images are being tried, or were and have not decided anything yet."""
    c = lis_datasources.c
    query = sa.select(c.datasource_id).where(c.trips > 0, c.window_at.is_not(None))
    found: set[int] = set()
    for piece in chunks(sorted(set(datasource_ids))):
        found |= {row.datasource_id for row in read(db, query.where(c.datasource_id.in_(piece)))}
    return found


def note(
    db: Engine,
    country: str,
    tallies: Mapping[int, Tally],
    settings: Breaker,
    *,
    probing: Collection[int] = (),
    undecided: Collection[int] = (),
) -> dict[int, float]:
    """Add up what a batch saw and open or close breakers; returns those that opened, with their seconds.

    ``probing`` are the data sources that this batch was to try; of others that are left alone it tells nothing new.
    Those that are ``undecided`` stay so unless they fail: what came of them is still to be decoded.

    The mails about it wait in the outbox from the same transaction on; a task of the run sends them.
    """
    opened: dict[int, float] = {}
    for datasource_id, tally in sorted(tallies.items()):
        how = {"probes": datasource_id in probing, "decides": datasource_id not in undecided}
        seconds = write(db, lambda s, d=datasource_id, t=tally, how=how: _note(s, country, d, t, settings, **how))  # type: ignore[misc]
        if seconds:
            opened[datasource_id] = seconds
            log.warning("data source %d fails: it is left alone for %.0f s", datasource_id, seconds)
    return opened


def _note(
    session: Session,
    country: str,
    datasource_id: int,
    tally: Tally,
    settings: Breaker,
    *,
    probes: bool,
    decides: bool,
) -> float:
    c, subject = lis_datasources.c, f"data source {datasource_id}"
    first = insert(lis_datasources).values(datasource_id=datasource_id, first_seen_at=NOW, last_seen_at=NOW)
    session.execute(first.on_duplicate_key_update(datasource_id=c.datasource_id))
    over = c.window_at.is_(None) | (c.window_at < from_now(-round(settings.window_hours * 3600)))
    query = sa.select(c.attempts, c.failures, c.trips, _WAIT.label("wait"), over.label("over"))
    row = session.execute(query.where(c.datasource_id == datasource_id).with_for_update()).one()
    own = sa.update(lis_datasources).where(c.datasource_id == datasource_id)
    if (row.wait or 0) > 0 and not probes:
        return 0.0  # open: what was under way when it opened tells nothing new
    start_anew = bool(row.over)
    attempts = tally.attempts + (0 if start_anew else row.attempts)
    failures = tally.failures + (0 if start_anew else row.failures)
    counted = {"attempts": attempts, "failures": failures, **({"window_at": NOW} if start_anew else {})}
    if source_trips(attempts, failures, row.trips, settings):
        opened = Standing(trips=row.trips).tripped(settings)
        empty = {"attempts": 0, "failures": 0, "window_at": None}
        session.execute(own.values(trips=opened.trips, not_before=from_now(round(opened.wait)), **empty))
        message = _opened(country, datasource_id, attempts, failures, settings)
        incidents.open_incident(session, Kind.SOURCE, subject, message)
        return opened.wait
    if decides and row.trips and failures * 100 < settings.source_percent * attempts:
        log.info("data source %d works again: its breaker is closed", datasource_id)
        counted |= {"trips": 0, "not_before": None}
        incidents.resolve(session, Kind.SOURCE, subject, partial(_closed, country, datasource_id))
    session.execute(own.values(counted))
    return 0.0


def _opened(country: str, datasource_id: int, attempts: int, failures: int, settings: Breaker) -> Message:
    meanwhile = (
        f"Its images wait. After {settings.first_seconds / 60:g} minutes, later after twice the time before and up to "
        f"{settings.max_seconds / 3600:g} hours, {PROBES} of them are tried. When enough of those are well it is asked "
        "as before, and a mail says so. No run becomes red by it."
    )
    to_do = (
        "Ask those who deliver this feed what has changed. `imagesys explain URL` tells why one image failed; "
        f"`imagesys retry {country} --datasource {datasource_id}` queues all of them again."
    )
    return Message(
        subject=f"[ImageSys] {country.upper()} data source {datasource_id} fails and is left alone",
        intro=f"{failures} of the last {attempts} images of data source {datasource_id} ({country.upper()}) failed.",
        sections=(("Meanwhile", (meanwhile,)), ("What to do", (to_do,))),
    )


def _closed(country: str, datasource_id: int, resolved: Resolved) -> Message:
    return Message(
        subject=f"[ImageSys] {country.upper()} data source {datasource_id} works again",
        intro=f"Data source {datasource_id} ({country.upper()}) was left alone since {resolved.since}; it works again.",
        sections=(("What to do", ("Nothing: what has failed meanwhile is tried again at its time.",)),),
    )
