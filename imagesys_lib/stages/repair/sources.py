"""Where a repair finds files: in staging, else on a peer. Nothing passes on whose checksum is not right."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from imagesys_lib.context import Context
from imagesys_lib.db.engine import Row
from imagesys_lib.nodes import NodeFault, NodeSession
from imagesys_lib.replication.readiness import is_known
from imagesys_lib.stages.shared.staged_files import thumb_paths

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is to be done for at most 1,000 marked images (hash to reason), in hash order.

    ``wanted``: to be given to the node. ``unwanted``: the node may have files of them that nothing wants. ``kept``:
    it has, but they stay for now, and so do the marks.
    """

    marks: dict[str, str]
    wanted: list[Row]
    unwanted: list[str]
    kept: set[str]


@dataclass
class Sourced:
    """A plan with its files: images ``found``, by the folder that holds them, ``left`` and, of these, on no node.

    ``folder`` is where what came from peers lies, in a folder for each; it is the user's to remove. ``answered`` holds
    the images about which each peer could be asked.
    """

    plan: Plan
    folder: Path
    turn: int
    left: list[Row]
    found: dict[Path, list[Row]] = field(default_factory=dict)
    answered: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    nowhere: list[Row] = field(default_factory=list)

    def collect(self, folder: Path) -> None:
        """Count as found what of the images left lies intact in a folder."""
        good = [image for image in self.left if _intact(folder, image)]
        have = {image.image_hash for image in good}
        self.found.setdefault(folder, []).extend(good)
        self.left = [image for image in self.left if image.image_hash not in have]


class Halt(threading.Event):
    """An event that counts as set, too, when the stage's ``stop`` is."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def is_set(self) -> bool:
        """Return whether this event or the stage's ``stop`` is set."""
        return super().is_set() or self._stop.is_set()


class Sources:
    """The staging disk and the other nodes, for a repair of one node.

    Each peer is asked over one connection that stays open. One that cannot be reached is not asked again. What it, or
    one without its disk, may hold is not given up. One transfer is under way at a time, so that ``repair_kbps`` holds
    for them all together.
    ``halt`` ends what is under way.
    """

    def __init__(self, ctx: Context, node_name: str) -> None:
        self.ctx, self.node = ctx, node_name
        self.halt = Halt(ctx.stop)
        self.peers = [name for name in ctx.config.nodes if name != node_name]
        self._away: set[str] = set()
        self._sessions: dict[str, NodeSession] = {}
        self._lock = threading.Lock()  # :meth:`fetch` and :meth:`verify` run in threads of their own
        self._stack = ExitStack()

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def fetch(self, plans: Iterable[Plan]) -> Iterator[Sourced]:
        """Yield each plan with its files from staging or from its first peer; theirs are not verified yet."""
        for turn, plan in enumerate(plans):
            self.ctx.staging.require_space()
            size = sum(int(thumb["bytes"]) for image in plan.wanted for thumb in image.thumbs or ())
            folder = self.ctx.staging.repair_folder(self.node, size)
            group = Sourced(plan, folder, turn, plan.wanted)
            group.collect(self.ctx.staging.out)
            for peer in self._order(turn)[:1]:
                self._pull(group, peer)
            yield group

    def verify(self, groups: Iterable[Sourced]) -> Iterator[Sourced]:
        """Yield groups whose files are right; what the first peer did not have so, the others are asked for."""
        for group in groups:
            for peer in self._order(group.turn):
                if group.left and not (group.folder / peer).exists():
                    self._pull(group, peer)
                group.collect(group.folder / peer)
            group.nowhere = self._nowhere(group)
            yield group

    def dry_run(self, plan: Plan) -> tuple[int, int, int]:
        """Return how many wanted images would be found, how many are on no node, and how many would have to wait.

        Peers are asked for names and sizes alone.
        """
        group = Sourced(plan, self.ctx.staging.settings.root, 0, plan.wanted)
        group.collect(self.ctx.staging.out)
        for peer in self.peers:
            if not group.left:
                break
            there = self._sizes(peer, group.left)
            if there is not None:
                group.answered[peer] |= {image.image_hash for image in group.left}
                group.left = [image for image in group.left if not is_among(there, image)]
        nowhere = self._nowhere(group)
        return len(plan.wanted) - len(group.left), len(nowhere), len(group.left) - len(nowhere)

    def _nowhere(self, group: Sourced) -> list[Row]:
        """Return the images left that no peer has; none while one of them lacks its disk, and so does not know."""
        answered = [group.answered[peer] for peer in self.peers]
        nowhere = [image for image in group.left if all(image.image_hash in hashes for hashes in answered)]
        return nowhere if nowhere and all(map(self._has_its_disk, self.peers)) else []

    def _has_its_disk(self, peer: str) -> bool:
        """Say whether a peer has the disk whose files are known: an empty mount point is none."""
        country = self.ctx.country
        try:
            if is_known(self.ctx, self._session(peer)):
                return True
            why = f"{peer} was emptied or replaced, or its disk is not mounted: what it may hold is not given up"
        except NodeFault as fault:
            why = fault.message
        log.warning("%s %s: %s", country.upper(), self.node, why)
        return False

    def _sizes(self, peer: str, images: Sequence[Row]) -> dict[str, int] | None:
        """Return the bytes of what a peer has of some images, by path below a root; None if it cannot be asked."""
        if peer in self._away:
            return None
        try:
            return sizes(self._session(peer), self.ctx.country, images)
        except NodeFault as fault:
            log.warning("%s %s: %s", self.ctx.country.upper(), self.node, fault.message)
            self._away.add(peer)
            return None

    def _order(self, turn: int) -> list[str]:
        """Return the peers, a different one first each time, so that they share the load."""
        first = turn % len(self.peers) if self.peers else 0
        return self.peers[first:] + self.peers[:first]

    def _pull(self, group: Sourced, peer: str) -> None:
        """Copy the images that are left from a peer into its own folder of the group."""
        with self._lock:
            if peer in self._away:
                return
            target = group.folder / peer
            target.mkdir()
            paths = [path for image in group.left for path in thumb_paths(image)]
            try:
                self._session(peer).pull(paths, target, kbps=self.ctx.config.transfer.repair_kbps)
            except NodeFault as fault:
                self.ctx.staging.require_space()  # whose disk is full, rsync does not say
                log.warning("%s %s: %s", self.ctx.country.upper(), self.node, fault.message)
                if fault.reason != "transfer":  # of one file that cannot be read the others are not worse
                    self._away.add(peer)
                return
            group.answered[peer] |= {image.image_hash for image in group.left}

    def _session(self, peer: str) -> NodeSession:
        if peer not in self._sessions:
            session = NodeSession(self.ctx.node(peer), self.halt)
            self._sessions[peer] = self._stack.enter_context(session)
        return self._sessions[peer]


def sizes(node: NodeSession, country: str, images: Sequence[Row]) -> dict[str, int]:
    """Return the bytes of what a node has of some images, by path below a root."""
    paths = [path.removeprefix(f"{country}/") for image in images for path in thumb_paths(image)]
    return {f"{country}/{entry.path}": entry.size for entry in node.stat(country, paths)}


def is_among(there: Mapping[str, int], image: Row) -> bool:
    """Say whether all files of an image are there, by name and size."""
    return all(there.get(str(thumb["path"])) == int(thumb["bytes"]) for thumb in image.thumbs or ()) and bool(
        image.thumbs
    )


def discard(group: Sourced) -> None:
    """Remove what a group has taken from peers."""
    shutil.rmtree(group.folder, ignore_errors=True)


def _intact(root: Path, image: Row) -> bool:
    """Say whether all files of an image lie below ``root`` with the checksums kept from thumbnailing."""
    base = str(root)
    for thumb in image.thumbs or ():
        if _sha1(f"{base}/{thumb['path']}", int(thumb["bytes"])) != thumb["sha1"]:
            return False
    return bool(image.thumbs)


def _sha1(path: str, size: int) -> str:
    """Return the SHA-1 of a file of so many bytes; "" if it is not there or of another size."""
    try:  # not by pathlib and a buffered file: read for each of millions, these cost more than the hash
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        data = os.read(descriptor, size + 1)
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return hashlib.sha1(data, usedforsecurity=False).hexdigest() if len(data) == size else ""
