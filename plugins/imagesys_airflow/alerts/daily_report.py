"""What the daily report's mail says: countries' last runs in a table, and what was lost or unusual in them."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.failures import run_url
from imagesys_lib.alerts.message import Message
from imagesys_lib.stages.report import facts
from imagesys_lib.stages.report.digest import LastRun

if TYPE_CHECKING:
    from imagesys_lib.stages.report import NodeState

_OUTCOMES = ("live", "failed", "rejected", "quarantined")
COLUMNS = ("country", "day", "state", "images", *_OUTCOMES, "behind", "lost", "unusual")


@dataclass(frozen=True)
class TableMail(Message):
    """A mail with a table above its sections."""

    rows: tuple[tuple[str, ...], ...] = ()

    def text(self) -> str:
        """Return the plain part."""
        lines = [COLUMNS, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        return "\n".join([*table, "", super().text()])

    def html(self) -> str:
        """Return the same as HTML."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in COLUMNS)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows)
        return f'<table border="1" cellpadding="4"><tr>{head}</tr>{body}</table>\n{super().html()}'


def digest_mail(found: dict[str, LastRun | None], silent: dict[str, str]) -> TableMail:
    """Return the mail about countries' newest runs; ``silent`` says why others could not be read."""
    rows = [_row(country, run) for country, run in found.items()]
    rows += [(country.upper(), "not read", *[""] * (len(COLUMNS) - 2)) for country in silent]
    lost = {f"{c.upper()}: {line}": c for c, run in found.items() if run for line in run.lost}
    unusual = {f"{c.upper()}: {line}": c for c, run in found.items() if run for line in run.unusual}
    never = [f"{country.upper()}: no run has ended yet" for country, run in found.items() if run is None]
    unread = [f"{country.upper()}: {why}" for country, why in silent.items()]
    sections = (
        ("Not read", tuple(unread)),
        ("Work lost", tuple(lost)),
        ("Unusual", (*unusual, *never)),
        *(
            (f"{country.upper()}, {run.day}", tuple(facts(run.summary)))
            for country, run in found.items()
            if run and run.summary
        ),
    )
    marked = len(lost) + len(unusual) + len(never) + len(unread)
    links = {line: run_url(f"imagesys_{c}", run.run_id) for line, c in {**unusual, **lost}.items() if (run := found[c])}
    return TableMail(
        subject=f"[ImageSys] Daily report: {len(rows)} countries, "
        + (f"{marked} to look at" if marked else "all well"),
        intro="Each country's newest run, and below what each of them did.",
        sections=tuple(section for section in sections if section[1]),
        links=links,
        rows=tuple(rows),
    )


def _row(country: str, run: LastRun | None) -> tuple[str, ...]:
    if run is None:
        return (country.upper(), "never", *[""] * (len(COLUMNS) - 2))
    summary = run.summary
    if summary is None:
        blank = [""] * (len(COLUMNS) - 5)
        return (country.upper(), run.day, run.state, *blank, str(len(run.lost) or ""), str(len(run.unusual) or ""))
    counts = (summary.images, *(summary.states.get(state, 0) for state in _OUTCOMES))
    behind = ", ".join(_behind(name, node) for name, node in summary.nodes.items() if node.backlog)
    return (
        country.upper(),
        run.day,
        run.state,
        *(f"{count:,}" for count in counts),
        behind,
        str(len(run.lost) or ""),
        str(len(run.unusual) or ""),
    )


def _behind(name: str, node: NodeState) -> str:
    hours = "" if node.behind_hours is None else f" ({node.behind_hours:.1f} h)"
    return f"{name} {node.backlog:,}{hours}"
