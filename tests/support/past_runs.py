"""Runs of the past, as their reports leave them: what the dashboard's charts and strips are made of."""

from __future__ import annotations

import datetime as dt
import json
import random
from typing import Any

from imagesys_lib.stages.report import Summary, Weights

_INSERT = """INSERT INTO lis_runs
    (run_id, kind, interval_start, interval_end, state, started_at, ingested_at, finished_at, summary)
    VALUES (%s, 'scheduled', %s, %s, %s, %s, %s, %s, %s)"""


def put_past_runs(connection: Any, country: str, *, days: int, images: int, red: frozenset[int] = frozenset()) -> None:
    """Insert a run for each of the days before yesterday; those so many days ago in ``red`` lost work."""
    rng = random.Random(country)
    today = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        for ago in range(2, days + 2):
            day = today - dt.timedelta(days=ago)
            begun = day + dt.timedelta(days=1, hours=3)
            taken = round(images * rng.uniform(0.8, 1.2) * (0.7 if day.weekday() > 4 else 1))
            summary = _summary(country, day, taken, rng, lost=ago in red)
            ended = begun + dt.timedelta(seconds=taken / rng.uniform(38, 52))
            row = (summary.run_id, day, day + dt.timedelta(days=1), "failed" if summary.lost else "success", begun)
            ingested = begun + (ended - begun) * rng.uniform(0.05, 0.1)
            cursor.execute(_INSERT, (*row, ingested, ended, json.dumps(summary.as_json())))
    connection.commit()


def _summary(country: str, day: dt.datetime, images: int, rng: random.Random, *, lost: bool) -> Summary:
    failed, rejected = (round(images * rng.uniform(0.01, 0.04)) for _ in range(2))
    live = images - failed - rejected
    return Summary(
        country=country,
        run_id=f"scheduled__{day:%Y-%m-%d}T03:00:00+00:00",
        kind="scheduled",
        interval=f"{day:%Y-%m-%d}",
        images=images,
        states={"live": live, "failed": failed, "rejected": rejected},
        reasons={
            "failed": {"timeout": failed // 2, "http_503": failed - failed // 2},
            "rejected": {"http_404": rejected - rejected // 4, "not_an_image": rejected // 4},
        },
        batches=images // 500 + 1,
        unfinished={},
        nodes={},
        lost=["Node n2 is behind by 4210 images. Remedy: clear sync of n2."] if lost else [],
        weights=Weights(live, live * 230_000, live * 7_000),
    )
