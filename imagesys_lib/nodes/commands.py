"""The commands that a node is given: the verbs of the script ``imagesys-node``, which lies beside this file.

Each goes as the script's own functions with a last line that only says what is wanted. A plain account runs the
functions; a key with the script as its forced command looks at the last line alone. So there is one way to ask, and
nothing has to be installed on a node.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from stat import S_ISREG

from imagesys_lib.hashing import parse_thumbnail_path

SCRIPT = Path(__file__).with_name("imagesys-node")
_FUNCTION = re.compile(r"^(\w+)\(\) \{$.*?^\}$", re.MULTILINE | re.DOTALL)
_SETTINGS = "LC_ALL=C; export LC_ALL; umask 022"
_NO_LIMIT = 2**62


@dataclass(frozen=True)
class Entry:
    """One file on a node, below ``<root>/<country>``. Size in bytes, mtime in seconds since 1970."""

    path: str
    size: int
    mtime: float


@dataclass(frozen=True)
class Space:
    """What is free on a node's file system."""

    free_bytes: int
    free_inodes: int


def command(root: Path, verb: str, *arguments: str) -> str:
    """Return the command line by which the node at ``root`` does what ``verb`` of the script says."""
    wanted = shlex.join([verb, *arguments])
    return f"{_SETTINGS}; root={shlex.quote(str(root))}\n{_functions(verb)}\nverb_{wanted} # imagesys-node {wanted}"


@cache
def script_version() -> str:
    """Return what the script says of itself."""
    found = re.search(r"imagesys-node \d+", SCRIPT.read_text(encoding="utf-8"))
    assert found is not None
    return found[0]


def rsync_program(root: Path) -> str:
    """Return what to give as ``--rsync-path``: rsync puts its arguments behind it."""
    text = f'{_SETTINGS}; root={shlex.quote(str(root))}\n{_functions("rsync")}\nshift; verb_rsync "$@"'
    return f"sh -c {shlex.quote(text)} imagesys-node rsync"


@cache
def _functions(verb: str) -> str:
    """Return the functions that a verb needs, in the script's order."""
    texts = {match[1]: match[0] for match in _FUNCTION.finditer(SCRIPT.read_text(encoding="utf-8"))}
    needed: set[str] = set()
    ahead = [f"verb_{verb}"]
    while ahead:
        name = ahead.pop()
        needed.add(name)
        ahead += [other for other in texts if other not in needed and re.search(rf"\b{other}\b", texts[name])]
    return "\n".join(text for name, text in texts.items() if name in needed)


def parse_space(output: str) -> Space:
    """Read the two lines of ``df`` that `space` and `prepare` end with."""
    lines = [line.split() for line in output.strip().splitlines() if line.strip()]
    kilobytes, inodes = lines[-2][3], lines[-1][3]
    # Some file systems (btrfs, overlays) count no inodes and say 0 or "-": they never run out of them.
    counted = inodes.isdigit() and lines[-1][1] != "0"
    return Space(int(kilobytes) * 1024, int(inodes) if counted else _NO_LIMIT)


def parse_stat(output: str) -> list[Entry]:
    """Read the lines of `stat`: regular files alone, for a directory in a file's place is no file."""
    found = [line.rsplit("\t", 3) for line in output.splitlines()]
    return [Entry(path, int(size), float(mtime)) for path, size, mtime, mode in found if S_ISREG(int(mode, 16))]


def parse_sums(output: str) -> dict[str, str]:
    """Read the lines of `sums`: path to SHA-1 in hex."""
    return {path: digest for digest, _, path in (line.partition("  ") for line in output.splitlines())}


def as_list(paths: Iterable[str]) -> bytes:
    """Return thumbnails' paths, below ``<root>/<country>``, as a verb reads them. Raises ValueError at any other."""
    lines = []
    for path in paths:
        if parse_thumbnail_path(path) is None:
            raise ValueError(f"no path of a thumbnail: {path!r}")
        lines.append(f"{path}\n")
    return "".join(lines).encode()
