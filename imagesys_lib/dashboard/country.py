"""The page of one country: its runs of a month or a year as charts, and everything about it that is open now."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from imagesys_lib.context import Context
from imagesys_lib.dashboard import country_now, sources, words
from imagesys_lib.dashboard.addresses import dag_of, run_link
from imagesys_lib.dashboard.charts import Chart, Series, Style, series_of
from imagesys_lib.dashboard.figure_cells import cells
from imagesys_lib.dashboard.figures import figures_now
from imagesys_lib.dashboard.history import STATES, PastRun, last_days, past_runs
from imagesys_lib.dashboard.run_tables import reason_meaning
from imagesys_lib.dashboard.tables import Cell, Column, Entry, Kind, Table, Tone
from imagesys_lib.db.engine import database_now
from imagesys_lib.images.states import State, outcome

MONTH, YEAR = 30, 365

_OUTCOMES = (
    (State.LIVE, Tone.GOOD),
    (State.FAILED, Tone.WARN),
    (State.REJECTED, Tone.NONE),
    (State.QUARANTINED, Tone.NONE),
)


_TILES = {
    "live": ("Live", "runs"),
    "due": ("Due", "reasons"),
    "oldest_due": ("Oldest due", "reasons"),
    "disks": ("Disks", "nodes"),
    "incidents": ("Incidents", "incidents"),
    "sources": ("Open breakers", "sources"),
    "mails": ("Mails unsent", "mails"),
    "proposals": ("Proposals", "proposals"),
}


@dataclass(frozen=True)
class CountryPage:
    """All of a country's page over so many days."""

    country: str
    name: str
    days: int
    running: bool
    tiles: dict[str, Cell]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]


def country_page(ctx: Context, days: int = MONTH) -> CountryPage:
    """Read a country."""
    past = past_runs(ctx.db, ctx.config.zone, days)
    now = database_now(ctx.db)
    today = now.replace(tzinfo=dt.timezone.utc).astimezone(ctx.config.zone).date()
    figures = cells(ctx.country, figures_now(ctx), now)
    return CountryPage(
        country=ctx.country,
        name=ctx.config.name,
        days=days,
        running=any(run.state == "running" for run in past[:5]),
        tiles={label: replace(figures[key], link=f"#{anchor}") for key, (label, anchor) in _TILES.items()},
        charts=charts(past, last_days(today, days)),
        tables=(
            *country_now.tables(ctx),
            reasons_table(ctx.country, past),
            *sources.tables(ctx),
            runs_table(ctx.country, past),
        ),
    )


def charts(past: Sequence[PastRun], days: Sequence[dt.date]) -> tuple[Chart, ...]:
    """Return the charts of runs by the day that they are about; of a year by the week, named by its Monday."""
    weekly = len(days) > MONTH
    each = ", a week" if weekly else ""
    places = tuple(sorted({_place(day, weekly) for day in days}))

    def sums(value: Callable[[PastRun], float | None]) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for run in past:
            if number := value(run):
                found[_place(run.day, weekly)] += number
        return found

    def summed(label: str, value: Callable[[PastRun], float | None], tone: Tone = Tone.NONE) -> Series:
        return series_of(places, label, sums(value), tone)

    outcomes = tuple(
        summed(state.value, lambda run, of=state.value: run.states.get(of), tone)  # type: ignore[misc]
        for state, tone in _OUTCOMES
    )
    seconds = sums(lambda run: run.seconds if run.images else None)
    speed = {at: number / seconds[at] for at, number in sums(lambda run: run.seconds and run.images).items()}
    rates = series_of(places, "images a second", speed)
    fetched = summed("fetched", lambda run: run.fetched), summed("saved", lambda run: run.fetched - run.thumbnails)
    took = (
        summed("preflight to ingest", lambda run: run.ingest_seconds),
        summed("process to report", lambda run: run.seconds and run.seconds - (run.ingest_seconds or 0)),
    )
    return (
        Chart("outcomes", f"Images by outcome{each}", places, outcomes, style=Style.STACKED),
        Chart("durations", f"Duration by stage{each}", places, took, Kind.SECONDS, Style.STACKED),
        Chart("bytes", f"Bytes fetched, and saved by thumbnails{each}", places, fetched, Kind.BYTES),
        Chart("rates", "Images a second", places, (rates,)),
    )


def _place(day: dt.date, weekly: bool) -> str:
    return (day - dt.timedelta(days=day.weekday()) if weekly else day).isoformat()


def runs_table(country: str, past: Iterable[PastRun]) -> Table:
    """Return the runs, the newest first."""
    columns = (
        Column("day", "Day"),
        Column("state", "State"),
        Column("kind", "Kind"),
        Column("images", "Images", Kind.NUMBER),
        *(Column(state.value, state.value.capitalize(), Kind.NUMBER) for state, _ in _OUTCOMES),
        Column("seconds", "Took", Kind.SECONDS),
        Column("rate", "Images/s", Kind.NUMBER),
        Column("fetched", "Fetched", Kind.BYTES),
        Column("saved", "Saved", Kind.BYTES),
        Column("unusual", "Unusual", Kind.NUMBER, "Sentences of the report about what is unusual"),
        Column("started_at", "Began", Kind.TIME),
        Column("run_id", "Run"),
    )
    rows = tuple(_run(country, run) for run in past)
    return Table("runs", "Runs", columns, rows, empty="No run has begun in this time.", most=31)


def _run(country: str, run: PastRun) -> tuple[Entry, ...]:
    link = run_link(dag_of(country), run.run_id)
    tone, word = STATES.get(run.state, (Tone.NONE, run.state))

    def counted(state: State) -> Cell:
        return Cell(run.states.get(state.value, 0), link=f"{link}#reasons" if state is not State.LIVE else link)

    return (
        Cell(run.day, link=link),
        Cell(run.state, f"{word}: {words.count(run.lost, 'loss', 'losses')}" if run.lost else word, link, tone=tone),
        run.kind,
        Cell(run.images, link=f"{link}#batches"),
        *(counted(state) for state, _ in _OUTCOMES),
        run.seconds,
        None if run.rate is None else round(run.rate, 2),
        run.fetched,
        run.fetched - run.thumbnails,
        Cell(run.unusual, link=link if run.unusual else ""),
        run.started_at,
        Cell(run.run_id, "in Airflow", link, airflow=True, title=run.run_id),
    )


def reasons_table(country: str, past: Sequence[PastRun]) -> Table:
    """Return why images of these runs did not go live, and the newest run with each reason."""
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], PastRun] = {}
    for run in past:
        for state, codes in run.reasons.items():
            for code, count in codes.items():
                counts[code, state] += count
                newest.setdefault((code, state), run)
    whole = sum(run.images for run in past) or 1
    columns = (
        Column("reason", "Reason", Kind.CODE),
        Column("outcome", "Outcome"),
        Column("images", "Images", Kind.NUMBER),
        Column("share", "Of all", Kind.SHARE),
        Column("meaning", "Meaning", wide=True),
        Column("newest", "Newest with it"),
    )
    rows = tuple(
        (
            code,
            outcome(state),
            count,
            count / whole,
            reason_meaning(code),
            Cell(newest[code, state].day, link=run_link(dag_of(country), newest[code, state].run_id, "reasons")),
        )
        for (code, state), count in counts.most_common()
    )
    return Table("reasons", "Reasons", columns, rows, empty="Every image went well.", most=20)
