"""Comparing a node's listing with what the database expects, both streaming in byte order; nothing here does I/O
but read the stream it is given.

The database's side comes as pages: the very bytes that the node should send. A page that is met byte for byte is
passed over with one comparison of memory; only a page that is not met is taken apart, record by record. Pages that are
met cost 6 to 7 times ``comm -3``, a straight merge in Python 20 times or more (benchmarks/check_compare.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol

from imagesys_lib.images.hash_and_path import parse_thumbnail_path
from imagesys_lib.nodes import Entry, Garbled
from imagesys_lib.replication.node_records import NOT_A_FILE

_BLOCK = 256 * 1024
_WINDOW = 32 * 1024  # of a block, taken apart at once
_LONGEST = 8 * 1024  # more than a path can be
_TYPES = frozenset((b"d", b"l", b"p", b"s", b"b", b"c", b"D", b"U"))  # as `find` calls what is no file


@dataclass(frozen=True)
class Expected:
    """What a node should hold of one image: by path end (``1.jpg``) its size in bytes and its SHA-1.

    ``pending``: its change is still to be applied in the normal course. ``acked``: the node has said it has it.
    """

    image_hash: str
    sizes: dict[str, int]
    pending: bool = False
    acked: bool = True
    sums: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """One difference: its kind, the path below ``<root>/<country>``, and the image it belongs to, if any."""

    kind: str
    path: str
    image_hash: str = ""
    mtime: float = 0.0


@dataclass(frozen=True)
class Page:
    """Records ``path\\tsize\\0`` that a node should hold, in byte order, how many they are and the sum of their sizes.

    Records of the listing that sort before ``bound`` belong to this page or an earlier one; None: all that is left.
    """

    records: bytes
    files: int
    size: int
    bound: bytes | None


class Seen(Protocol):
    """What counts the files that lie on a node, and their bytes."""

    files: int
    bytes: int


def differences(listing: IO[bytes], pages: Iterable[Page], seen: Seen) -> Iterator[Difference]:
    """Yield what differs between a node's listing and the pages, and count in ``seen`` what lies there.

    ``listing`` yields records as :class:`Page` has them, in byte order; memory holds one page and one block of it.
    Raises Garbled where it does not.
    """
    there = _Listing(listing)
    for page in pages:
        if not there.skip(page.records):
            yield from _unlike(there, page, seen)
            continue
        seen.files += page.files
        seen.bytes += page.size
        if page.bound is None:
            yield from _unlike(there, Page(b"", 0, 0, None), seen)


def _unlike(there: _Listing, page: Page, seen: Seen) -> Iterator[Difference]:
    """Compare a page that is not met as a whole with the records up to its bound."""
    left = set(page.records.split(b"\0")[:-1])
    seen.bytes += page.size
    for block in there.until(page.bound):
        seen.files += len(block)
        met = left.intersection(block)
        left -= met
        if len(met) == len(block):
            continue
        sizes = dict(map(_parts, left))
        for path, size in map(_parts, sorted(set(block) - met)):
            is_file = size not in _TYPES
            seen.files -= not is_file
            seen.bytes += int(size) if is_file else 0
            if path in sizes:
                left.discard(b"%s\t%s" % (path, sizes[path]))
                seen.bytes -= int(sizes[path])
                yield _about("wrong_size" if is_file else NOT_A_FILE, path)
            else:
                yield _unwanted(path) if is_file else _about(NOT_A_FILE, path)
    for path, size in map(_parts, sorted(left)):
        seen.bytes -= int(size)
        yield _about("missing", path)


def _parts(record: bytes) -> tuple[bytes, bytes]:
    path, _, size = record.rpartition(b"\t")
    if not size.isdigit() and size not in _TYPES:
        raise Garbled(f"no path and size: {record[:100]!r}")
    return path, size


def _about(kind: str, path: bytes) -> Difference:
    text = path.decode("utf-8", "backslashreplace")
    parsed = parse_thumbnail_path(text)
    return Difference(kind, text, parsed[0] if parsed else "")


def _unwanted(path: bytes) -> Difference:
    found = _about("extra", path)
    if found.image_hash:
        return found
    hidden = found.path.startswith(".") or "/." in found.path
    return Difference("leftover" if hidden else "impossible_name", found.path)


class _Listing:
    """A stream of records, read in blocks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._buffer, self._at = b"", 0

    def _more(self) -> bool:
        block = self._stream.read(_BLOCK)
        self._buffer, self._at = self._buffer[self._at :] + block, 0
        return bool(block)

    def skip(self, records: bytes) -> bool:
        """Go past ``records`` if they come next; otherwise stay."""
        while len(self._buffer) - self._at < len(records) and self._more():
            pass
        met = self._buffer.startswith(records, self._at)
        if met:
            self._at += len(records)
        return met

    def until(self, bound: bytes | None) -> Iterator[list[bytes]]:
        """Yield, in lists, the records that sort before ``bound``: all that are left if it is None.

        A last record that is cut short is left out: a node whose listing ends so has failed, and its session says so.
        """
        while True:
            end = self._buffer.rfind(b"\0", self._at, self._at + _WINDOW)
            if end < 0:
                end = self._buffer.find(b"\0", self._at)  # one name longer than the window
            if end >= 0:
                records = self._buffer[self._at : end].split(b"\0")
                if bound is not None and records[-1] >= bound:
                    del records[bisect_left(records, bound) :]
                    self._at += sum(map(len, records)) + len(records)
                    yield records
                    return
                self._at = end + 1
                yield records
            elif len(self._buffer) - self._at > _LONGEST:
                raise Garbled(f"no end of a path and size: {self._buffer[self._at : self._at + 100]!r}")
            elif not self._more():
                return


def judge_file(want: Expected | None, path: str, entry: Entry | None) -> Difference | None:
    """Say what is wrong with one file of an image, by both sides as they are now; None if nothing is, or not yet.

    ``not_a_file``: a folder, a link or another thing of its name.
    ``missing``: not there, and this node has never acknowledged it. ``acked_absent``: not there, but acknowledged.
    """
    image_hash, end = parse_thumbnail_path(path) or ("", "")
    if want is not None and want.pending:
        return None
    if entry is not None and not entry.is_file:
        return Difference(NOT_A_FILE, path, image_hash, entry.mtime)
    size = want.sizes.get(end) if want else None
    if want is None or size is None:
        return Difference("extra", path, image_hash, entry.mtime) if entry else None
    if entry is None:
        return Difference("acked_absent" if want.acked else "missing", path, image_hash)
    return None if entry.size == size else Difference("wrong_size", path, image_hash, entry.mtime)
