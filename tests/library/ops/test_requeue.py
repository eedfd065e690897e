"""Retry by hand: what was asked for is queued again, and nothing else."""

from __future__ import annotations

from imagesys_lib.ops.retry import retry
from imagesys_lib.stages.plan import plan
from tests.support.world import World


def test_retry_by_hand_takes_only_what_was_asked_for(world: World) -> None:
    world.new_images(6)
    for number, (state, reason, source) in enumerate(
        [("failed", "dns", 1), ("rejected", "http_404", 1), ("rejected", "http_404", 2), ("quarantined", "poison", 1)]
    ):
        world.sql(
            "UPDATE lis_images SET state = :s, reason = :r, datasource_id = :d, attempts = 3, "
            "next_attempt_at = '2099-01-01' WHERE image_url LIKE :u",
            s=state,
            r=reason,
            d=source,
            u=f"%/{number}.jpg",
        )
    assert retry(world.ctx, dry_run=True) == 4
    assert world.count() == {"new": 2, "failed": 1, "rejected": 2, "quarantined": 1}
    assert retry(world.ctx, reason="http_404", datasource=2) == 1
    assert retry(world.ctx, reason="http_404") == 1
    assert retry(world.ctx) == 2
    assert world.count() == {"new": 6}
    assert sum(batch.size for batch in plan(world.ctx, world.run())) == 6


def test_retry_since_takes_what_failed_then_or_later_in_local_time(world: World) -> None:
    world.new_images(2600)
    world.sql("UPDATE lis_images SET state = 'failed', reason = 'dns', updated_at = '2026-03-31 22:59:59'")
    world.sql("UPDATE lis_images SET updated_at = '2026-03-31 23:00:00' ORDER BY image_id LIMIT 2100")
    world.sql("UPDATE lis_images SET state = 'live', reason = NULL ORDER BY image_id LIMIT 50")
    ran = world.cli("retry", "uk", "--since", "2026-04-01", "--dry-run")  # summer time: midnight is 23:00 UTC
    assert ran.out == "requeued: 2050\n"
    assert world.count() == {"failed": 2550, "live": 50}
    assert world.cli("retry", "uk", "--since", "2026-03-31T23:00:01+00:00", "--json").json == {"requeued": 0}
    assert world.cli("retry", "uk", "--since", "2026-04-01", "--reason", "dns", "--json").json == {"requeued": 2050}
    assert world.count() == {"failed": 500, "new": 2050, "live": 50}
    ran = world.cli("retry", "uk", "--since", "yesterday")
    assert (ran.code, "give 2026-03-01" in ran.err) == (2, True)
