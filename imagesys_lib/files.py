"""Files that appear whole or not at all: a temporary name beside the target, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from imagesys_lib.errors import DiskFull

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open ``path`` for writing; it appears, complete and on disk, only when the block ends without an error.

    Parents are made. Until then the bytes lie in ``.<name>.<random>.tmp`` in the same directory (a rename is
    atomic only within a file system), and after an error nothing is left. Mode bits follow the umask, as web
    servers read these files. The directory is not synced: after a power cut a missing file is made again.

    Raises DiskFull when the disk or quota is full; any other OSError passes through.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        # Closing flushes the buffer and may itself fail on a full disk, so the file goes only afterwards.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DiskFull(
                f"No space left to write {path}.",
                remedy=f"free space or inodes on the file system of {path.parent}, then clear the task.",
            ) from error
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all. Raises as :func:`atomic_writer` does."""
    with atomic_writer(path) as file:
        file.write(data)
