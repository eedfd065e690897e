"""Check: compare the files on a node with the database (fs_check), and the live table with itself (db_scan).

Both sides are read in one order and merged while they stream, so memory does not grow with the tree. Whatever
looks wrong is looked at once more, on the node and in the database, before it counts.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import sqlalchemy as sa

from imagesys_lib import changes, node_records
from imagesys_lib.context import Context
from imagesys_lib.db.engine import CHUNK, NOW, read, write
from imagesys_lib.db.schema import lis_images, lis_live_images, lis_node_checks
from imagesys_lib.hashing import THUMBNAIL_SUFFIXES, lis_path_for_hash, parse_thumbnail_path
from imagesys_lib.nodes import Entry, NodeSession
from imagesys_lib.states import Desired, State

log = logging.getLogger(__name__)

REPAIRED_KINDS = ("missing", "wrong_size", "extra")


@dataclass(frozen=True)
class Expected:
    """What a node should hold of one image: bytes by path end (``1.jpg``); ``pending`` if not yet applied."""

    image_hash: str
    sizes: dict[str, int]
    pending: bool = False


@dataclass(frozen=True)
class Finding:
    """One difference: its kind, the path below ``<root>/<country>``, and the image it belongs to, if any."""

    kind: str
    path: str
    image_hash: str = ""
    mtime: float = 0.0


@dataclass
class Checked:
    """What a check of one node found. ``files`` and ``bytes`` count what lies there."""

    node: str
    files: int = 0
    bytes: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether files and database agree."""
        return not self.findings


def compare(entries: Iterable[Entry], expected: Iterable[Expected]) -> Iterator[Finding]:
    """Merge a node's listing with what the database expects, both in byte order of the path."""
    wanted = iter(expected)
    want = next(wanted, None)
    strange: list[Finding] = []  # may lie between two files of one image, so it must not cut its group
    for image_hash, group in groupby(_possible(entries, strange), key=_hash_of):
        there = list(group)
        yield from strange
        strange.clear()
        while want is not None and want.image_hash < image_hash:
            yield from _differences(want, [])
            want = next(wanted, None)
        if want is not None and want.image_hash == image_hash:
            yield from _differences(want, there)
            want = next(wanted, None)
        else:
            yield from (Finding("extra", entry.path, image_hash, entry.mtime) for entry in there)
    yield from strange
    while want is not None:
        yield from _differences(want, [])
        want = next(wanted, None)


def _possible(entries: Iterable[Entry], strange: list[Finding]) -> Iterator[Entry]:
    """Yield the entries that can be thumbnails; findings of the others go into ``strange``."""
    for entry in entries:
        if parse_thumbnail_path(entry.path):
            yield entry
        else:
            strange.append(_impossible(entry))


def _hash_of(entry: Entry) -> str:
    parsed = parse_thumbnail_path(entry.path)
    return parsed[0] if parsed else ""


def _impossible(entry: Entry) -> Finding:
    leftover = entry.path.rpartition("/")[2].startswith(".")
    return Finding("leftover" if leftover else "impossible_name", entry.path, mtime=entry.mtime)


def _differences(want: Expected, entries: list[Entry]) -> Iterator[Finding]:
    if want.pending:
        return
    there = {parsed[1]: entry for entry in entries if (parsed := parse_thumbnail_path(entry.path))}
    h = want.image_hash
    for end, size in sorted(want.sizes.items()):
        path = f"{lis_path_for_hash(h)}.{end}"
        if end not in there:
            yield Finding("missing", path, h)
        elif there[end].size != size:
            yield Finding("wrong_size", path, h, there[end].mtime)
    for end in there.keys() - want.sizes.keys():
        yield Finding("extra", there[end].path, h, there[end].mtime)


def expected_on(ctx: Context, node_name: str, hashes: list[str] | None = None) -> Iterator[Expected]:
    """Yield what the database expects of a node, in hash order, page by page; ``hashes`` narrows it."""
    i = lis_images.c
    pending = (changes.is_open(i.change_id) & ~changes.acknowledged_by(node_name, i.change_id)).label("pending")
    after = ""
    while True:
        where = (i.image_hash > after) & (i.desired != Desired.NONE.value)
        if hashes is not None:
            where &= i.image_hash.in_(hashes)
        query = sa.select(i.image_hash, i.desired, i.thumbs, pending).where(where).order_by(i.image_hash).limit(CHUNK)
        rows = read(ctx.db, query)
        for row in rows:
            present = row.desired == Desired.PRESENT.value
            if present or row.pending:
                thumbs = row.thumbs or () if present else ()
                sizes = {f"{thumb['n']}.{thumb.get('format', 'jpg')}": int(thumb["bytes"]) for thumb in thumbs}
                yield Expected(row.image_hash, sizes, bool(row.pending))
        if len(rows) < CHUNK:
            return
        after = rows[-1].image_hash


def check(ctx: Context, node_name: str, run_id: str | None = None) -> Checked:
    """Check one node, mark what is missing or wrong for repair and keep the result in ``lis_node_checks``."""
    result = Checked(node_name)
    with NodeSession(ctx.node(node_name), ctx.stop) as node:

        def counted() -> Iterator[Entry]:
            for entry in _entries(node, ctx.country):
                ctx.check_stop()
                result.files += 1
                result.bytes += entry.size
                if result.files % CHUNK == 0:
                    ctx.progress(result.files, result.files)
                yield entry

        suspects: list[Finding] = []
        for finding in compare(counted(), expected_on(ctx, node_name)):
            suspects.append(finding)
            if len(suspects) >= CHUNK:
                _settle_suspects(ctx, node, suspects, result)
        _settle_suspects(ctx, node, suspects, result)
    _keep(ctx, result, run_id)
    log.info(
        "%s %s: %d files, %d bytes, %s",
        ctx.country.upper(),
        node_name,
        result.files,
        result.bytes,
        dict(result.findings) or "as the database says",
    )
    return result


def _settle_suspects(ctx: Context, node: NodeSession, suspects: list[Finding], result: Checked) -> None:
    """Look at suspects again, now on both sides at once, count those that stand and mark them for repair."""
    if not suspects:
        return
    confirmed = _confirm(ctx, node, suspects)
    suspects.clear()
    spare_until = spared_from(ctx)
    marks: dict[str, str] = {}
    for finding in confirmed:
        result.findings[finding.kind] += 1
        samples = result.samples.setdefault(finding.kind, [])
        if len(samples) < ctx.config.check.samples:
            samples.append(finding.path)
        young = finding.kind == "extra" and finding.mtime > spare_until
        if finding.kind in REPAIRED_KINDS and not young:
            marks[finding.image_hash] = finding.kind
    node_records.mark(ctx.db, node.node.name, marks)


def spared_from(ctx: Context) -> float:
    """Return the mtime from which on an extra file is spared: its upload may be under way."""
    return time.time() - ctx.config.check.extra_grace_hours * 3600


def _confirm(ctx: Context, node: NodeSession, suspects: list[Finding]) -> list[Finding]:
    """Keep the suspects that still differ: other runs push and publish while a listing streams."""
    named = sorted({finding.image_hash for finding in suspects if finding.image_hash})
    expected = list(expected_on(ctx, node.node.name, named))
    entries = stat_images(node, ctx.country, named)
    still = {(finding.kind, finding.path): finding for finding in compare(entries, expected)}
    return [
        f if not f.image_hash else still[f.kind, f.path]
        for f in suspects
        if not f.image_hash or (f.kind, f.path) in still
    ]


def stat_images(node: NodeSession, country: str, hashes: Iterable[str]) -> list[Entry]:
    """Return the files that a node has of these images, in path order."""
    ends = [f"{number}.{suffix}" for number in range(1, 10) for suffix in THUMBNAIL_SUFFIXES]
    return node.stat(country, [f"{lis_path_for_hash(image_hash)}.{end}" for image_hash in hashes for end in ends])


def _entries(node: NodeSession, country: str) -> Iterator[Entry]:
    with node.listing(country) as stream:
        rest = b""
        while block := stream.read(64 * 1024):
            *records, rest = (rest + block).split(b"\0")
            for record in records:
                path, size = record.decode("utf-8", "backslashreplace").rsplit("\t", 1)
                yield Entry(path, int(size), 0.0)


def _keep(ctx: Context, result: Checked, run_id: str | None) -> None:
    row = {
        "node": result.node,
        "run_id": run_id,
        "checked_at": NOW,
        "files": result.files,
        "bytes": result.bytes,
        "findings": dict(result.findings),
        "samples": result.samples,
    }
    write(ctx.db, lambda session: session.execute(sa.insert(lis_node_checks).values(row)))


def db_scan(ctx: Context) -> Counter[str]:
    """Walk the whole live table and compare it with ``lis_images``; returns faults by kind, empty if none.

    ``live_unknown``: a live row whose image is not in a live state; ``live_stale``: it shows other thumbnails than
    the image has; ``not_published``: an image in state live without a row.
    """
    faults: Counter[str] = Counter()
    live, i = lis_live_images, lis_images.c
    joined = live.outerjoin(lis_images, i.image_hash == live.c.image_hash)
    after = ""
    seen = 0
    while True:
        query = (
            sa.select(live.c.image_hash, live.c.image_data, i.state, i.desired, i.thumbs)
            .select_from(joined)
            .where(live.c.image_hash > after)
            .order_by(live.c.image_hash)
            .limit(CHUNK)
        )
        rows = read(ctx.db, query)
        for row in rows:
            if row.desired != Desired.PRESENT.value or row.state == State.PURGED.value:
                faults["live_unknown"] += 1
            elif row.state == State.LIVE.value and _shown(row.image_data) != _made(row.thumbs):
                faults["live_stale"] += 1
        seen += len(rows)
        ctx.progress(seen, seen)
        if len(rows) < CHUNK:
            break
        after = rows[-1].image_hash
    faults["not_published"] += _unpublished(ctx)
    return +faults


def _shown(image_data: dict[str, dict[str, object]]) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in image_data.values()}


def _made(thumbs: list[dict[str, object]] | None) -> set[tuple[object, object]]:
    return {(thumb["path"], thumb["bytes"]) for thumb in thumbs or ()}


def _unpublished(ctx: Context) -> int:
    i, live = lis_images.c, lis_live_images.c
    count, after = 0, 0
    while True:
        query = (
            sa.select(i.image_id, live.image_hash.label("shown"))
            .select_from(lis_images.outerjoin(lis_live_images, live.image_hash == i.image_hash))
            .where(i.state == State.LIVE.value, i.image_id > after)
            .order_by(i.image_id)
            .limit(CHUNK)
        )
        rows = read(ctx.db, query)
        count += sum(row.shown is None for row in rows)
        if len(rows) < CHUNK:
            return count
        after = rows[-1].image_id
