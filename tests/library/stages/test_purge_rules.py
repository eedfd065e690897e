"""The purge's decisions, as tables."""

from __future__ import annotations

import datetime as dt

import pytest

from imagesys_lib.config import Purge
from imagesys_lib.stages.purge.rules import Due, Proposal, PurgeRule, covering_state, cutoffs, judge, limit

NOW = dt.datetime.combine(dt.date(2026, 3, 28), dt.time(3))
DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("gone", "listed", "suspects", "refuses"),
    [
        ({}, {}, (), False),
        ({1: 10}, {1: 100, 2: 100}, (), False),
        ({1: 20}, {1: 100, 2: 100}, (), False),  # no more than 20 %
        ({1: 21}, {1: 100, 2: 100}, (1,), False),
        ({1: 21}, {1: 100, 2: 10_000}, (1,), False),  # however little of all it is
        ({1: 100}, {1: 100, 2: 100}, (1,), False),
        ({1: 100, 2: 30}, {1: 100, 2: 100}, (), True),  # all are half loaded
        ({1: 100, 2: 30, 3: 19}, {1: 100, 2: 100, 3: 60}, (), True),  # the rest too
        ({1: 100, 2: 30, 3: 19}, {1: 100, 2: 100, 3: 600}, (1, 2), False),
        ({1: 100, 2: 100}, {1: 100, 2: 100}, (), True),  # the whole ETL
        ({1: 19}, {1: 19, 2: 100}, (), False),  # too few to tell
        ({9: 100}, {9: 100, 2: 100}, (), False),  # has ended
        ({1: 100}, {1: 100}, (), True),
        ({1: 100, 9: 50}, {1: 100, 9: 50}, (), True),
    ],
)
def test_the_etl_is_judged_whole_and_by_data_source(
    gone: dict[int, int], listed: dict[int, int], suspects: tuple[int, ...], refuses: bool
) -> None:
    verdict = judge(gone, listed, Purge(ended_datasources=(9,)))
    assert (verdict.suspects, bool(verdict.refusal)) == (() if refuses else suspects, refuses)
    assert bool(verdict.warning) is bool(verdict.suspects)


def a_proposal(state: str, live: int = 100, *, days_ago: float = 1, finished: bool = False) -> Proposal:
    counts = {PurgeRule.UNLISTED: Due(live + 7, live)}
    return Proposal(4, state, counts, 1000, decided_at=NOW - days_ago * DAY, finished=finished)


@pytest.mark.parametrize(
    ("latest", "live", "expected"),
    [
        (None, 100, ""),
        (a_proposal("open"), 105, "open"),
        (a_proposal("open"), 106, ""),
        (a_proposal("open"), 10, "open"),
        (a_proposal("expired", finished=True), 100, ""),
        (a_proposal("approved"), 105, "approved"),
        (a_proposal("approved"), 106, ""),  # so much nobody has approved
        (a_proposal("approved", finished=True), 100, ""),
        (a_proposal("rejected", days_ago=6.9), 100, "rejected"),
        (a_proposal("rejected", days_ago=7.1), 100, ""),
        (a_proposal("rejected"), 150, "rejected"),
        (a_proposal("rejected"), 151, ""),
    ],
)
def test_nobody_is_asked_twice_about_the_same(latest: Proposal | None, live: int, expected: str) -> None:
    assert covering_state(latest, {PurgeRule.UNLISTED: Due(live, live)}, NOW, Purge()) == expected
    assert covering_state(latest, {PurgeRule.AGE: Due(1, 1), PurgeRule.UNLISTED: Due(live, live)}, NOW, Purge()) == ""


def test_an_approval_reaches_a_little_further_than_its_number() -> None:
    assert [limit(number) for number in (0, 1, 19, 20, 100, 1000)] == [0, 1, 19, 21, 105, 1050]


def test_what_became_of_a_proposal_is_named() -> None:
    fates = [a_proposal(state, finished=state != "open").fate for state in ("open", "approved", "rejected", "expired")]
    assert fates == ["open", "carried out", "rejected", "expired"]
    assert a_proposal("approved").fate == "approved"


def test_age_is_off_by_default() -> None:
    assert cutoffs(NOW, Purge()).rules == (PurgeRule.UNLISTED,)
    aged = cutoffs(NOW, Purge(max_age_days=400))
    assert (aged.rules, aged.age) == ((PurgeRule.UNLISTED, PurgeRule.AGE), NOW - 400 * DAY)
