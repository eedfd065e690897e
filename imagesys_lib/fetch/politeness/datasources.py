"""Circuit breakers of data sources: one whose images nearly all fail is left alone, then a few of them are tried."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine

from imagesys_lib.alerts.incidents import IncidentKind, Resolved, open_incident, resolve
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import Breaker
from imagesys_lib.db.engine import write
from imagesys_lib.db.schema import lis_datasources
from imagesys_lib.fetch.politeness import breaker_records
from imagesys_lib.fetch.politeness.circuit_breaker import HALF_OPEN_IMAGES, Circuit, source_rule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tally:
    """How many images of a data source ended, and how many of them failed."""

    attempts: int = 0
    failures: int = 0


def failing(db: Engine, datasource_ids: Iterable[int]) -> dict[int, Circuit]:
    """Return the circuits of the data sources whose breaker is not closed."""
    found = breaker_records.load_circuits(db, lis_datasources, datasource_ids)
    return {datasource_id: circuit for datasource_id, circuit in found.items() if circuit.openings}


def may_try(db: Engine, datasource_id: int, settings: Breaker) -> bool:
    """Let one batch of all try a few images of a half-open data source; the others wait for what it finds."""
    rule = source_rule(settings)
    before, after = write(
        db,
        lambda connection: breaker_records.change_circuit(
            connection, lis_datasources, datasource_id, lambda c: c.tried(rule)
        ),
    )
    return after != before


def note_results(
    db: Engine, country: str, tallies: Mapping[int, Tally], settings: Breaker, *, closes: bool = True
) -> dict[int, float]:
    """Add up what a batch saw and open or close breakers; returns those that opened, with their seconds.

    Without ``closes`` none is closed: what the batch fetched is still to be decoded, and may be a page of HTML.

    The mails about it wait in the outbox from the same transaction on; a task of the run sends them.
    """
    opened: dict[int, float] = {}
    rule = source_rule(settings)
    for datasource_id, tally in sorted(tallies.items()):

        def work(connection: Connection, of: int = datasource_id, tally: Tally = tally) -> Circuit | None:
            before, after = breaker_records.change_circuit(
                connection, lis_datasources, of, lambda c: c.after(tally.attempts, tally.failures, rule, closes=closes)
            )
            if after.openings > before.openings:
                open_incident(
                    connection, IncidentKind.SOURCE, f"data source {of}", _opened(country, of, after, settings)
                )
                return after
            if after.openings < before.openings:
                log.info("data source %d works again: its breaker is closed", of)
                resolve(connection, IncidentKind.SOURCE, f"data source {of}", partial(_closed, country, of))
            return None

        if circuit := write(db, work):
            opened[datasource_id] = circuit.wait
            log.warning("data source %d fails: it is left alone for %.0f s", datasource_id, circuit.wait)
    return opened


def _opened(country: str, datasource_id: int, circuit: Circuit, settings: Breaker) -> Message:
    meanwhile = (
        f"Its images wait. After {settings.first_seconds / 60:g} minutes, later after twice the time before and up to "
        f"{settings.max_seconds / 3600:g} hours, {HALF_OPEN_IMAGES} of them are tried. "
        "When enough of those are well it is asked as before, and a mail says so. No run becomes red by it."
    )
    to_do = (
        "Ask those who deliver this feed what has changed. `imagesys explain URL` tells why one image failed; "
        f"`imagesys retry {country} --datasource {datasource_id}` queues all of them again."
    )
    return Message(
        subject=f"[ImageSys] {country.upper()} data source {datasource_id} fails and is left alone",
        intro=f"{circuit.failures} of the last {circuit.attempts} images of data source {datasource_id} "
        f"({country.upper()}) failed.",
        sections=(("Meanwhile", (meanwhile,)), ("What to do", (to_do,))),
    )


def _closed(country: str, datasource_id: int, resolved: Resolved) -> Message:
    return Message(
        subject=f"[ImageSys] {country.upper()} data source {datasource_id} works again",
        intro=f"Data source {datasource_id} ({country.upper()}) was left alone since {resolved.since}; it works again.",
        sections=(("What to do", ("Nothing: what has failed meanwhile is tried again at its time.",)),),
    )
