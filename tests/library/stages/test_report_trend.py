"""A run beside earlier ones: medians, what is unusual, when a disk is full, and how it all reads."""

from __future__ import annotations

import pytest

from imagesys_lib.stages.report import DiskForecast, FullCheck, NodeState, Weights, render, run_note
from imagesys_lib.stages.report.disk_forecast import days_until
from imagesys_lib.stages.report.rendering import top_reasons
from imagesys_lib.stages.report.trend import BYTES_SAVED, is_unusual, medians
from imagesys_lib.stages.report.verdict import anomalies
from tests.support.summaries import a_summary

GB = 10**9


@pytest.mark.parametrize(
    ("name", "value", "median", "unusual"),
    [
        ("state.failed", 300, 40, True),
        ("state.failed", 119, 40, False),  # more, but below thrice as many
        ("state.failed", 50, 0, False),  # from nothing, but few
        ("state.failed", 51, 0, True),
        ("state.failed", 0, 4000, False),  # fewer failures are no worry
        ("images", 300, 1000, True),  # fewer images are
        ("images", 334, 1000, False),
        ("state.live", 0, 60, True),
        ("state.live", 0, 50, False),
        ("backlog.n1", 3100, 1000, True),
        ("reason.dns", 500, 2, True),
        ("reason.dns", 50, 0, False),
        ("check.n1.damaged", 300, 0, True),
        ("bytes_saved", 70_000_000, 230_000_000, True),
        ("bytes_saved", -90_000_000, 230_000_000, True),  # thumbnails that weigh more than their originals
        ("bytes_saved", 900_000_000, 230_000_000, False),  # much saved is no trouble
        ("bytes_saved", 0, 12_000_000, False),  # few photos
    ],
)
def test_a_figure_is_unusual_when_it_is_far_from_its_median_by_share_and_by_number(
    name: str, value: int, median: float, unusual: bool
) -> None:
    assert is_unusual(name, value, median) is unusual


def test_two_earlier_runs_are_too_few_to_compare_with() -> None:
    runs = [{"images": 10}, {"images": 20}, {"images": 90, "state.failed": 6}]
    assert medians(["images"], runs[:2]) == {}
    assert medians(["images", "state.failed", "free.n1"], runs) == {"images": 20, "state.failed": 0}


@pytest.mark.parametrize(
    ("points", "floor", "days"),
    [
        ([(-3, 40 * GB), (-2, 30 * GB), (-1, 20 * GB), (0, 10 * GB)], 0, 1),
        ([(-3, 40 * GB), (-2, 30 * GB), (-1, 20 * GB), (0, 10 * GB)], 5 * GB, 0.5),
        ([(-3, 40 * GB), (-2, 30 * GB), (-1, 20 * GB), (0, 10 * GB)], 20 * GB, 0),  # below its floor already
        ([(-3, 10 * GB), (-2, 20 * GB), (-1, 30 * GB), (0, 40 * GB)], 0, None),  # it empties
        ([(-3, 40 * GB), (-2, 40 * GB), (-1, 40 * GB), (0, 40 * GB)], 0, None),
        ([(-2, 30 * GB), (-1, 20 * GB), (0, 10 * GB)], 0, None),  # too few
        ([(-0.3, 40 * GB), (-0.2, 30 * GB), (-0.1, 20 * GB), (0, 10 * GB)], 0, None),  # one day's coming and going
        ([(-5, 30 * GB), (-4, 29 * GB), (-3, 28 * GB), (-2, 27 * GB), (-1, 66 * GB), (0, 65 * GB)], 0, None),
        ([], 0, None),
    ],
)
def test_a_disk_is_full_when_the_trend_of_the_last_runs_says_so(
    points: list[tuple[float, int]], floor: int, days: float | None
) -> None:
    found = days_until(points, floor)
    assert found == (None if days is None else pytest.approx(days))


def test_one_clean_up_does_not_hide_that_a_disk_fills() -> None:
    filling = [(-7, 50), (-6, 40), (-5, 30), (-4, 20), (-3, 45), (-2, 35), (-1, 25), (0, 15)]
    assert days_until([(day, gb * GB) for day, gb in filling], 0) is not None


def test_anomalies_name_the_figure_the_median_and_the_disk() -> None:
    summary = a_summary(
        earlier_runs=7,
        medians={"images": 1000.0, "state.failed": 4.0, "backlog.n2": 0.0, BYTES_SAVED: 230_000_000.0},
        disks={"n1": DiskForecast(GB, 3.4), "n2": DiskForecast(GB, 15), "staging": DiskForecast(GB)},
    )
    assert anomalies(summary, {"images": 1000, "state.failed": 300, BYTES_SAVED: 4_000_000}) == [
        "failed: 300, where 7 earlier scheduled runs had 4 (median)",
        "bytes saved: 4.0 MB, where 7 earlier scheduled runs had 230.0 MB (median)",
        "disk of n1: down to its floor in 3 days, as it went lately",
    ]


def test_the_most_frequent_reasons_come_first_and_the_rest_is_counted() -> None:
    reasons = {"dns": 2, "timeout": 40, "connect": 7, "tls": 7, "http_500": 9, "truncated": 1, "too_slow": 1}
    reported = "40 timeout, 9 http_500, 7 connect, 7 tls, 2 dns, 2 with another reason"
    assert top_reasons(reasons) == reported


FULL = a_summary(
    images=1000,
    states={"live": 940, "rejected": 60},
    reasons={"rejected": {"http_404": 60}},
    nodes={
        "n1": NodeState(
            "n1",
            *(0, 0, 0),
            files=80,
            missing=2,
            findings={"damaged": 1, "missing": 2},
            repaired={"restored": 3},
        ),
        "n2": NodeState("n2", 30, 0, 0, behind_hours=26.5),
    },
    full_checks={
        "n1": FullCheck("2026-03-28", 958, {"acked_absent": 7, "missing": 5, "leftover": 1}, {"restored": 12}),
    },
    purge={"unpublished": 12, "deleted": 9},
    same_target=70,
    sources={"left_alone": 1, "failed": 2, "recovered": 0},
    healed={"batches": 2, "images": 500, "poison": 0},
    weights=Weights(940, 235_000_000, 4_700_000),
    disks={"staging": DiskForecast(81 * GB), "n1": DiskForecast(310 * GB, 12.2)},
    earlier_runs=5,
    medians={"images": 980.0, "state.live": 930.0, "heal.images": 0.0},
    anomalies=["failed: 300, where 5 earlier scheduled runs had 4 (median)"],
)


def test_the_whole_report_reads_as_plain_text() -> None:
    assert render(FULL).splitlines() == [
        "UK scheduled run r1, interval A/B",
        "  1000 images in 1 batches: 940 live",
        "  60 rejected: 60 http_404",
        "  70 images ended at addresses that very many others of their batch end at: placeholders, probably",
        "  n1: 80 files, 2 missing and 1 damaged found, 3 repaired, 0 images behind, 0 marked for repair",
        "  n2: not checked, 30 images behind (the oldest for 26.5 h), 0 marked for repair",
        "  full check of n1, 2026-03-28: 958 files, 12 missing and 1 leftover found, 12 repaired",
        "  purge: 9 deleted, 12 unpublished",
        "  healed: 2 batches",
        "  healed: 500 images",
        "  data sources: 1 left alone now; since the run before 2 failed and 0 recovered",
        "  940 originals of 235.0 MB became thumbnails of 4.7 MB: 230.3 MB saved (98.0 %)",
        "  disk left: staging 81.0 GB, n1 310.0 GB (at its floor in 12 days)",
        "  median of 5 earlier scheduled runs: images 980, live 930",
        "  UNUSUAL:",
        "  - failed: 300, where 5 earlier scheduled runs had 4 (median)",
        "  Nothing was lost.",
    ]


def test_a_note_begins_with_the_verdict_and_is_as_short_as_airflow_wants_it() -> None:
    assert run_note(FULL).splitlines()[:4] == [
        "**Nothing was lost.**",
        "",
        "- UNUSUAL: failed: 300, where 5 earlier scheduled runs had 4 (median)",
        "- UK scheduled run r1, interval A/B",
    ]
    assert {line.strip() for line in render(FULL).splitlines()[1:-3]} == {
        line.removeprefix("- ") for line in run_note(FULL).splitlines()[4:]
    }
    long = run_note(a_summary(lost=[f"Batch {n} is unfinished." for n in range(100)]))
    assert long.startswith("**WORK LOST**\n\n- Batch 0 is unfinished.\n")
    assert len(long) == 1000
    assert long.endswith(" …")
