"""What to purge: the rules and all decisions, without any I/O."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from imagesys_lib.config import Purge

TOLERANCE_PERCENT = 5
"""By so much more than it says does an approval hold: an ETL moves while a person thinks."""

MUCH_MORE_PERCENT = 50
"""By so much must what is due have grown for a person who has said no to be asked again before time."""

MOST_SAMPLES = 20

PURGE_FIGURES = "purge."
"""How the names of a purge's figures among those of its run begin."""


class PurgeRule(str, Enum):
    """Why an image goes. One due by both counts as unlisted."""

    UNLISTED = "unlisted"
    AGE = "age"


WHY = {
    PurgeRule.UNLISTED: "no listing shows it any more",
    PurgeRule.AGE: "its newest listing has grown too old",
}


@dataclass(frozen=True)
class Cutoffs:
    """Instants (naive UTC, the database's clock) up to which an image must have been missing or old to be due."""

    unlisted: dt.datetime
    age: dt.datetime | None = None

    @property
    def rules(self) -> tuple[PurgeRule, ...]:
        """The purge rules that are on."""
        return (PurgeRule.UNLISTED,) if self.age is None else (PurgeRule.UNLISTED, PurgeRule.AGE)


def cutoffs(now: dt.datetime, settings: Purge) -> Cutoffs:
    """Return from when on an image is kept, by rule."""
    age = settings.max_age_days
    return Cutoffs(now - dt.timedelta(days=settings.retention_days), None if age is None else now - dt.timedelta(age))


@dataclass(frozen=True)
class Due:
    """Images due by one rule, and how many of them are live: what would leave the site."""

    due: int = 0
    live: int = 0


Counts = Mapping[PurgeRule, Due]


def live_of(counts: Counts) -> int:
    """Return how many live images are due by any rule."""
    return sum(count.live for count in counts.values())


def too_many_missing(missing: int, listed_before: int, max_percent: float) -> bool:
    """Say whether so many known listings are gone at once that the ETL must be wrong."""
    return missing > 0 and missing * 100 > max_percent * listed_before


def live_needed(candidates: int, cap_percent: float) -> int | None:
    """Return how many live images there must be for ``candidates`` to stay below the cap; None if no number will do."""
    if not candidates:
        return 0
    return math.ceil(candidates * 100 / cap_percent) if cap_percent else None


def shard_of(day: dt.date | None, settings: Purge, listings: int) -> tuple[int, int]:
    """Return (shard, shards) of the listings to look up: all of a small table or by hand, else a part a local day."""
    if day is None or listings <= settings.rotate_above:
        return 0, 1
    return day.toordinal() % settings.lookup_shards, settings.lookup_shards


@dataclass(frozen=True)
class Verdict:
    """What to think of the ETL: ``refusal`` stops the purge, ``suspects`` are data sources that it must not touch."""

    suspects: tuple[int, ...] = ()
    refusal: str = ""
    warning: str = ""

    @property
    def refused(self) -> int:
        """How many data sources are taken for half loaded; 1 where all of them are."""
        return 1 if self.refusal else len(self.suspects)


def judge(gone: Mapping[int, int], listed: Mapping[int, int], settings: Purge) -> Verdict:
    """Judge a look-up by data source: listings newly gone, and listings that were known as shown.

    A data source that has lost too much, and no few listings, while others stay is left out and named. Where the rest,
    or all of them, has lost too much, the ETL is half loaded.
    """
    most = settings.max_unlisted_percent
    judged = {source: known for source, known in listed.items() if source not in settings.ended_datasources}
    suspects = tuple(
        sorted(
            source
            for source, known in judged.items()
            if gone.get(source, 0) >= settings.datasource_listings
            and too_many_missing(gone.get(source, 0), known, most)
        )
    )
    rest = {source: known for source, known in judged.items() if source not in suspects}
    if suspects and not any(rest.values()):
        rest, suspects = judged, ()
    missing, known = sum(gone.get(source, 0) for source in rest), sum(rest.values())
    if too_many_missing(missing, known, most):
        return Verdict(
            refusal=f"{missing} of {known} listings are gone from the ETL at once, more than "
            f"{most:g} %: it looks half loaded; nothing was marked or purged"
        )
    if not suspects:
        return Verdict()
    names = ", ".join(f"{source} ({gone[source]} of {listed[source]} listings)" for source in suspects)
    return Verdict(
        suspects,
        warning=f"too much of data source {names} is gone from the ETL at once: nothing of it was marked or purged; if "
        "that is right, add it to purge.ended_datasources",
    )


@dataclass(frozen=True)
class Proposal:
    """A purge above the cap. States: open, approved, rejected, expired (replaced, or no longer above the cap).

    An approval says that so many live images of each rule may go, whichever purge comes next; it is no list of images
    and no budget that is used up. ``finished``: nothing is left to be done about it.
    """

    proposal_id: int
    state: str
    counts: Counts
    live: int
    samples: tuple[Mapping[str, str], ...] = ()
    decided_by: str = ""
    decided_at: dt.datetime | None = None
    finished: bool = False

    @property
    def fate(self) -> str:
        """What has become of the proposal, in a word for people."""
        return "carried out" if self.state == "approved" and self.finished else self.state


def limit(approved: int, percent: int = TOLERANCE_PERCENT) -> int:
    """Return how many live images one rule may take off when ``approved`` were approved."""
    return approved + approved * percent // 100


def covers(proposal: Proposal, counts: Counts, percent: int = TOLERANCE_PERCENT) -> bool:
    """Say whether a proposal speaks, rule by rule, of all live images that are due now but for ``percent`` more."""
    return all(count.live <= limit(proposal.counts.get(rule, Due()).live, percent) for rule, count in counts.items())


def covering_state(latest: Proposal | None, counts: Counts, now: dt.datetime, settings: Purge) -> str:
    """Return the state of the latest proposal where it covers what is due now; "" if a person must be asked anew."""
    if latest is None:
        return ""
    if latest.state == "rejected":
        quiet = dt.timedelta(days=settings.ask_again_days)
        still = latest.decided_at is not None and now < latest.decided_at + quiet
        return "rejected" if still and covers(latest, counts, MUCH_MORE_PERCENT) else ""
    return latest.state if not latest.finished and covers(latest, counts) else ""
