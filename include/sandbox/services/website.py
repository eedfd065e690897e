"""The photo web site seen from outside: start it, slow it down, and count what was asked of it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from include.sandbox.feed.manifest import Manifest
from include.sandbox.photos.canary import serve_canary
from include.sandbox.services import process
from include.sandbox.services.airflow_api import direct_session
from include.sandbox.settings import PROJECT, WEB_HOSTS, SandboxSettings, write_atomically


@dataclass(frozen=True)
class Website:
    settings: SandboxSettings

    @property
    def port(self) -> int:
        return self.settings.port("website")

    @property
    def hosts(self) -> tuple[str, ...]:
        return WEB_HOSTS

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.settings)

    @property
    def request_log(self) -> Path:
        """One JSON object a line: time, host, method, path, status, bytes, agent, kind."""
        return self.settings.web_dir / "requests.log"

    def start(self) -> bool:
        """SANDBOX_DELAY_MS in the environment sets the delay of all answers; `set_delay` changes it while it
        runs.
        """
        if "SANDBOX_DELAY_MS" in os.environ:
            self.set_delay(int(os.environ["SANDBOX_DELAY_MS"]))
        return process.start(self.settings, self.service())

    def stop(self) -> bool:
        return process.stop(self.settings, self.service())

    def set_delay(self, milliseconds: int) -> None:
        """Let every answer wait so long, from the next request on; 0 ends it."""
        file, text = self.settings.web_dir / "delay_ms", f"{milliseconds}\n"
        if not (file.exists() and file.read_text() == text):
            write_atomically(file, text)

    def log_offset(self) -> int:
        """Where the request log ends now: give it to `request_counts` to count only what comes after."""
        return self.request_log.stat().st_size if self.request_log.exists() else 0

    def requests(self, since_offset: int | None = None) -> list[dict[str, Any]]:
        """The log's lines as dictionaries, whole lines only."""
        if not self.request_log.exists():
            return []
        with self.request_log.open("rb") as file:
            file.seek(since_offset or 0)
            return [json.loads(line) for line in file if line.endswith(b"\n")]

    def request_counts(self, since_offset: int | None = None) -> Counter[str]:
        """Requests per path (with its query, as the client wrote it)."""
        return Counter(line["path"] for line in self.requests(since_offset))

    def service(self) -> process.Service:
        web_dir = self.settings.web_dir
        return process.Service(
            name="website",
            argv=(
                sys.executable,
                "-m",
                "include.sandbox.services.website_server",
                str(web_dir),
                str(self.port),
                *WEB_HOSTS,
            ),
            marker=f"-m include.sandbox.services.website_server {web_dir} ",
            addresses=tuple((host, self.port) for host in WEB_HOSTS),
            healthy=self._answers,
            prepare=lambda: serve_canary(self.settings),
            environment={"PYTHONPATH": str(PROJECT)},
            start_seconds=30.0,
            stop_seconds=5.0,
        )

    def _answers(self) -> bool:
        """Asks every address, and that it is the server of this directory."""
        with direct_session() as session:
            try:
                answers = [session.get(f"http://{host}:{self.port}/.health", timeout=5).text for host in WEB_HOSTS]
            except requests.RequestException:
                return False
        return all(answer == str(self.settings.web_dir) for answer in answers)
