"""The commands that a node is given: the verbs of the script ``imagesys-node``, which lies beside this file.

Each goes as the script's own functions with what is wanted behind them. A plain account runs the functions, in a shell
of their own: whatever its login shell is, and has set. A key with the script as its forced command looks at what is
wanted alone. So there is one way to ask, and nothing has to be installed on a node.
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

SCRIPT = Path(__file__).with_name("frontend") / "imagesys-node"
_FUNCTION = re.compile(r"^(\w+)\(\) \{$.*?^\}$", re.MULTILINE | re.DOTALL)
_SETTINGS = "LC_ALL=C; export LC_ALL; unset CDPATH; umask 022"
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
    return _sent(root, f'{_functions("framed", f"verb_{verb}")}\n"$@"', "framed", token, verb, *arguments)


@cache
def script_version() -> str:
    """Return what the script says of itself."""
    found = _VERSION.search(SCRIPT.read_text(encoding="utf-8"))
    assert found is not None
    return found[0]


def rsync_program(root: Path) -> str:
    """Return what to give as ``--rsync-path``: rsync puts its arguments behind it."""
    return _sent(root, f'{_functions("verb_rsync")}\nshift; verb_rsync "$@"', "rsync")


def _sent(root: Path, text: str, *arguments: str) -> str:
    """Return the command line that runs a text, with ``root`` set, in a shell of its own."""
    return shlex.join(["sh", "-c", f"{_SETTINGS}; root={shlex.quote(str(root))}\n{text}", "imagesys-node", *arguments])


@cache
def _functions(*wanted: str) -> str:
    """Return some functions, and those that they need, in the script's order."""
    texts = {match[1]: match[0] for match in _FUNCTION.finditer(SCRIPT.read_text(encoding="utf-8"))}
    needed: set[str] = set()
    ahead = [*wanted]
    while ahead:
        name = ahead.pop()
        needed.add(name)
        ahead += [other for other in texts if other not in needed and re.search(rf"\b{other}\b", texts[name])]
    return "\n".join(text for name, text in texts.items() if name in needed)


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


def parse_known(output: str) -> bool:
    """Read the word that is the answer to `known`."""
    return {"yes\n": True, "no\n": False}[output]


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
