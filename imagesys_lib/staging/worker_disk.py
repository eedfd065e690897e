"""The worker's disk: originals between download and thumbnail, thumbnails until every node has them.

``<root>/originals/<country>/<path>`` holds an original and ``<path>.json`` what the host said of it;
``<root>/out/<country>/<path>.<n>.<suffix>`` holds thumbnails, laid out as on a node.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from imagesys_lib.config import Staging
from imagesys_lib.errors import DiskFull, EnvironmentFault
from imagesys_lib.fetch.http.jobs import Fetched
from imagesys_lib.images.hash_and_path import lis_path_for_hash, thumbnail_path
from imagesys_lib.storage.atomic_files import link_atomically, write_atomically

# What a repair carries: to write each file twice on one disk took as long as all the rest of a refill.
_IN_MEMORY = Path("/dev/shm")  # noqa: S108  # folders of our own in it, which nobody else can read


@dataclass(frozen=True)
class WorkerDisk:
    """Paths of one country below the staging root."""

    settings: Staging
    country: str

    @cached_property
    def out(self) -> Path:
        """The tree that is copied to nodes; its first level is the country."""
        return self.settings.root / "out"

    def original(self, image_hash: str) -> Path:
        """Where an original lies."""
        return Path(f"{self._originals}/{lis_path_for_hash(image_hash)}")  # made several times for every image

    @cached_property
    def _originals(self) -> str:
        return str(self.settings.root / "originals" / self.country)

    def thumbnail(self, image_hash: str, number: int) -> Path:
        """Where a thumbnail lies."""
        return self.out / thumbnail_path(self.country, image_hash, number)

    def note_original(self, image_hash: str, fetched: Fetched) -> None:
        """Write down what the host said, after the original itself: together they make a fetch complete.

        Neither is forced to disk: what a power cut spoils, decoding or the SHA-1 shows.
        """
        target = self.original(image_hash).with_suffix(".json")
        write_atomically(target, json.dumps(asdict(fetched)).encode(), sync=False)

    def fetched(self, image_hash: str, within: float = math.inf) -> Fetched | None:
        """Return a complete earlier fetch of this image, not longer than ``within`` seconds ago, or None."""
        original = self.original(image_hash)
        note = original.with_suffix(".json")
        try:
            fetched = Fetched(**json.loads(note.read_bytes()))
            recent = time.time() - note.stat().st_mtime <= within
            return fetched if recent and original.stat().st_size == fetched.size else None
        except (OSError, ValueError, TypeError):
            return None

    def drop_original(self, image_hash: str) -> None:
        """Remove an original and its note, the note first: alone it must never stand for a fetch."""
        original = self.original(image_hash)
        original.with_suffix(".json").unlink(missing_ok=True)
        original.unlink(missing_ok=True)

    def has(self, path: str, size: int) -> bool:
        """Say whether a thumbnail, given as a path below ``out``, is there with so many bytes."""
        try:
            return (self.out / path).stat().st_size == size
        except FileNotFoundError:
            return False

    def copy_thumbnails(self, thumbs: Iterable[Mapping[str, Any]], image_hash: str) -> list[dict[str, Any]] | None:
        """Give an image the staged thumbnails of another one; returns its own rows, None if they are not intact.

        The files are hard links where the disk has any (left): nothing ever changes a staged file in place.
        """
        rows = []
        for thumb in thumbs:
            have = self.out / str(thumb["path"])
            suffix = str(thumb.get("format", "jpg"))
            path = thumbnail_path(self.country, image_hash, int(thumb["n"]), suffix)
            try:
                data = have.read_bytes()
                if hashlib.sha1(data, usedforsecurity=False).hexdigest() != thumb["sha1"]:
                    return None
            except FileNotFoundError:
                return None
            try:
                link_atomically(have, self.out / path)
            except OSError:  # no share of some kinds has links, and ext4 65,000 a file
                write_atomically(self.out / path, data, sync=False)
            rows.append({**thumb, "path": path})
        return rows or None

    def repair_folder(self, node: str, size: int) -> Path:
        """Make a folder for ``size`` bytes on their way from a peer to ``node``: in memory, if they are few.

        What lies there goes with a crash, and would be fetched again in any case.
        """
        root = self.settings.root
        with contextlib.suppress(OSError):
            room = os.statvfs(_IN_MEMORY)
            few = size <= self.settings.transit_mb << 20 and room.f_bavail * room.f_frsize > 8 * size
            if few and os.access(_IN_MEMORY, os.W_OK):
                root = _IN_MEMORY
        return Path(tempfile.mkdtemp(prefix=self._repairs(node), dir=root))

    def repairs_left(self, node: str) -> list[Path]:
        """Return the folders of repairs of ``node`` that are under way, or were killed."""
        return [path for root in (self.settings.root, _IN_MEMORY) for path in root.glob(f"{self._repairs(node)}*")]

    def sweep_repairs(self, node: str) -> None:
        """Remove what killed repairs of ``node`` have left; only under the node's lock."""
        for folder in self.repairs_left(node):
            shutil.rmtree(folder, ignore_errors=True)

    def _repairs(self, node: str) -> str:
        """Return how their names begin: all programs of the machine share its memory."""
        installation = hashlib.sha1(os.fsencode(self.settings.root.absolute()), usedforsecurity=False).hexdigest()[:16]
        return f"imagesys-repair-{installation}-{self.country}-{node}-"

    def free_bytes(self) -> int:
        """Return the free space of the staging disk."""
        return self._free()[0]

    def free_inodes(self) -> int:
        """Return the free inodes of the staging disk; some file systems count none and never run out of them."""
        return self._free()[1]

    def _free(self) -> tuple[int, int]:
        disk = os.statvfs(self._ensure_root())
        return disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else sys.maxsize

    def under_pressure(self) -> bool:
        """Say whether the disk comes near one of its floors: what is held for nodes that are behind should go."""
        return self._short_of(self.settings.pressure_percent) is not None

    def require_space(self) -> None:
        """Raise DiskFull if the disk has reached a floor; called before work is taken on."""
        if short := self._short_of():
            what, found = short
            raise DiskFull(
                f"Staging {self.settings.root} has {found}.",
                remedy=f"free {what} or bring the lagging node back, then clear this task; nothing is lost.",
            )

    def _short_of(self, percent: int = 100) -> tuple[str, str] | None:
        """Return of what there is less than so many percent of its floor, and how much; None if there is enough."""
        settings, (free, inodes) = self.settings, self._free()
        for what, unit, have, floor in (
            ("space", "MB", free >> 20, settings.min_free_mb),
            ("inodes", "inodes", inodes, settings.min_free_inodes),
        ):
            if have * 100 < floor * percent:
                return what, f"{have} {unit} free, below its floor of {floor} {unit}"
        return None

    def _ensure_root(self) -> Path:
        root = self.settings.root
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"Cannot make the staging directory {root}: {error.strerror}.",
                remedy="create it for this user or set IMAGESYS_STAGING.",
            ) from error
        if not os.access(root, os.W_OK):
            raise EnvironmentFault(f"Staging {root} is not writable.", remedy="give this user the directory.")
        return root
