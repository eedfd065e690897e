"""What must become of every URL, reckoned from what was done to the ETL and to the site, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from include.sandbox.feed.manifest import EXPECTED


@dataclass(frozen=True)
class Fate:
    """The end of a URL: ``live``, or not and then with one of these reasons; none of them: no listing shows it."""

    live: bool
    reasons: tuple[str, ...] = ()


GONE = Fate(live=False)


@dataclass
class Model:
    """Listings as the ETL has them, URLs as the site answers them, and those that were listed when a run came by.

    It knows nothing of ImageSys's workings.
    """

    listings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    def put(self, listing_id: str, urls: Sequence[str]) -> None:
        """A listing comes, or shows other photos."""
        self.listings[listing_id] = tuple(urls)

    def remove(self, listing_id: str) -> tuple[str, ...]:
        """A listing goes; returns what it showed."""
        return self.listings.pop(listing_id)

    def run_came_by(self) -> None:
        """A run has read the ETL as it is now."""
        self.known |= self._shown()

    def _shown(self) -> set[str]:
        return {url for urls in self.listings.values() for url in urls}

    def fates(self) -> dict[str, Fate]:
        """What must have become of every URL that a run has ever found listed."""
        shown = self._shown()
        return {url: _fate(self.kinds[url]) if url in shown else GONE for url in sorted(self.known)}


def _fate(kind: str) -> Fate:
    expected = EXPECTED[kind]
    return Fate(live=True) if expected == ("live",) else Fate(live=False, reasons=expected)
