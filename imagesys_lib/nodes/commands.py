"""The commands that a node is given: the verbs of the script ``imagesys-node``, which lies beside this file.

Each goes as the script's own text with what is wanted behind it. A plain account runs the text, in a shell of its own:
whatever its login shell is, and has set. A key with the script as its forced command looks at what is wanted alone. So
there is one way to ask, and nothing has to be installed on a node.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG
from uuid import UUID

from imagesys_lib.images.hash_and_path import parse_thumbnail_path

SCRIPT = Path(__file__).with_name("frontend") / "imagesys-node"
_COMMENT = re.compile(r"^ *#.*\n", re.MULTILINE)
_MAIN = 'main "$@"\n'
_SUM = re.compile(r"([0-9a-f]{40})  (.+)")
_VERSION = re.compile(r"imagesys-node \d+")
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class Entry:
    """One file on a node, below ``<root>/<country>``. Size in bytes, mtime in seconds since 1970.

    ``is_file``: not something else (a folder, a link, a pipe) of a file's name.
    """

    path: str
    size: int
    mtime: float
    is_file: bool = True


@dataclass(frozen=True)
class Space:
    """What is free on a node's file system."""

    free_bytes: int
    free_inodes: int


def command(root: Path, verb: str, *arguments: str, token: str) -> str:
    """Return the command line by which the node at ``root`` does what ``verb`` of the script says, framed."""
    return _sent(root, "framed", token, verb, *arguments)


@cache
def script_version() -> str:
    """Return what the script says of itself."""
    found = _VERSION.search(SCRIPT.read_text(encoding="utf-8"))
    assert found is not None
    return found[0]


def rsync_program(root: Path) -> str:
    """Return what to give as ``--rsync-path``: rsync puts its arguments behind it."""
    return _sent(root, "rsync")


@cache
def _text() -> str:
    """Return the script without its comments and without its last line, which is for a forced command."""
    return _COMMENT.sub("", SCRIPT.read_text(encoding="utf-8")).removesuffix(_MAIN)


def _sent(root: Path, *arguments: str) -> str:
    """Return the command line that runs the script, with ``root`` set, in a shell of its own."""
    text = f'{_text()}root={shlex.quote(str(root))}\nserve "$@"'
    return shlex.join(["sh", "-c", text, "imagesys-node", *arguments])


def parse_space(output: str) -> Space:
    """Read the two lines of ``df`` that are the answer to `space` and `prepare`."""
    bytes_line, inodes_line = (line.split() for line in output.splitlines())
    kilobytes, inodes = bytes_line[3], inodes_line[3]
    # Some file systems (btrfs, overlays) count no inodes and say 0 or "-": they never run out of them.
    counted = inodes.isdigit() and inodes_line[1] != "0"
    return Space(int(kilobytes) * 1024, int(inodes) if counted else _NO_LIMIT)


def parse_stat(output: str) -> list[Entry]:
    """Read the lines of `stat`."""
    found = [line.rsplit("\t", 3) for line in output.splitlines()]
    return [Entry(path, int(size), float(mtime), S_ISREG(int(mode, 16))) for path, size, mtime, mode in found]


def parse_sums(output: str) -> dict[str, str]:
    """Read the lines of `sums`: path to SHA-1 in hex."""
    found = [_SUM.fullmatch(line) for line in output.splitlines()]
    if None in found:
        raise ValueError("no checksum and path")
    return {match[2]: match[1] for match in found if match}


def parse_identity(output: str) -> str:
    """Read the answer to `identity`: a UUID, or nothing."""
    return str(UUID(output.strip())) if output else ""


def parse_version(output: str) -> str:
    """Read the line that is the answer to `version`."""
    if not _VERSION.fullmatch(output.strip()):
        raise ValueError("no name and version")
    return output.strip()


def as_list(paths: Iterable[str]) -> bytes:
    """Return thumbnails' paths, below ``<root>/<country>``, as a verb reads them. Raises ValueError at any other."""
    lines = []
    for path in paths:
        if parse_thumbnail_path(path) is None:
            raise ValueError(f"no path of a thumbnail: {path!r}")
        lines.append(f"{path}\n")
    return "".join(lines).encode()
