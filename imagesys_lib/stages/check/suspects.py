"""Suspects: what looked wrong is looked at once more, on the node and in the database at once, before it counts.

Other runs push and publish while a listing streams, and a node may still have changes to apply: neither is a fault.
"""

from __future__ import annotations

from collections.abc import Iterable

from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, database_now
from imagesys_lib.images.hash_and_path import THUMBNAIL_SUFFIXES, lis_path_for_hash
from imagesys_lib.nodes import Entry, NodeSession
from imagesys_lib.replication import node_records
from imagesys_lib.stages.check.compare import Difference, judge_file
from imagesys_lib.stages.check.expected import expected_on
from imagesys_lib.stages.check.results import Checked

_REPAIRED_KINDS = ("missing", "acked_absent", "wrong_size", "extra", "damaged", node_records.NOT_A_FILE)
_ABSENT = ("missing", "acked_absent")


class Suspects:
    """Gathers findings of one node and settles them a thousand at a time; with ``dry_run`` it marks none."""

    def __init__(self, ctx: Context, node: NodeSession, result: Checked, *, dry_run: bool = False) -> None:
        self._ctx, self._node, self._result, self._dry_run = ctx, node, result, dry_run
        self._waiting: list[Difference] = []

    def add(self, finding: Difference) -> None:
        """Add a difference, to be confirmed with the next 1,000."""
        self._waiting.append(finding)
        if len(self._waiting) >= CHUNK:
            self.settle()

    def settle(self) -> None:
        """Count those that are confirmed, and mark for repair what repair can put right."""
        if not self._waiting:
            return
        found = confirm(self._ctx, self._node, self._waiting)
        self._waiting = []
        self._ctx.give_way()
        cutoff = extra_cutoff(self._ctx)
        marks: dict[str, str] = {}
        for finding in found:
            self._result.count(finding.kind, finding.path, self._ctx.config.check.samples)
            young = finding.kind == "extra" and finding.mtime > cutoff
            if finding.kind in _REPAIRED_KINDS and finding.image_hash and not young:
                marks[finding.image_hash] = "missing" if finding.kind in _ABSENT else finding.kind
        if not self._dry_run:
            node_records.mark(self._ctx.db, self._node.node.name, marks, keep=True)


def confirm(ctx: Context, node: NodeSession, suspects: list[Difference]) -> list[Difference]:
    """Return those of at most 1,000 suspects that still differ as they did when they were found.

    A strange name is not checked again: nothing of ours makes one, and the database has no word on it.
    """
    named = sorted({finding.image_hash for finding in suspects if finding.image_hash})
    wanted = {expected.image_hash: expected for expected in expected_on(ctx, node.node.name, named)} if named else {}
    paths = [finding.path for finding in suspects if finding.image_hash]
    there = {entry.path: entry for entry in node.entries(ctx.country, paths)}
    confirmed = []
    for finding in suspects:
        again = finding
        if finding.image_hash:
            judged = judge_file(wanted.get(finding.image_hash), finding.path, there.get(finding.path))
            if judged is None or (judged.kind != finding.kind and not {judged.kind, finding.kind} <= {*_ABSENT}):
                continue
            again = judged
        confirmed.append(again)
    return confirmed


def extra_cutoff(ctx: Context) -> float:
    """Return the mtime after which an extra file is left alone: its upload may be under way."""
    return database_now(ctx.db).replace(tzinfo=UTC).timestamp() - ctx.config.check.extra_grace_hours * 3600


def stat_images(node: NodeSession, country: str, hashes: Iterable[str], *, files_alone: bool = True) -> list[Entry]:
    """Return the files that a node has of these images, in path order; or whatever bears their names."""
    ends = [f"{number}.{suffix}" for number in range(1, 10) for suffix in THUMBNAIL_SUFFIXES]
    paths = [f"{lis_path_for_hash(image_hash)}.{end}" for image_hash in hashes for end in ends]
    return (node.stat if files_alone else node.entries)(country, paths)
