"""The table of agreements: what Chromium makes of each case, what the pipeline makes of it, and what may differ."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.differential.chromium import Seen
from tests.differential.ours import Result

LEVELS = 24
"""How far a colour's channel may be off, of 255."""
NEARLY_WHOLE, MOSTLY_ABSENT = 0.07, 0.5
"""Shares of a picture that Chromium leaves out: up to the first it must be made, from the second on it must not."""

Exceptions = Mapping[str, Collection[str]]
"""Names of cases by the reason why the two may differ there."""


@dataclass(frozen=True)
class Row:
    """One case; ``chromium`` and ``ours`` say in a few words what each makes of it."""

    name: str
    chromium: str
    ours: str
    agree: bool


def row(name: str, seen: Seen | None, result: Result, whole: Seen | None = None) -> Row:
    """Judge one picture; ``whole`` is what Chromium shows of it undamaged."""
    ours = f"{result.reason}: {result.detail}" if result.reason else _colours(result.quarters)
    return Row(name, _describe(seen, whole), ours, _agree(seen, whole, result))


def assert_agreement(rows: Iterable[Row], exceptions: Exceptions) -> None:
    """Fail with a table of what differs without being listed, and of what is listed without differing."""
    excepted = {name: reason for reason, names in exceptions.items() for name in names}
    differing = {one.name: one for one in rows if not one.agree}
    new = [f"{one.name} | {one.chromium} | {one.ours}" for name, one in differing.items() if name not in excepted]
    stale = [f"{name} | {reason}" for name, reason in excepted.items() if name not in differing]
    reported = []
    if new:
        reported.append("\n".join((f"{len(new)} cases differ: case | Chromium | ours", *new)))
    if stale:
        reported.append("\n".join((f"{len(stale)} exceptions are stale, the two agree: case | reason", *stale)))
    assert not reported, "\n\n".join(reported)


def _agree(seen: Seen | None, whole: Seen | None, result: Result) -> bool:
    """Say whether both show the picture in the same colours, or both refuse it."""
    if seen is None or seen.is_clear:
        return bool(result.reason) or (seen is not None and _near(seen.quarters, result.quarters))
    absent = seen.absent(whole) if whole else 0.0
    if result.reason:
        return absent > NEARLY_WHOLE
    if whole and _near(whole.quarters, result.quarters):
        return True  # perhaps more was saved than Chromium shows
    return absent < MOSTLY_ABSENT and (not seen.quarters or _near(seen.quarters, result.quarters))


def _near(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> bool:
    return all(abs(a - b) <= LEVELS for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def _describe(seen: Seen | None, whole: Seen | None) -> str:
    if seen is None:
        return "refused"
    if seen.is_clear:
        return "nothing painted"
    absent = f", {seen.absent(whole):.0%} absent" if whole and seen.absent(whole) else ""
    return f"{seen.size[0]}x{seen.size[1]}{absent} {_colours(seen.quarters)}"


def _colours(quarters: Sequence[Sequence[int]]) -> str:
    return " ".join("{:02x}{:02x}{:02x}".format(*colour) for colour in quarters)
