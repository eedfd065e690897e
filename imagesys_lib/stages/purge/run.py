"""A purge from beginning to end: look the ETL up, unpublish what is due below the cap, delete what has waited."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row, database_now, write
from imagesys_lib.db.locks import named_lock
from imagesys_lib.errors import UsageError
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run, RunKind
from imagesys_lib.stages.purge import delete, lookup, proposals
from imagesys_lib.stages.purge.due import candidates, count_live
from imagesys_lib.stages.purge.rules import (
    MOST_SAMPLES,
    PURGE_FIGURES,
    Counts,
    Cutoffs,
    Due,
    PurgeRule,
    covering_state,
    cutoffs,
    judge,
    live_needed,
    live_of,
    shard_of,
)
from imagesys_lib.stages.purge.unpublish import restore_relisted, unpublish

log = logging.getLogger(__name__)

_LOCK_SECONDS = 600.0


@dataclass
class RuleResult:
    """What became of one rule's images: due, live of them, unpublished, waiting for their grace to end, deleted."""

    due: int = 0
    live: int = 0
    unpublished: int = 0
    in_grace: int = 0
    deleted: int = 0


@dataclass
class Purged:
    """What a purge did, or with ``dry_run`` would do.

    ``looked_up`` and ``unlisted`` count listings, the rest images. ``refused`` says what it did not do, and why;
    ``proposal`` is the one that keeps what is due from going.
    """

    looked_up: int = 0
    unlisted: int = 0
    candidates: int = 0
    unpublished: int = 0
    in_grace: int = 0
    deleted: int = 0
    returned: int = 0
    rules: dict[str, RuleResult] = field(default_factory=dict)
    proposal: int | None = None
    refused: str = ""

    def of(self, rule: PurgeRule) -> RuleResult:
        """Return the counts of one rule."""
        return self.rules.setdefault(rule.value, RuleResult())

    def refuse(self, why: str) -> None:
        """Add a reason why something was not done."""
        self.refused = f"{self.refused}; {why}" if self.refused else why

    def summed(self) -> Purged:
        """Return the result with the sums over all rules."""
        by_rule = self.rules.values()
        return replace(
            self,
            candidates=sum(one.due for one in by_rule),
            unpublished=sum(one.unpublished for one in by_rule),
            in_grace=sum(one.in_grace for one in by_rule),
            deleted=sum(one.deleted for one in by_rule),
        )


def purge(ctx: Context, *, run: Run | None = None, dry_run: bool = False, rule: PurgeRule | None = None) -> Purged:
    """Purge what is due. In a run it acts only if that is a scheduled run whose ingest completed; by hand, always.

    ``rule`` narrows the first phase to one rule. Raises UsageError for a rule that is not configured, and LockHeld if
    another purge of the country goes on too long.
    """
    if run is not None and (refusal := _refusal(ctx, run)):
        log.info("%s: nothing purged: %s", ctx.country.upper(), refusal)
        return Purged(refused=refusal)
    with _lock(ctx, dry_run=dry_run) as lock:
        result = _purge(ctx, run, lock, rule)
    if run is not None and not dry_run:
        log.info("%s: %d images unpublished, %d deleted", ctx.country.upper(), result.unpublished, result.deleted)
    return result


def _lock(ctx: Context, *, dry_run: bool = False) -> AbstractContextManager[named_lock | None]:
    """Keep the country's purges one after the other: two at once would take the cap twice. A dry run needs none."""
    if dry_run:
        return nullcontext()
    return named_lock(
        ctx.db, f"imagesys.{ctx.country}.purge", timeout=_LOCK_SECONDS, on_wait=lambda _seconds: ctx.check_stop()
    )


def _refusal(ctx: Context, run: Run) -> str:
    if run.kind is not RunKind.SCHEDULED:
        return f"a {run.kind.value} run purges nothing"
    row = runs.load(ctx.db, run.run_id)
    if row is None or row.ingested_at is None:
        return "ingest did not complete"
    return ""


def _purge(ctx: Context, run: Run | None, lock: named_lock | None, rule: PurgeRule | None) -> Purged:
    settings, dry_run = ctx.config.purge, lock is None
    found = _look_up(ctx, run)
    verdict = judge(found.gone, found.listed, settings)
    found.bad.keep(ctx, None if dry_run else run, "purge")
    if run is not None and not dry_run:
        runs.set_or_drop_figure(ctx.db, run.run_id, PURGE_FIGURES + "refused", verdict.refused)
    result = Purged(looked_up=found.looked_up, unlisted=len(found.missing))
    if doubt := verdict.refusal or verdict.warning:
        log_doubt = log.warning if dry_run else log.error  # a person must look at the ETL, so it is mailed
        log_doubt("%s: %s", ctx.country.upper(), doubt)
        result.refuse(doubt)
    if verdict.refusal:
        return result
    if not dry_run:
        result.returned += lookup.mark_gone(ctx, found, verdict.suspects)
    cut = cutoffs(database_now(ctx.db), settings)
    if rule is not None and rule not in cut.rules:
        raise UsageError(f"Rule {rule.value} is off for {ctx.country}.", remedy="set purge.max_age_days.")
    purging = _Purging(ctx, result, cut, verdict.suspects, lock, run.run_id if run else None)
    purging.unpublish(cut.rules if rule is None else (rule,))
    purging.delete()
    return result.summed()


def _look_up(ctx: Context, run: Run | None) -> lookup.LookUp:
    """Look up the run's share of the listings; by hand all of them, counted first for whoever watches."""
    settings, known = ctx.config.purge, lookup.known_listings(ctx)
    day = run.interval.start.astimezone(ctx.config.zone).date() if run is not None else None
    total = known if known <= settings.rotate_above else lookup.count_listings(ctx) if run is None else 0
    return lookup.look_up(ctx, shard_of(day, settings, known), total)


@dataclass(frozen=True)
class _Purging:
    """The two phases over the whole country, in steps of at most 1,000 images."""

    ctx: Context
    result: Purged
    cut: Cutoffs
    suspects: Sequence[int]
    lock: named_lock | None
    run_id: str | None = None

    @property
    def dry_run(self) -> bool:
        """Whether nothing is written."""
        return self.lock is None

    def _may_go_on(self) -> None:
        self.ctx.check_stop()
        if self.lock is not None:
            self.lock.verify()

    def unpublish(self, rules: Sequence[PurgeRule]) -> None:
        """The first phase, if what is due is below the cap or approved; else a proposal is left in its place."""
        samples: list[dict[str, str]] = []
        counts = {rule: self._count(rule, samples) for rule in rules}
        if not (self._is_below_cap(live_of(counts)) or self._is_approved(counts, samples)):
            return
        done, total = 0, sum(count.due for count in counts.values())
        for rule in rules:
            for page in candidates(self.ctx, rule, self.cut, self.suspects, dry_run=self.dry_run):
                self._unpublish_page(rule, page)
                done += len(page)
                self.ctx.progress(done, max(done, total))
        if not self.dry_run and set(rules) == set(self.cut.rules):
            proposals.finish_proposal(self.ctx.db)

    def _unpublish_page(self, rule: PurgeRule, page: Sequence[Row]) -> None:
        if self.dry_run:
            self.result.of(rule).unpublished += len(page)
            return
        self._may_go_on()
        hashes = [row.image_hash for row in page]

        def step(connection: Connection) -> int:
            gone = unpublish(connection, hashes, rule, self.cut, grace_hours=self.ctx.config.purge.grace_hours)
            self._add(connection, "unpublished", gone)
            return gone

        self.result.of(rule).unpublished += write(self.ctx.db, step)
        self.result.returned += restore_relisted(self.ctx, hashes, self.cut)

    def _is_below_cap(self, live_due: int) -> bool:
        needed = live_needed(live_due, self.ctx.config.purge.cap_percent)
        return needed is not None and count_live(self.ctx, needed) >= needed

    def _is_approved(self, counts: Counts, samples: Sequence[Mapping[str, str]]) -> bool:
        """Say whether a person has approved so much; else leave a proposal, unless one waits or was rejected."""
        ctx, settings, live = self.ctx, self.ctx.config.purge, count_live(self.ctx)
        latest = proposals.latest_proposal(ctx.db)
        state = covering_state(latest, counts, database_now(ctx.db), settings)
        number = latest.proposal_id if latest else 0
        if latest and state == "approved":
            log.info("%s: goes by proposal %d, approved by %s", ctx.country.upper(), number, latest.decided_by)
            return True
        why = ""
        if latest and latest.fate == "approved":
            why = f"proposal {number} was approved for {live_of(latest.counts)} and is expired; "
        if latest and state == "rejected":
            why = f"proposal {number} was rejected by {latest.decided_by}; nobody is asked again before "
            why += f"{settings.ask_again_days:g} days have passed"
        elif state:
            why = f"proposal {number} waits for an answer"
        elif self.dry_run:
            why += "a person would be asked"
        else:
            number = proposals.leave(ctx.db, counts, live, samples)
            why += f"proposal {number} waits for an answer in DAG imagesys_purge_approval, or by `imagesys purge "
            why += f"{ctx.country} --approve {number}`"
        self.result.proposal = number or None
        above = f"{live_of(counts)} of {live} live images are due, above the cap of {settings.cap_percent:g} %"
        refused = f"{above}: nothing was unpublished; {why}"
        self.result.refuse(refused)
        log.warning("%s: %s", ctx.country.upper(), refused)
        return False

    def _count(self, rule: PurgeRule, samples: list[dict[str, str]]) -> Due:
        of = self.result.of(rule)
        for page in candidates(self.ctx, rule, self.cut, self.suspects, dry_run=self.dry_run):
            of.due += len(page)
            of.live += sum(row.shown is not None for row in page)
            room = MOST_SAMPLES - len(samples)
            samples += [{"rule": rule.value, "url": row.image_url, "hash": row.image_hash} for row in page[:room]]
        return Due(of.due, of.live)

    def delete(self) -> None:
        """Delete images whose grace is over, the second phase of a purge, and count those that still wait."""

        def counted(connection: Connection, number: int) -> None:
            self._add(connection, "deleted", number)

        done, total = 0, delete.count_waiting(self.ctx)
        for page in delete.due_pages(self.ctx, self.suspects):
            self._may_go_on()
            gone, returned = delete.delete_page(self.ctx, page, self.cut, counted, dry_run=self.dry_run)
            for rule, number in gone.items():
                self.result.of(rule).deleted += number
            self.result.returned += returned
            done += len(page)
            self.ctx.progress(done, max(done, total))
        for rule, number in delete.in_grace(self.ctx).items():
            self.result.of(rule).in_grace = number

    def _add(self, connection: Connection, name: str, number: int) -> None:
        """Add to the run's figures, which its report reads."""
        if self.run_id is not None and number:
            runs.add_figure(connection, self.run_id, PURGE_FIGURES + name, number)


def carry_out(ctx: Context, proposal_id: int) -> Purged:
    """Purge by an approved proposal; where it is not approved, or done, say so alone. Safe to repeat.

    If more than it was approved for is due by now, nothing is unpublished, and a new proposal takes its place.
    """
    fate = proposals.get(ctx.db, proposal_id).fate
    if fate != "approved":
        return Purged(proposal=proposal_id, refused=f"proposal {proposal_id} is {fate}")
    return purge(ctx)
