"""What the example website runs on: its own server, and on each node one for the files below its root."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import requests

from include.sandbox.environment import environment
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.services import process
from include.sandbox.services.airflow_api import direct_session
from include.sandbox.services.nodes import Nodes
from include.sandbox.settings import LOOPBACK, PROJECT, SandboxSettings

NODE_SERVERS = tuple(f"{name}_web" for name in NODE_NAMES)
EXAMPLE = "example"
COUNTRY = "uk"


@dataclass(frozen=True)
class Web:
    settings: SandboxSettings

    @property
    def url(self) -> str:
        """The example website."""
        return f"http://{LOOPBACK}:{self.settings.port(EXAMPLE)}/"

    def service(self, name: str) -> process.Service:
        return self._example() if name == EXAMPLE else self._of_node(name)

    def _of_node(self, name: str) -> process.Service:
        """Python's own server of files."""
        root = Nodes(self.settings)[name.removesuffix("_web")].root
        port = self.settings.port(name)
        arguments = ("-m", "http.server", "--bind", LOOPBACK, "--directory", str(root), str(port))
        return process.Service(
            name=name,
            argv=(sys.executable, *arguments),
            marker=" ".join(arguments),
            addresses=((LOOPBACK, port),),
            healthy=lambda: _get(f"http://{LOOPBACK}:{port}/") is not None,
            prepare=lambda: root.mkdir(parents=True, exist_ok=True),
            start_seconds=30.0,
            stop_seconds=5.0,
        )

    def _example(self) -> process.Service:
        base, port_base = str(self.settings.base), str(self.settings.port_base)
        arguments = ("-m", "include.sandbox.example.server", base, port_base, COUNTRY)
        return process.Service(
            name=EXAMPLE,
            argv=(sys.executable, *arguments),
            marker=" ".join(arguments),
            addresses=((LOOPBACK, self.settings.port(EXAMPLE)),),
            healthy=lambda: _get(f"{self.url}.health") == base,
            environment={**environment(self.settings), "PYTHONPATH": str(PROJECT)},
            start_seconds=30.0,
            stop_seconds=5.0,
        )


def _get(url: str) -> str | None:
    with direct_session() as session:
        try:
            return str(session.get(url, timeout=5).text)
        except requests.RequestException:
            return None
