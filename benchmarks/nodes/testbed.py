"""The testbed of all parts: a sandbox of a database and three nodes, trees that a node can be pointed at, measuring."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.common.processes import machine_seconds, tree_pss, watch
from imagesys_lib.config import Transfer
from include.sandbox import Sandbox, SandboxSettings
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.services.nodes import known_hosts_file
from include.sandbox.settings import LOOPBACK, PROJECT

from . import rows, trees
from .settings import BASE, COUNTRY, PORT_BASE, TREES, Options

_SERVICES = ("mariadb", *NODE_NAMES)
_SAMPLE_SECONDS = 0.2
_BYTES_AN_IMAGE = 4096  # its row with indexes, logs and lists, and its names in three trees
_BYTES_BESIDE = 4 << 30
_INODES = 400_000


class BenchmarkError(Exception):
    """The machine is not fit for the benchmark, or a contender did not do all of its work: its time means nothing."""


@dataclass(frozen=True)
class Figure:
    """One measurement: seconds, processor seconds of its own process and of the whole machine, peak PSS in MB.

    ``machine`` holds what ssh, the node and the database did for it as well; nothing else runs meanwhile.
    """

    wall: float
    cpu: float
    machine: float
    peak_mb: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


class Testbed:
    """Use it in a ``with`` block; what it has made goes at the end unless it is to be kept."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self._sandbox = Sandbox(SandboxSettings(base=BASE / "sandbox", port_base=PORT_BASE))
        self.staging = self._sandbox.settings.base / "staging" / "out"

    def __enter__(self) -> Testbed:
        self._sandbox.stop()  # what a killed benchmark has left
        self._remove()
        try:
            self._require_space()
            self.say("starting MariaDB and three nodes")
            self._sandbox.start(services=_SERVICES, config=_settings())
            self._environment = {**os.environ, **self._sandbox.environment()}
            command = [str(Path(sys.executable).with_name("imagesys")), "db", "upgrade", COUNTRY]
            subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)
            trees.make_masters()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.stop()
        if not self.options.keep:
            self.say("removing the trees and the database")
            self._remove()

    def _remove(self) -> None:
        trees.remove(self._sandbox.settings.base, TREES, BASE / "masters")

    def _require_space(self) -> None:
        BASE.mkdir(parents=True, exist_ok=True)
        needed = _BYTES_BESIDE + self.options.images * _BYTES_AN_IMAGE
        free, inodes = shutil.disk_usage(BASE).free, os.statvfs(BASE).f_favail
        if free < needed or inodes < _INODES:
            has = f"{BASE} has {free >> 30} GB and {inodes} inodes free"
            raise BenchmarkError(f"{has}; {(needed >> 30) + 1} GB and {_INODES} are needed.")

    def connect(self) -> Any:
        """Return a plain connection to the country's schema."""
        return self._sandbox.mariadb.connect("imagesys", f"imagesys_{COUNTRY}")

    def forget(self) -> None:
        """Empty the database and the staging."""
        with self.connect() as connection:
            rows.empty(connection)
        trees.remove(self.staging)
        self.staging.mkdir(parents=True)

    def point(self, tree: Path, *names: str) -> None:
        """Let these nodes have ``tree`` as their root."""
        tree.mkdir(parents=True, exist_ok=True)
        for name in names:
            root = self._sandbox.nodes[name].root
            if root.is_symlink():
                root.unlink()
            else:
                trees.remove(root)
            root.symlink_to(tree)

    def root(self, name: str) -> Path:
        """Return where a node's root is."""
        return self._sandbox.nodes[name].root

    def ssh(self, name: str) -> list[str]:
        """Return the ssh command, without the host, that reaches a node."""
        node = self._sandbox.nodes[name]
        known = known_hosts_file(self._sandbox.settings)
        options = ["IdentitiesOnly=yes", "BatchMode=yes", f"UserKnownHostsFile={known}"]
        return ["ssh", "-i", str(node.client_key), "-p", str(node.port), *(f"-o{option}" for option in options)]

    def host(self, name: str) -> str:
        """Return a node's account and address, as ssh and rsync take them."""
        return f"{self._sandbox.nodes[name].user}@{LOOPBACK}"

    def mariadb_client(self) -> list[str]:
        """Return the command of the database's own client, reading row by row."""
        settings = self._sandbox.settings
        return ["mariadb", "--no-defaults", f"--socket={settings.mariadb_socket}", "--quick", f"imagesys_{COUNTRY}"]

    def work(self, *arguments: str, sample: bool = False) -> Figure:
        """Do something of ImageSys's in a process of its own; ``sample`` its memory, which takes time from it.

        Raises BenchmarkError if it fails.
        """
        report, log = BASE / "log" / "report.json", BASE / "log" / f"{arguments[0]}.log"
        report.parent.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.nodes.worker", str(report), *arguments]
        settle()
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=self._environment, cwd=PROJECT, stdout=file, stderr=file)
        peaks = [0.0]
        watch(process, lambda: peaks.append(tree_pss(process.pid)[0] if sample else 0.0), _SAMPLE_SECONDS)
        if process.returncode:
            raise BenchmarkError(f"{' '.join(arguments)} failed:\n{log.read_text(errors='replace')[-3000:]}")
        return Figure(peak_mb=max(peaks), **json.loads(report.read_text()))


def run(command: Sequence[str] | str) -> Figure:
    """Run somebody else's command, or line of shell, and measure it. Raises BenchmarkError if it fails."""
    argv = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else command
    settle()
    before, used, began = machine_seconds(), _children(), time.perf_counter()
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    figure = Figure(time.perf_counter() - began, _children() - used, machine_seconds() - before)
    if done.returncode:
        raise BenchmarkError(f"{command} ended with {done.returncode}:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return figure


def settle() -> None:
    """Have everything written that was written before, so that nobody pays for another's files."""
    os.sync()


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _settings() -> dict[str, Any]:
    no_limits = {name: 0 for name in Transfer.model_fields if name.endswith("_kbps")}
    return {"transfer": {"connect_timeout": 30, "io_timeout": 600, **no_limits}}
