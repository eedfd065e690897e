"""A country's figures of this moment as cells, each leading to the part of its page that counts the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from imagesys_lib.dashboard import words
from imagesys_lib.dashboard.addresses import country_link
from imagesys_lib.dashboard.figures import Count, Figures, NodeNow
from imagesys_lib.dashboard.tables import Cell, Tone
from imagesys_lib.stages.report import DiskForecast

_SOON_FULL_DAYS = 14
_LONG_DUE = dt.timedelta(hours=36)  # a daily run has passed it by


def cells(country: str, now: Figures, at: dt.datetime) -> dict[str, Cell]:
    """Return them by their keys, in the order of the columns that show them."""
    return {
        "live": _count(now.live, country_link(country, "runs")),
        "due": _count(now.due, country_link(country, "reasons")),
        "oldest_due": _oldest(country, now.oldest_due, at),
        "nodes": _nodes(country, now.nodes),
        "disks": _disks(country, now.disks),
        "incidents": _number(country, now.incidents, "incidents", Tone.BAD),
        "sources": _number(country, now.sources, "sources", Tone.BAD),
        "mails": _number(country, now.mails, "mails", Tone.WARN),
        "proposals": _number(country, now.proposals, "proposals", Tone.WARN),
    }


def _count(count: Count, link: str) -> Cell:
    text = words.number(count.value)
    return Cell(count.value, f"{text}+" if count.least else f"≈ {text}" if count.about else text, link)


def _oldest(country: str, since: dt.datetime | None, at: dt.datetime) -> Cell:
    if since is None:
        return Cell(None, "–")
    tone = Tone.WARN if at - since > _LONG_DUE else Tone.NONE
    return Cell(since, words.ago((at - since).total_seconds()), country_link(country, "reasons"), tone=tone)


def _nodes(country: str, nodes: Mapping[str, NodeNow]) -> Cell:
    """Return each node that is not well, and how many are; a machine is told of each."""
    found = [_node(country, name, node) for name, node in nodes.items()]
    troubled = [cell for cell in found if cell.tone in {Tone.WARN, Tone.BAD}]
    link, parts = country_link(country, "nodes"), list(troubled)
    for word, tone in (("well", Tone.GOOD), ("not synced yet", Tone.NONE)):
        alike = [cell for cell in found if cell.value == word]
        if alike:
            title = ", ".join(cell.text for cell in alike)
            parts.append(Cell(word, f"{len(alike)} {word}", link, tone=tone, title=title))
    return Cell("; ".join(cell.text for cell in found), parts=tuple(parts))


def _node(country: str, name: str, node: NodeNow) -> Cell:
    link = country_link(country, "nodes")
    if not node.known:
        return Cell("not synced yet", f"{name} not synced yet", link)
    if node.fault:
        return Cell(node.fault, f"{name} {node.fault.replace('_', ' ')}", link, tone=Tone.BAD)
    if node.behind is not None:
        return Cell("behind", f"{name} behind {words.duration(node.behind)}", link, tone=Tone.WARN)
    return Cell("well", f"{name} well", link, tone=Tone.GOOD)


def _disks(country: str, disks: Mapping[str, DiskForecast]) -> Cell:
    """Return the disk that is full first; where none fills up, the least that is free."""
    link = country_link(country, "nodes")
    filling = {name: disk.full_in_days for name, disk in disks.items() if disk.full_in_days is not None}
    if filling:
        name = min(filling, key=lambda one: filling[one])
        days = filling[name]
        tone = Tone.WARN if days < _SOON_FULL_DAYS else Tone.NONE
        return Cell(f"{name} full in {days:.0f} d", link=link, tone=tone)
    if not disks:
        return Cell(None, "–")
    return Cell(f"{words.size(min(disk.free_bytes for disk in disks.values()))} free", link=link)


def _number(country: str, value: int, anchor: str, tone: Tone) -> Cell:
    return Cell(value, words.number(value), country_link(country, anchor), tone=tone if value else Tone.NONE)
