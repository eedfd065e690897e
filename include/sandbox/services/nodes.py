"""Three frontends on loopback: an sshd each, with a host key, a port and a file tree of its own."""

from __future__ import annotations

import functools
import os
import re
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from include.sandbox.errors import SandboxError
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.services import process
from include.sandbox.services.mariadb import find_program
from include.sandbox.settings import (
    LOOPBACK,
    PROJECT,
    SandboxSettings,
    current_user,
    make_private_directory,
    write_atomically,
)

_PRIVILEGE_SEPARATION_DIRECTORY = Path("/run/sshd")
"""Compiled into Debian's sshd, which refuses to start as root without it; /run is empty after a boot."""

_SESSION_VARIABLE = "IMAGESYS_SANDBOX_NODE"

RESTRICTED = "n2"
"""The node whose key may run the script imagesys-node alone, as docs/nodes.md advises; the others are plain."""


@dataclass(frozen=True)
class Node:
    """One frontend. `root` is the directory that thumbnails go to, `host_key` what a client must verify."""

    settings: SandboxSettings
    name: str

    @property
    def directory(self) -> Path:
        return self.settings.base / "nodes" / self.name

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def port(self) -> int:
        return self.settings.port(self.name)

    @property
    def user(self) -> str:
        return current_user()

    @property
    def client_key(self) -> Path:
        return client_key(self.settings)

    @property
    def host_key(self) -> str:
        """As in known_hosts: `ssh-ed25519 AAAA...`."""
        return " ".join(_make_key(self._host_key_file).with_suffix(".pub").read_text().split()[:2])

    @property
    def _host_key_file(self) -> Path:
        return self.directory / "ssh_host_ed25519_key"

    def start(self) -> bool:
        return process.start(self.settings, self.service())

    def stop(self) -> bool:
        """End the node's sshd and every session of it, so that transfers under way really break."""
        return process.stop(self.settings, self.service())

    def service(self) -> process.Service:
        program = find_program("sshd")
        config = self.directory / "sshd_config"
        return process.Service(
            name=self.name,
            argv=(program, "-D", "-e", "-f", str(config)),
            marker=f"{program} -D -e -f {config}",
            addresses=((LOOPBACK, self.port),),
            healthy=self._answers,
            prepare=self._prepare,
            configuration=self._configuration(),
            session_marker=f"{_SESSION_VARIABLE}={self.root}",
            start_seconds=20.0,
            stop_seconds=10.0,
        )

    def _configuration(self) -> str:
        lines = [
            f"Port {self.port}",
            f"ListenAddress {LOOPBACK}",
            f"HostKey {self._host_key_file}",
            f"PidFile {self.directory / 'sshd.pid'}",
            f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
            f"AllowUsers {self.user}",
            "PermitRootLogin prohibit-password",
            "PubkeyAuthentication yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            # With PAM off sshd turns a locked account away (Ubuntu locks root); with PAM it takes the key.
            f"UsePAM {'yes' if _account_is_locked(self.user) else 'no'}",
            "StrictModes no",  # a checkout may lie in a directory that others may write to
            "UseDNS no",
            # The default of OpenSSH 9, sntrup761, takes a tenth of a second of processor time for each connection.
            "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org",  # the latter for Paramiko
            "PrintMotd no",
            "MaxStartups 100",
            "MaxSessions 50",
            "LogLevel VERBOSE",
            # SHLVL: else bash, for which a command over ssh is a log-in, reads the developer's ~/.bashrc first.
            f"SetEnv {_SESSION_VARIABLE}={self.root} SHLVL=1",
            "Subsystem sftp internal-sftp",
        ]
        if _openssh_version() >= (9, 8):
            lines.append("PerSourcePenalties no")  # all clients are 127.0.0.1; tests provoke failures on purpose
        return "\n".join(lines) + "\n"

    def _prepare(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        _make_key(self._host_key_file)
        write_atomically(self.directory / "authorized_keys", self._authorized_keys(), 0o600)
        write_atomically(self.directory / "sshd_config", self._configuration(), 0o600)
        write_known_hosts(self.settings)
        if os.getuid() == 0:
            _PRIVILEGE_SEPARATION_DIRECTORY.mkdir(mode=0o755, exist_ok=True)

    def _authorized_keys(self) -> str:
        public = self.client_key.with_suffix(".pub").read_text()
        if self.name != RESTRICTED:
            return public
        script = PROJECT / "imagesys_lib" / "nodes" / "frontend" / "imagesys-node"
        command = shlex.join(["sh", str(script), str(self.root)])
        quoted = command.replace('"', '\\"')
        return f'restrict,command="{quoted}" {public}'

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
                return connection.recv(8) == b"SSH-2.0-"
        except OSError:
            return False


@dataclass(frozen=True)
class Nodes:
    settings: SandboxSettings

    def __getitem__(self, name: str) -> Node:
        if name not in NODE_NAMES:
            raise SandboxError(f"there is no node {name!r}: the sandbox has {', '.join(NODE_NAMES)}")
        return Node(self.settings, name)

    def all(self) -> tuple[Node, ...]:
        return tuple(self[name] for name in NODE_NAMES)

    def start_node(self, name: str) -> bool:
        return self[name].start()

    def stop_node(self, name: str) -> bool:
        return self[name].stop()


def client_key(settings: SandboxSettings) -> Path:
    """The private key that opens all three nodes; made at first use."""
    make_private_directory(settings.base / "ssh")
    return _make_key(settings.base / "ssh" / "id_ed25519")


def known_hosts_file(settings: SandboxSettings) -> Path:
    return settings.base / "ssh" / "known_hosts"


def write_known_hosts(settings: SandboxSettings) -> Path:
    make_private_directory(settings.base / "ssh")
    lines = [f"[{LOOPBACK}]:{node.port} {node.host_key}" for node in Nodes(settings).all()]
    write_atomically(known_hosts_file(settings), "\n".join(lines) + "\n")
    return known_hosts_file(settings)


def _make_key(path: Path) -> Path:
    """Make an ed25519 key pair once; under a lock and by rename, so that no half of a pair is ever seen."""
    public = path.with_suffix(".pub")
    if path.exists() and public.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with process.file_lock(path.with_name(f".{path.name}.lock")):
        if path.exists() and public.exists():
            return path
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        command = [
            find_program("ssh-keygen"),
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "imagesys-sandbox",
            "-f",
            str(draft),
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if result.returncode != 0:
            raise SandboxError(f"ssh-keygen could not make {path}: {result.stderr.strip()}")
        draft.with_suffix(".new.pub").replace(public)
        draft.replace(path)
    return path


def _account_is_locked(user: str) -> bool:
    try:
        lines = Path("/etc/shadow").read_text().splitlines()
    except OSError:  # not root, or no shadow passwords: sshd cannot tell either
        return False
    return any(line.startswith(f"{user}:!") for line in lines)


@functools.cache  # `ssh -V` is a process of its own
def _openssh_version() -> tuple[int, int]:
    result = subprocess.run([find_program("ssh"), "-V"], capture_output=True, text=True, timeout=10, check=False)
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", result.stderr + result.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
