"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from imagesys_lib.errors import DiskFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MODE = 0o666


class AtomicFile:
    """A file that appears at ``path``, complete, only when :meth:`commit` is called.

    Parents are made. Until then the bytes lie in ``.<name>.<random>.tmp`` in the same directory (a rename is
    atomic only within a file system), and after an error or :meth:`discard` nothing is left. The bits of ``mode``
    follow the umask, as web servers read these files. With ``sync`` the bytes are on disk before the name is; leave it
    out only for what is verified before it is used. The directory is not synced: after a power cut a missing file is
    made again.

    Every method raises DiskFull when the disk or quota is full; any other OSError passes through.
    """

    def __init__(self, path: Path, *, sync: bool = True, mode: int = _MODE) -> None:
        self._path, self._sync, self._mode = path, sync, mode
        # Text and not Paths, here and below: made for every image, they are not free.
        folder, name = os.path.split(path)
        self._temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.tmp")  # noqa: PTH118
        self._descriptor: int | None = None
        with self._nothing_left():
            self._create()

    def write(self, data: bytes) -> None:
        """Append ``data`` to the file that is being written."""
        rest = memoryview(data)
        with self._nothing_left():
            while rest:
                rest = rest[os.write(self._open, rest) :]

    def commit(self) -> None:
        """Make the file appear under its name; nothing can be written to it afterwards."""
        with self._nothing_left():
            if self._sync:
                os.fsync(self._open)
            os.replace(self._temporary, self._path)  # noqa: PTH105
            self._temporary = ""
            self.discard()

    def discard(self) -> None:
        """Leave nothing. Harmless after a commit, an error or an earlier discard."""
        descriptor, self._descriptor = self._descriptor, None
        temporary, self._temporary = self._temporary, ""
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108

    def _create(self) -> None:
        try:
            self._descriptor = _new_file(self._temporary, self._mode)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _new_file(self._temporary, self._mode)

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"the file for {self._path} is closed")
        return self._descriptor

    @contextlib.contextmanager
    def _nothing_left(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError) and error.errno in _FULL:
                raise _disk_full(self._path) from error
            raise


def _disk_full(path: Path) -> DiskFull:
    return DiskFull(
        f"No space left to write {path}.",
        remedy=f"free space or inodes on the file system of {path.parent}, then clear the task.",
    )


def _new_file(path: str, mode: int) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)


@contextlib.contextmanager
def atomic_writer(path: Path, *, sync: bool = True, mode: int = _MODE) -> Iterator[AtomicFile]:
    """Open ``path`` for writing; it appears only when the block ends without an error. See :class:`AtomicFile`."""
    file = AtomicFile(path, sync=sync, mode=mode)
    try:
        yield file
    except BaseException:
        file.discard()
        raise
    file.commit()


def write_atomically(path: Path, data: bytes, *, sync: bool = True, mode: int = _MODE) -> None:
    """Write ``data`` to ``path`` whole or not at all. Raises as :class:`AtomicFile` does."""
    with atomic_writer(path, sync=sync, mode=mode) as file:
        file.write(data)


def link_atomically(have: Path, path: Path) -> None:
    """Make ``path`` a second name of the file ``have``, in the place of whatever it was.

    Raises FileNotFoundError if ``have`` is not there; DiskFull or another OSError as :class:`AtomicFile` does.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.hardlink_to(have)
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)  # also where both names were one file already: then replace does nothing
