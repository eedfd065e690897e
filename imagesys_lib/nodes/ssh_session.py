"""One verified ssh connection to a node, over which commands and rsync run.

rsync talks to a daemon of its own at the other end, which knows nothing but thumbnails (``verb_rsync`` of the script).
Temporary files lie in ``<root>/.imagesys/tmp``, on the same file system, so that every rename is atomic and leftovers
are in one place.
"""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar
from uuid import uuid4

from imagesys_lib.nodes.answers import Answer, question
from imagesys_lib.nodes.commands import (
    Entry,
    Space,
    as_list,
    parse_identity,
    parse_space,
    parse_stat,
    parse_sums,
    parse_version,
    rsync_program,
)
from imagesys_lib.nodes.faults import Garbled, NodeFault, node_fault
from imagesys_lib.nodes.node import Node
from imagesys_lib.nodes.ssh_folder import SessionFolder
from imagesys_lib.nodes.subprocesses import Ended, Silent, run, running

log = logging.getLogger(__name__)
T = TypeVar("T")

_PATIENCE = 5  # times `transfer.io_timeout`: a busy disk may think for longer than a network
_FEW_INODES = 100
_GOODBYE = 10.0  # seconds that the end of a connection may take


class NodeSession:
    """One ssh connection to a node, shared by every command and transfer of a stage.

    Raises NodeFault on entry if the node cannot be reached or its host key is not the known one, and Stopped soon
    after ``stop`` is set.
    """

    def __init__(self, node: Node, stop: threading.Event | None = None) -> None:
        self.node = node
        self._stop = stop
        self._folder = SessionFolder()
        self._config = self._folder.path / "config"

    def __enter__(self) -> NodeSession:
        try:
            self._write_config()
            # `-f` leaves a master behind that the other commands share; it ends with this session, or by itself.
            master = ["ssh", "-F", str(self._config), "-M", "-N", "-f", self.node.name]
            self._call(master, patience=self._patience, detached=True)
        except BaseException:
            self._folder.remove()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        goodbye = ["ssh", "-F", str(self._config), "-O", "exit", self.node.name]
        try:
            subprocess.run(goodbye, capture_output=True, check=False, timeout=_GOODBYE)
        except subprocess.TimeoutExpired:
            log.warning("%s: its connection does not close within %g s and is left", self.node.name, _GOODBYE)
        finally:
            self._folder.remove()

    def _write_config(self) -> None:
        node, folder = self.node, self._folder.path
        key_file = node.key_file
        if node.private_key:
            key = folder / "key"
            key.touch(mode=0o600)
            key.write_text(node.private_key.rstrip() + "\n", encoding="utf-8")
            key_file = str(key)
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(f"{node.name} {node.host_key}\n", encoding="utf-8")
        options = {
            "HostName": node.host,
            "Port": node.port,
            "User": node.login,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f'"{known_hosts}"',
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": node.name,
            "ConnectTimeout": round(node.transfer.connect_timeout),
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 4,
            "ControlPath": f'"{folder}/c"',
            "ControlPersist": "60",
            "LogLevel": "ERROR",
        }
        if not node.login:
            del options["User"]
        if key_file:
            options["IdentityFile"] = f'"{key_file}"'
        body = "".join(f"  {key} {value}\n" for key, value in options.items())
        self._config.write_text(f"Host {node.name}\n{body}", encoding="utf-8")

    def _run(
        self, command: list[str], *, data: bytes = b"", patience: float | None = None, detached: bool = False
    ) -> Ended:
        """Run one command. Raises NodeFault if it is silent for ``patience`` seconds, or talks for ever."""
        try:
            return run(command, data=data, stop=self._stop, patience=patience, detached=detached)
        except Silent as silent:
            raise NodeFault(self.node.name, "timeout", str(silent)) from None
        except Garbled as garbled:
            raise NodeFault(self.node.name, "shell_output", str(garbled)) from None

    def _call(self, command: list[str], **options: Any) -> None:
        """Run one command, whose output is of no interest. Raises NodeFault if it fails, too."""
        ended = self._run(command, **options)
        if ended.returncode != 0:
            raise node_fault(self.node.name, ended.returncode, ended.messages)

    @property
    def _patience(self) -> float:
        return _PATIENCE * self.node.transfer.io_timeout

    def _ssh(self, line: str) -> list[str]:
        return ["ssh", "-F", str(self._config), self.node.name, line]

    def _ask(self, parse: Callable[[str], T], verb: str, *arguments: str, data: bytes = b"") -> T:
        """Have the node do what a verb says, and return its answer as ``parse`` reads it. Raises NodeFault."""
        asked, name = question(self.node.root, verb, *arguments), self.node.name
        ended = self._run(self._ssh(asked.line), data=asked.list(data), patience=self._patience)
        return asked.read(name, parse, ended.output, ended.returncode, ended.messages)

    def version(self) -> str:
        """Return the name and version of the script that answers: of a forced command the one installed there."""
        return self._ask(parse_version, "version")

    def clock(self) -> float:
        """Return the node's time, in seconds since 1970."""
        return self._ask(float, "clock")

    def prepare(self) -> Space:
        """Make the node's own folders, sweep old leftovers and return what is free."""
        return self._ask(parse_space, "prepare")

    def space(self) -> Space:
        """Return what is free on the node's disk."""
        return self._ask(parse_space, "space")

    def set_behind(self, country: str, behind: bool) -> None:
        """Note that a country's files are behind here, or are no more.

        ``.imagesys/ready``, which a load balancer can look at, is there while none is.
        """
        self._ask(str, "behind", country, "yes" if behind else "no")

    def marks(self) -> list[str]:
        """Return the countries that the node has noted as behind."""
        return sorted(self._ask(str.splitlines, "behind"))

    def identity(self, *, make: bool = False) -> str:
        """Return the UUID of the node's disk, "" if it has none; ``make`` gives it one then."""
        return self._ask(parse_identity, "identity", *([str(uuid4())] if make else []))

    def push(self, source: Path, paths: Sequence[str]) -> None:
        """Copy the listed files from below ``source`` to below the root, each by an atomic rename."""
        # Only what must change is listed: to compare sizes and times first could skip a remade file of equal size.
        options = ["--temp-dir=.imagesys/tmp", "--chmod=D755,F644", "--ignore-times"]
        try:
            self._rsync(
                [f"{source}/", f"{self.node.name}::imagesys/"], paths, options, self.node.transfer.bandwidth_kbps
            )
        except NodeFault as fault:
            raise self._which_is_full(fault) from None

    def pull(self, paths: Sequence[str], target: Path, *, kbps: int | None = None) -> None:
        """Copy the listed files from the node to below ``target``; those the node lacks are left out."""
        limit = self.node.transfer.bandwidth_kbps if kbps is None else kbps
        self._rsync([f"{self.node.name}::imagesys/", f"{target}/"], paths, ["--ignore-missing-args"], limit)

    def _which_is_full(self, fault: NodeFault) -> NodeFault:
        """Distinguish a disk without inodes from one without space: the system has one message for both."""
        if fault.reason != "disk_full":
            return fault
        if (space := self.space()).free_inodes < _FEW_INODES:
            return NodeFault(self.node.name, "inodes_full", f"{space.free_inodes} inodes free: {fault.detail}")
        return fault

    def _rsync(self, ends: list[str], paths: Sequence[str], options: list[str], kbps: int) -> None:
        if not paths:
            return
        call = [*_quietly(), "rsync", "--times", "--whole-file", "--from0", "--files-from=-"]
        call += [f"--timeout={round(self.node.transfer.io_timeout)}", f"--bwlimit={kbps}"]
        call += [f"--rsh=ssh -F {self._config}", f"--rsync-path={rsync_program(self.node.root)}"]
        # Each name is ended: of one that is not, rsync 3.5 forgets that it has asked for it.
        self._call([*call, *options, *ends], data="".join(f"{path}\0" for path in paths).encode())

    def delete(self, paths: Sequence[str]) -> None:
        """Delete the listed thumbnails below the root; those that are gone already are no fault."""
        parted = [path.rsplit("/", 4) for path in sorted(paths)]  # a thumbnail's own path has four parts
        for country, group in groupby(parted, key=lambda parts: parts[0]):
            self._ask(str, "delete", country, data=as_list("/".join(parts[1:]) for parts in group))

    def stat(self, country: str, paths: Iterable[str]) -> list[Entry]:
        """Return those of the listed thumbnails that are there, in path order; files alone."""
        return [entry for entry in self.entries(country, paths) if entry.is_file]

    def entries(self, country: str, paths: Iterable[str]) -> list[Entry]:
        """Return whatever is there of the listed names, in path order."""
        listed = as_list(paths)
        found = self._ask(parse_stat, "stat", country, data=listed) if listed else []
        return sorted(found, key=lambda entry: entry.path)

    def sums(self, country: str, paths: Iterable[str]) -> dict[str, str]:
        """Return the SHA-1 of those of the listed thumbnails that are there, in hex."""
        listed = as_list(paths)
        return self._ask(parse_sums, "sums", country, data=listed) if listed else {}

    @contextmanager
    def listing(self, country: str, prefix: str = "") -> Iterator[IO[bytes]]:
        """Give the stream of every file below ``<root>/<country>``: path, tab, bytes, zero byte, in byte order.

        Of what has a thumbnail's name and is no file it has the letter that `find` has for its type.

        ``prefix`` narrows it to a folder, such as ``a/0``; paths stay relative to the country. Raises NodeFault at the
        end of the block if the node failed on the way: what was read until then is not all; and where the block raises
        Garbled. Nothing comes before all files are found and sorted, but a sign of life for every folder does.
        """
        asked, name = question(self.node.root, "list", country, *([prefix] if prefix else [])), self.node.name
        try:
            with running(self._ssh(asked.line), stop=self._stop, patience=self._patience) as command:
                answer = Answer(command.output(), asked.token)
                stream = io.BufferedReader(answer)
                yield stream
                if stream.read(1):
                    command.kill()  # the reader wanted no more
                else:
                    asked.judge(name, answer, *command.end())
        except Silent as silent:
            raise NodeFault(name, "timeout", str(silent)) from None
        except Garbled as garbled:
            raise asked.garbled(name, garbled) from None


@cache
def _quietly() -> list[str]:
    """Return how transfers begin on this side: whatever else the worker does goes first."""
    return ["nice", "-n", "10", *(["ionice", "-c", "3"] if shutil.which("ionice") else [])]
