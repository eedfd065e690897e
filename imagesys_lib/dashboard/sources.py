"""Where photos come from: data sources and hosts of a country's newest images, with their circuit breakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from imagesys_lib.alerts.incidents import IncidentKind
from imagesys_lib.config.hostnames import host_of
from imagesys_lib.context import Context
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import CHUNK, Row, read
from imagesys_lib.db.schema import lis_datasources, lis_images, lis_incidents
from imagesys_lib.errors import EnvironmentFault
from imagesys_lib.fetch.politeness import breaker_records, host_records
from imagesys_lib.fetch.politeness.circuit_breaker import Circuit, Position
from imagesys_lib.images.states import State

_MOST_HOSTS = 15
_NOT_WELL = frozenset({State.FAILED.value, State.REJECTED.value, State.QUARANTINED.value})
_OF = f"Of the newest {CHUNK:,} images."

_COLUMNS = (
    Column("images", "Newest images", Kind.NUMBER),
    Column("failed", "Not well", Kind.NUMBER, "Failed, rejected or quarantined"),
    Column("failure_rate", "Failure rate", Kind.SHARE),
    Column("breaker", "Breaker"),
    Column("wait", "Asked again in", Kind.SECONDS),
    Column("attempts", "Attempts", Kind.NUMBER, "In the breaker's window"),
    Column("failures", "Failures", Kind.NUMBER, "In the breaker's window"),
)


def tables(ctx: Context) -> tuple[Table, Table]:
    """Return the data sources, and the hosts with the most photos."""
    i = lis_images.c
    query = sa.select(i.image_url, i.datasource_id, i.state).order_by(i.image_id.desc()).limit(CHUNK)
    newest = read(ctx.db, query)
    return _sources(ctx, newest), _hosts(ctx, newest)


def _sources(ctx: Context, newest: Sequence[Row]) -> Table:
    images = Counter(str(row.datasource_id) for row in newest)
    failed = Counter(str(row.datasource_id) for row in newest if row.state in _NOT_WELL)
    ids = {*(row.datasource_id for row in newest), *_left_alone(ctx)}
    circuits = {str(of): circuit for of, circuit in breaker_records.load_circuits(ctx.db, lis_datasources, ids).items()}
    rows = _rows(map(str, ids), images, failed, circuits)
    return Table("sources", "Data sources", (Column("datasource", "Data source"), *_COLUMNS), rows, note=_OF, most=20)


def _left_alone(ctx: Context) -> list[int]:
    """Return the data sources whose breakers are not closed: by their incidents, which an index finds."""
    c = lis_incidents.c
    query = sa.select(c.subject).where(c.is_open == 1, c.kind == IncidentKind.SOURCE.value).limit(CHUNK)
    return [int(number) for row in read(ctx.db, query) if (number := row.subject.rpartition(" ")[2]).isdigit()]


def _hosts(ctx: Context, newest: Sequence[Row]) -> Table:
    images = Counter(host_of(row.image_url) for row in newest)
    failed = Counter(host_of(row.image_url) for row in newest if row.state in _NOT_WELL)
    top = [host for host, _ in images.most_common(_MOST_HOSTS)]
    columns = (Column("host", "Host", Kind.CODE), *_COLUMNS)
    try:
        rows = _rows(top, images, failed, host_records.circuits(ctx.shared, top))
    except EnvironmentFault as fault:  # the other tables are of another database
        return Table("hosts", "Top hosts", columns, (), empty=str(fault))
    return Table("hosts", "Top hosts", columns, rows, note=_OF)


def _rows(
    names: Iterable[str], images: Mapping[str, int], failed: Mapping[str, int], circuits: Mapping[str, Circuit]
) -> tuple[tuple[Entry, ...], ...]:
    """Return a row each: breakers that are not closed first, then by number of images."""

    def order(name: str) -> tuple[bool, int, str]:
        return not circuits.get(name, Circuit()).openings, -images.get(name, 0), name

    return tuple(
        (
            name,
            images.get(name, 0),
            failed.get(name, 0),
            failed.get(name, 0) / images[name] if images.get(name) else None,
            *breaker(circuits.get(name, Circuit())),
        )
        for name in sorted(names, key=order)
    )


_TONES = {Position.CLOSED: Tone.GOOD, Position.HALF_OPEN: Tone.WARN, Position.OPEN: Tone.BAD}


def breaker(circuit: Circuit) -> tuple[Cell, float | None, int, int]:
    """Return what is known of a breaker: its position, seconds until it is asked, attempts and failures."""
    position = circuit.position
    paused = position is Position.CLOSED and circuit.wait > 0
    state = (
        Cell("paused", "paused, as it asked", tone=Tone.WARN) if paused else Cell(position.value, tone=_TONES[position])
    )
    return state, circuit.wait or None, circuit.attempts, circuit.failures
