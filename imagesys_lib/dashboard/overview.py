"""The page of all countries: one row each, and one fault each where a country cannot be read."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.dashboard import words
from imagesys_lib.dashboard.addresses import country_link, dag_of, run_link
from imagesys_lib.dashboard.figure_cells import cells
from imagesys_lib.dashboard.figures import figures_now
from imagesys_lib.dashboard.history import STATES, STRIP_DAYS, PastRun, past_runs, strip
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import check_connection, database_now
from imagesys_lib.errors import ImageSysError
from imagesys_lib.output.printable import printable

log = logging.getLogger(__name__)

_AT_ONCE = 8

_COLUMNS = (
    Column("country", "Country"),
    Column("last_run", "Last run", wide=True),
    Column("days", f"{STRIP_DAYS} days", Kind.STRIP),
    Column("live", "Live", Kind.NUMBER),
    Column("due", "Due", Kind.NUMBER, "Images that a run would take now"),
    Column("oldest_due", "Oldest", help="Since when the oldest of these is due"),
    Column("nodes", "Nodes", wide=True),
    Column("disks", "Disks", help="As the last report had them"),
    Column("incidents", "Incidents", Kind.NUMBER),
    Column("sources", "Breakers", Kind.NUMBER, "Open ones, of data sources"),
    Column("mails", "Mails", Kind.NUMBER, "That are not sent yet"),
    Column("proposals", "Proposals", Kind.NUMBER, "Purges that wait for an answer"),
)


@dataclass(frozen=True)
class Overview:
    """All countries' rows, and what they say together in one sentence."""

    countries: Table
    sentence: str
    running: bool


@dataclass(frozen=True)
class _Row:
    cells: tuple[Entry, ...]
    tone: Tone


def overview(context_of: Callable[[str], Context]) -> Overview:
    """Read all countries at once, each by the context that is given for its code.

    Raises ConfigError where nobody knows which there are.
    """
    configs = load_config().values()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows = list(pool.map(lambda config: _row(config, context_of), configs))
    table = Table(
        "countries", "Countries", _COLUMNS, tuple(row.cells for row in rows), empty="No country is configured."
    )
    return Overview(table, _sentence(row.tone for row in rows), any(row.tone is Tone.BUSY for row in rows))


def _sentence(tones: Iterable[Tone]) -> str:
    found = list(tones)
    told = {Tone.BAD: "in trouble", Tone.BUSY: "running", Tone.GOOD: "well", Tone.NONE: "without a run"}
    parts = [f"{found.count(tone)} {word}" for tone, word in told.items() if tone in found]
    return f"{words.count(len(found), 'country', 'countries')}: {', '.join(parts)}."


def _row(config: CountryConfig, context_of: Callable[[str], Context]) -> _Row:
    try:
        ctx = context_of(config.country)
        check_connection(ctx.db)
        return _read(ctx)
    except Exception as error:  # whatever a database answers costs its own row
        if not isinstance(error, ImageSysError):
            log.exception("The overview cannot read country %s", config.country)
        fault = Cell(printable(f"cannot be read: {error}"), tone=Tone.BAD)
        return _Row((_name(config), fault, *[None] * (len(_COLUMNS) - 2)), Tone.BAD)


def _read(ctx: Context) -> _Row:
    now = database_now(ctx.db)
    past = past_runs(ctx.db, ctx.config.zone, STRIP_DAYS)
    today = now.replace(tzinfo=UTC).astimezone(ctx.config.zone).date()
    last = next((run for run in past if run.kind != "backfill"), None)
    last_run, tone = _last_run(ctx.country, last, now)
    figures = cells(ctx.country, figures_now(ctx), now)
    return _Row((_name(ctx.config), last_run, strip(ctx.country, past, today), *figures.values()), tone)


def _name(config: CountryConfig) -> Cell:
    return Cell(config.country, config.name, country_link(config.country))


def _last_run(country: str, run: PastRun | None, now: dt.datetime) -> tuple[Cell, Tone]:
    if run is None:
        return Cell(None, "none lately"), Tone.NONE
    tone, word = STATES.get(run.state, (Tone.NONE, run.state))
    when = words.ago((now - run.started_at).total_seconds() - (run.seconds or 0))
    since = f"began {when}" if run.seconds is None else when
    parts = (Cell(run.state, word, run_link(dag_of(country), run.run_id), tone=tone), Cell(None, f"{run.day}, {since}"))
    return Cell(parts=parts), tone
