"""A purge from beginning to end: look the ETL up, unpublish what is due below the cap, delete what has waited."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesys_lib import runs
from imagesys_lib.context import Context
from imagesys_lib.db.engine import Session, database_now, named_lock, read, write
from imagesys_lib.db.schema import lis_images
from imagesys_lib.errors import UsageError
from imagesys_lib.runs import Kind, Run
from imagesys_lib.stages.purge import delete, lookup, proposals
from imagesys_lib.stages.purge.due import candidates
from imagesys_lib.stages.purge.rules import (
    FIGURES,
    MOST_SAMPLES,
    Counts,
    Cutoffs,
    Due,
    Rule,
    budget,
    cutoffs,
    judge,
    live_needed,
    live_of,
    shard_of,
    standing,
)
from imagesys_lib.stages.purge.unpublish import Step, spare_relisted, unpublish
from imagesys_lib.states import State

log = logging.getLogger(__name__)

_LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class RuleResult:
    """What became of one rule's images: due, live of them, unpublished, waiting for their grace to end, deleted."""

    due: int = 0
    live: int = 0
    unpublished: int = 0
    in_grace: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class Purged:
    """What a purge did, or with ``dry_run`` would do.

    ``looked_up`` and ``unlisted`` count listings, the rest images. ``refused`` says what it did not do, and why.
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


class _Tally:
    """What is counted while a purge goes on; :meth:`result` gives it out."""

    def __init__(self, found: lookup.LookUp) -> None:
        self.looked_up, self.unlisted = found.looked_up, len(found.missing)
        self.counts: dict[Rule, Due] = {}
        self.unpublished: Counter[Rule] = Counter()
        self.in_grace: Counter[Rule] = Counter()
        self.deleted: Counter[Rule] = Counter()
        self.returned = 0
        self.proposal: int | None = None
        self.refused: list[str] = []

    def result(self) -> Purged:
        found = {*self.counts, *self.unpublished, *self.in_grace, *self.deleted}
        rules = {
            rule.value: RuleResult(
                self.counts.get(rule, Due()).due,
                self.counts.get(rule, Due()).live,
                self.unpublished[rule],
                self.in_grace[rule],
                self.deleted[rule],
            )
            for rule in Rule
            if rule in found
        }
        return Purged(
            looked_up=self.looked_up,
            unlisted=self.unlisted,
            candidates=sum(count.due for count in self.counts.values()),
            unpublished=self.unpublished.total(),
            in_grace=self.in_grace.total(),
            deleted=self.deleted.total(),
            returned=self.returned,
            rules=rules,
            proposal=self.proposal,
            refused="; ".join(self.refused),
        )


def purge(ctx: Context, *, run: Run | None = None, dry_run: bool = False, rule: Rule | None = None) -> Purged:
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
    if run.kind is not Kind.SCHEDULED:
        return f"a {run.kind.value} run purges nothing"
    row = runs.load(ctx.db, run.run_id)
    if row is None or row.ingested_at is None:
        return "ingest did not complete"
    return ""


def _purge(ctx: Context, run: Run | None, lock: named_lock | None, rule: Rule | None) -> Purged:
    settings, dry_run = ctx.config.purge, lock is None
    found = _look_up(ctx, run)
    verdict = judge(found.gone, found.listed, settings)
    found.bad.keep(ctx, None if dry_run else run, "purge")
    if run is not None and not dry_run:
        runs.set_or_drop_figure(ctx.db, run.run_id, FIGURES + "refused", verdict.refused)
    tally = _Tally(found)
    tell = log.warning if dry_run else log.error  # a person must look at the ETL, so it is mailed
    if verdict.refusal:
        tell("%s: %s", ctx.country.upper(), verdict.refusal)
        tally.refused.append(verdict.refusal)
        return tally.result()
    if verdict.warning:
        tell("%s: %s", ctx.country.upper(), verdict.warning)
        tally.refused.append(verdict.warning)
    if not dry_run:
        tally.returned += lookup.mark(ctx, found, verdict.suspects)
    cut = cutoffs(database_now(ctx.db), settings)
    if rule is not None and rule not in cut.rules:
        raise UsageError(f"Rule {rule.value} is off for {ctx.country}.", remedy="set purge.max_age_days.")
    rules = cut.rules if rule is None else (rule,)
    purging = _Purging(ctx, tally, cut, verdict.suspects, lock, run.run_id if run else None)
    if purging.below_cap(rules):
        purging.unpublish(rules, tally.counts)
    purging.delete()
    return tally.result()


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
    tally: _Tally
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

    def below_cap(self, rules: Sequence[Rule]) -> bool:
        """Count what is due and say whether it may go; else leave a proposal, unless one stands or was rejected."""
        samples: list[dict[str, str]] = []
        for rule in rules:
            self.tally.counts[rule] = self._count(rule, samples)
        settings, counts = self.ctx.config.purge, self.tally.counts
        candidates_live = live_of(counts)
        needed = live_needed(candidates_live, settings.cap_percent)
        if needed is not None and count_live(self.ctx, needed) >= needed:
            if not self.dry_run and set(rules) == set(self.cut.rules):
                proposals.expire(self.ctx.db)
            return True
        live = count_live(self.ctx)
        above = f"{candidates_live} of {live} live images are due, above the cap of {settings.cap_percent:g} %"
        latest = proposals.latest(self.ctx.db)
        stands = standing(latest, counts, database_now(self.ctx.db), settings)
        if latest is not None and stands:
            self.tally.proposal = latest.proposal_id
            told = {
                "waiting": f"proposal {latest.proposal_id} waits for an answer",
                "approved": f"proposal {latest.proposal_id} is approved and about to be carried out",
                "rejected": f"proposal {latest.proposal_id} was rejected by {latest.decided_by}; nobody is asked again "
                f"before {settings.ask_again_days:g} days have passed",
            }[stands]
        elif self.dry_run:
            told = "a person would be asked"
        else:
            self.tally.proposal = proposals.leave(self.ctx.db, counts, live, samples)
            told = (
                f"proposal {self.tally.proposal} waits for an answer in DAG imagesys_purge_approval, or by `imagesys "
                f"purge {self.ctx.country} --approve {self.tally.proposal}`"
            )
        self.tally.refused.append(f"{above}: nothing was unpublished; {told}")
        log.warning("%s: %s", self.ctx.country.upper(), self.tally.refused[-1])
        return False

    def _count(self, rule: Rule, samples: list[dict[str, str]]) -> Due:
        due = live = 0
        for page in candidates(self.ctx, rule, self.cut, self.suspects, dry_run=self.dry_run):
            due += len(page)
            live += sum(row.shown is not None for row in page)
            room = MOST_SAMPLES - len(samples)
            samples += [{"rule": rule.value, "url": row.image_url, "hash": row.image_hash} for row in page[:room]]
        return Due(due, live)

    def unpublish(self, rules: Sequence[Rule], counts: Counts, proposal_id: int | None = None) -> None:
        """The first phase, of so many images; under an approved proposal, up to what it allows."""
        done, total = 0, sum(count.due for count in counts.values())
        for rule in rules:
            for page in candidates(self.ctx, rule, self.cut, self.suspects, dry_run=self.dry_run):
                done += len(page)
                self.ctx.progress(done, max(done, total))
                if self.dry_run:
                    self.tally.unpublished[rule] += len(page)
                    continue
                self._may_go_on()
                hashes = [row.image_hash for row in page]
                step = write(self.ctx.db, lambda s, h=hashes, r=rule: self._step(s, h, r, proposal_id))  # type: ignore[misc]
                self.tally.unpublished[rule] += step.purged
                self.tally.returned += spare_relisted(self.ctx, hashes, self.cut)

    def _step(self, session: Session, hashes: list[str], rule: Rule, proposal_id: int | None) -> Step:
        grace = self.ctx.config.purge.grace_hours
        if proposal_id is None:
            step = unpublish(session, hashes, rule, self.cut, grace_hours=grace)
        else:
            proposal = proposals.lock_approved(session, proposal_id)
            if proposal is None:
                return Step()
            most = budget(proposal, rule)
            step = unpublish(session, hashes, rule, self.cut, grace_hours=grace, most_live=most)
            proposals.count(session, proposal, rule, step.live)
        self._add(session, "unpublished", step.purged)
        return step

    def delete(self) -> None:
        """The second phase, and the count of what still waits."""

        def counted(session: Session, number: int) -> None:
            self._add(session, "deleted", number)

        done, total = 0, delete.count_waiting(self.ctx)
        for page in delete.waiting(self.ctx, self.suspects):
            self._may_go_on()
            gone, returned = delete.delete_page(self.ctx, page, self.cut, counted, dry_run=self.dry_run)
            self.tally.deleted += gone
            self.tally.returned += returned
            done += len(page)
            self.ctx.progress(done, max(done, total))
        self.tally.in_grace = delete.in_grace(self.ctx)

    def _add(self, session: Session, name: str, number: int) -> None:
        """Add to the run's figures, which its report reads."""
        if self.run_id is not None and number:
            runs.add_figure(session, self.run_id, FIGURES + name, number)


def count_live(ctx: Context, most: int | None = None) -> int:
    """Count the live images, up to ``most``, which is all that the cap must know of.

    Read from the index by state of ``lis_images``: exact, unlike the server's estimates, and without walking the rows
    of ``lis_live_images``, whose only index is the table itself.
    """
    if most == 0:
        return 0
    live = lis_images.c.state == State.LIVE.value
    query = sa.select(sa.func.count()).select_from(lis_images).where(live)
    if most is not None:
        query = sa.select(sa.func.count()).select_from(
            sa.select(lis_images.c.image_id).where(live).limit(most).subquery()
        )
    return int(read(ctx.db, query)[0][0])


def carry_out(ctx: Context, proposal_id: int) -> Purged:
    """Unpublish what an approved proposal allows: its rules' candidates as database and ETL show them now, up to the
    approved number of live images by rule and ``rules.TOLERANCE_PERCENT`` more.

    Safe to repeat; does nothing if it is not approved.
    """
    with _lock(ctx) as lock:
        proposal = proposals.get(ctx.db, proposal_id)
        if proposal.state != "approved" or proposal.finished:
            told = "carried out" if proposal.state == "approved" else proposal.state
            return Purged(proposal=proposal_id, refused=f"proposal {proposal_id} is {told}")
        today = database_now(ctx.db).toordinal() % ctx.config.purge.lookup_shards, ctx.config.purge.lookup_shards
        known = lookup.known_listings(ctx)
        whole = known <= ctx.config.purge.rotate_above
        found = lookup.look_up(ctx, (0, 1), known) if whole else lookup.look_up(ctx, today)
        verdict = judge(found.gone, found.listed, ctx.config.purge)
        tally = _Tally(found)
        tally.proposal = proposal_id
        tally.refused += [text for text in (verdict.refusal, verdict.warning) if text]
        if verdict.refusal:
            log.warning("%s: proposal %d waits: %s", ctx.country.upper(), proposal_id, verdict.refusal)
            return tally.result()
        cut = cutoffs(database_now(ctx.db), ctx.config.purge)
        purging = _Purging(ctx, tally, cut, verdict.suspects, lock)
        purging.unpublish([rule for rule in cut.rules if rule in proposal.counts], proposal.counts, proposal_id)
        proposals.finish(ctx.db, proposal_id)
        tally.in_grace = delete.in_grace(ctx)
        log.info(
            "%s: proposal %d carried out: %d images unpublished",
            ctx.country.upper(),
            proposal_id,
            tally.unpublished.total(),
        )
        return tally.result()
