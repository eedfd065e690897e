"""Where contenders write: in memory where there is room, or the file system would be what is measured."""

from __future__ import annotations

import shutil
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108


def scratch(name: str, otherwise: Path, gigabytes: int = 4) -> Path:
    """Return the folder of this name in memory, or ``otherwise`` where memory has not so much free."""
    is_roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > gigabytes * 1024**3
    return _MEMORY / f"imagesys-{name}" if is_roomy else otherwise


def is_in_memory(folder: Path) -> bool:
    """Say whether a folder is one in memory."""
    return _MEMORY in folder.parents
