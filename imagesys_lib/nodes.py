"""Frontend nodes: one verified ssh connection each, over which commands and rsync run.

A node needs sshd, rsync, coreutils and findutils. Temporary files lie in ``<root>/.imagesys/tmp``, on the same file
system, so that every rename is atomic and leftovers are in one place.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from imagesys_lib.config import CountryConfig, Transfer
from imagesys_lib.connections import Connection
from imagesys_lib.errors import EXIT_ENVIRONMENT, EnvironmentFault, ImageSysError, Stopped

_POLL = 0.5  # seconds between looks at `stop` while a command runs


class NodeFault(ImageSysError):
    """A node cannot be worked with now. ``reason`` is stable; the change log is the retry."""

    def __init__(self, node: str, reason: str, detail: str) -> None:
        self.node, self.reason = node, reason
        if reason in _WRONG_SETUP:
            self.exit_code = EXIT_ENVIRONMENT
        super().__init__(f"Node {node}: {reason}: {detail}", remedy=_REMEDIES[reason].format(node=node))


_REMEDIES = {
    "host_key": "its key changed: verify it with the node's administrator, then update host_key of connection {node}.",
    "auth": "install the key of connection {node} in the node's authorized_keys, or correct its login.",
    "inodes_full": "free inodes on {node}, then clear its sync task; it catches up from the change log.",
    "unreachable": "start sshd on {node} or its network, then clear its sync task; the next run does the same.",
    "disk_full": "free space on {node}, then clear its sync task; it catches up from the change log.",
    "timeout": "look at {node}'s load and network, then clear its sync task.",
    "interrupted": "clear the sync task of {node}.",
    "busy": "another run is at {node} and brings it up to date; clear its sync task if that run has failed.",
    "transfer": "read the message above, mend {node}, then clear its sync task.",
}

_WRONG_SETUP = frozenset({"host_key", "auth"})  # no waiting helps: somebody must correct a connection or a node

_MESSAGES = (  # what ssh and rsync say, in lower case; the first match counts
    ("host key verification failed", "host_key"),
    ("remote host identification has changed", "host_key"),
    ("permission denied (publickey", "auth"),
    ("permission denied (password", "auth"),
    ("permission denied (keyboard", "auth"),
    ("too many authentication failures", "auth"),
    ("no space left on device", "disk_full"),
    ("disk quota exceeded", "disk_full"),
    ("connection refused", "unreachable"),
    ("connection timed out", "unreachable"),
    ("no route to host", "unreachable"),
    ("network is unreachable", "unreachable"),
    ("could not resolve hostname", "unreachable"),
    ("connection reset", "unreachable"),
    ("connection closed by", "unreachable"),
    ("kex_exchange_identification", "unreachable"),
    ("timeout in data", "timeout"),
    ("timed out", "timeout"),
)


def classify(returncode: int, stderr: str) -> str:
    """Return the stable reason of a failed ssh or rsync, from its exit code and messages."""
    text = stderr.lower()
    for message, reason in _MESSAGES:
        if message in text:
            return reason
    if returncode in (30, 35):
        return "timeout"
    if returncode in (12, 20, 255) or returncode < 0:
        return "interrupted"
    return "transfer"


@dataclass(frozen=True)
class Node:
    """Where a node is and how it is reached; taken from one ssh connection."""

    name: str
    host: str
    port: int
    login: str
    root: Path
    host_key: str
    transfer: Transfer
    key_file: str = ""
    private_key: str = field(default="", repr=False)


def node_from_connection(connection: Connection, config: CountryConfig) -> Node:
    """Read a node from its ssh connection. Raises EnvironmentFault where it has no host key to verify."""
    extra = connection.extra
    host_key = str(extra.get("host_key") or "").strip()
    if host_key and not host_key.startswith(("ssh-", "ecdsa-", "sk-")):
        host_key = f"ssh-rsa {host_key}"  # the SSH provider's reading of a bare key
    if not host_key:
        raise EnvironmentFault(
            f"Connection {connection.conn_id!r} has no host_key extra; an unverified host is never written to.",
            remedy=f"run `ssh-keyscan -t ed25519 {connection.host}` on a trusted network and store the key there.",
        )
    return Node(
        name=connection.conn_id,
        host=connection.host,
        port=connection.port or 22,
        login=connection.login,
        root=Path(str(extra.get("root") or config.node_root)),
        host_key=host_key,
        transfer=config.transfer,
        key_file=str(extra.get("key_file") or ""),
        private_key=str(extra.get("private_key") or ""),
    )


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


class NodeSession:
    """One ssh connection to a node, shared by every command and transfer of a stage.

    Raises NodeFault on entry if the node cannot be reached or its host key is not the known one, and Stopped soon
    after ``stop`` is set.
    """

    def __init__(self, node: Node, stop: threading.Event | None = None) -> None:
        self.node = node
        self._stop = stop
        self._folder = tempfile.TemporaryDirectory(prefix="imagesys-ssh-")
        self._config = Path(self._folder.name) / "config"

    def __enter__(self) -> NodeSession:
        self._write_config()
        try:
            # `-f` leaves a master behind that the other commands share; it ends with this session, or by itself.
            self._call(["ssh", "-F", str(self._config), "-M", "-N", "-f", self.node.name], detached=True)
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        subprocess.run(
            ["ssh", "-F", str(self._config), "-O", "exit", self.node.name],
            capture_output=True,
            check=False,
            timeout=30,
        )
        self._folder.cleanup()

    def _write_config(self) -> None:
        node, folder = self.node, Path(self._folder.name)
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

    def _fault(self, returncode: int, stderr: str) -> NodeFault:
        lines = [line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith("@")]
        detail = "; ".join(lines[-3:]) or f"exit code {returncode}"
        return NodeFault(self.node.name, classify(returncode, stderr), detail[:500])

    def _call(
        self, command: list[str], *, data: bytes | None = None, ok: tuple[int, ...] = (0,), detached: bool = False
    ) -> bytes:
        """Run one command and return its output.

        A detached child keeps stderr open for ever, so its messages go through a file.
        """
        with tempfile.TemporaryFile() as messages:
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                stdout=subprocess.DEVNULL if detached else subprocess.PIPE,
                stderr=messages,
            ) as process:
                output = self._output(process, data)
            messages.seek(0)
            stderr = messages.read().decode("utf-8", "replace")
        if process.returncode not in ok:
            raise self._fault(process.returncode, stderr)
        return output

    def _output(self, process: subprocess.Popen[bytes], data: bytes | None) -> bytes:
        """Wait for a command, but not longer than until ``stop`` is set: a transfer may take many minutes."""
        while True:
            try:
                return process.communicate(data, timeout=_POLL)[0] or b""
            except subprocess.TimeoutExpired:
                data = None  # communicate goes on where it was
                if self._stop is not None and self._stop.is_set():
                    process.terminate()
                    raise Stopped from None
            except BaseException:
                process.kill()
                raise

    def run(self, command: str, *, data: bytes | None = None) -> str:
        """Run a shell command on the node and return its output. Raises NodeFault if it fails."""
        return self._call(["ssh", "-F", str(self._config), self.node.name, command], data=data).decode(
            "utf-8", "replace"
        )

    def prepare(self) -> Space:
        """Make the node's own folders, sweep old leftovers and return what is free."""
        return parse_space(self.run(prepare_command(self.node.root)))

    def set_ready(self, ready: bool) -> None:
        """Put ``.imagesys/ready`` there or take it away: what a load balancer looks at."""
        flag = shlex.quote(str(self.node.root / ".imagesys" / "ready"))
        self.run(f"touch {flag}" if ready else f"rm -f {flag}")

    def push(self, source: Path, paths: list[str]) -> None:
        """Copy the listed files from below ``source`` to below the root, each by an atomic rename."""
        self._rsync(
            [f"{source}/", f"{self.node.name}:{self.node.root}/"],
            paths,
            ["--temp-dir=.imagesys/tmp", "--chmod=D755,F644", "--ignore-times"],
        )

    def pull(self, paths: list[str], target: Path, *, kbps: int | None = None) -> None:
        """Copy the listed files from the node to below ``target``; those the node lacks are left out.

        At most ``kbps`` KiB/s (0: no limit; None: the node's own limit).
        """
        ends = [f"{self.node.name}:{self.node.root}/", f"{target}/"]
        self._rsync(ends, paths, ["--ignore-missing-args"], kbps)

    def _rsync(self, ends: list[str], paths: list[str], options: list[str], kbps: int | None = None) -> None:
        if not paths:
            return
        transfer = self.node.transfer
        command = [
            *(
                "nice",
                "-n",
                "10",
                "rsync",
                "--times",
                "--whole-file",
                "--protect-args",
                "--from0",
                "--files-from=-",
            ),
            f"--timeout={round(transfer.io_timeout)}",
            f"--bwlimit={transfer.bandwidth_kbps if kbps is None else kbps}",
            f"--rsh=ssh -F {self._config}",
            "--rsync-path=nice -n 10 rsync",
            *options,
            *ends,
        ]
        self._call(command, data="\0".join(paths).encode())

    def delete(self, paths: list[str]) -> None:
        """Delete the listed files below the root; those that are gone already are no fault."""
        if paths:
            root = shlex.quote(str(self.node.root))
            self.run(f"cd {root} && nice -n 10 xargs -0 -r rm -f --", data="\0".join(paths).encode())

    def listing(self, folder: str) -> Iterator[Entry]:
        """Yield every file below ``<root>/<folder>`` in byte order of its path, streaming."""
        root, name = shlex.quote(str(self.node.root)), shlex.quote(folder)
        command = (
            f"cd {root} || exit 1; test -d {name} || exit 0; "
            f"nice -n 10 find {name} -type f -printf '%P\\t%s\\t%T@\\0' | LC_ALL=C nice -n 10 sort -z"
        )
        with (
            tempfile.TemporaryFile() as messages,
            subprocess.Popen(
                ["ssh", "-F", str(self._config), self.node.name, command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=messages,
            ) as process,
        ):
            if process.stdout is None:
                raise RuntimeError("no pipe from ssh")
            yield from _entries(_records(process.stdout))
            returncode = process.wait()
            messages.seek(0)
            if returncode != 0:
                raise self._fault(returncode, messages.read().decode("utf-8", "replace"))


def _records(stream: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream at its zero bytes: a file name may hold any other."""
    rest = b""
    while block := stream.read(64 * 1024):
        *records, rest = (rest + block).split(b"\0")
        yield from records


def _entries(records: Iterable[bytes]) -> Iterator[Entry]:
    for record in records:
        path, size, mtime = record.decode("utf-8", "backslashreplace").rsplit("\t", 2)
        yield Entry(path, int(size), float(mtime))


def prepare_command(root: Path) -> str:
    """Return the command that readies a node: folders made, leftovers over an hour old swept, space told."""
    quoted, temp = shlex.quote(str(root)), shlex.quote(str(root / ".imagesys" / "tmp"))
    return (
        f"mkdir -p {temp} && find {temp} -type f -mmin +60 -delete && "
        f"df -Pk {quoted} | tail -n 1 && df -Pi {quoted} | tail -n 1"
    )


def parse_space(output: str) -> Space:
    """Read the two ``df`` lines of :func:`prepare_command`."""
    lines = [line.split() for line in output.strip().splitlines() if line.strip()]
    kilobytes, inodes = lines[-2][3], lines[-1][3]
    # Some file systems (btrfs, overlays) count no inodes and say 0 or "-": they never run out of them.
    return Space(int(kilobytes) * 1024, int(inodes) if inodes.isdigit() and lines[-1][1] != "0" else 2**62)
