"""The files of include/system as systemd reads them."""

from __future__ import annotations

import shlex
from configparser import RawConfigParser
from pathlib import Path

SYSTEM = Path(__file__).resolve().parents[2] / "include" / "system"


def unit(name: str) -> RawConfigParser:
    """Read a unit strictly: any line that is not a setting, or stands twice, is an error."""
    parser = RawConfigParser(delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((SYSTEM / name).read_text())
    return parser


def command_of(name: str) -> tuple[list[str], dict[str, str]]:
    """Return a service's command and environment as systemd would run it."""
    service = unit(name)["Service"]
    command = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(service["ExecStart"])]
    return command, dict(pair.split("=", 1) for pair in service["Environment"].split())
