"""The sandbox as a whole: start it, stop it, ask how it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from include.sandbox.environment import config_path, due_day, environment, write_config
from include.sandbox.errors import SandboxError
from include.sandbox.feed.etl import Etl
from include.sandbox.feed.manifest import Manifest
from include.sandbox.nodes_and_ports import NODE_NAMES
from include.sandbox.services import process
from include.sandbox.services.airflow import AirflowServices
from include.sandbox.services.mail import Mail
from include.sandbox.services.mariadb import MariaDb
from include.sandbox.services.nodes import Nodes
from include.sandbox.services.web import EXAMPLE, NODE_SERVERS, Web
from include.sandbox.services.website import Website
from include.sandbox.settings import COUNTRIES, SandboxSettings, make_private_directory

SERVICES = ("mariadb", *NODE_NAMES, "website", "mail")
EXAMPLE_SERVICES = (*NODE_SERVERS, EXAMPLE)
"""What the example website takes beside them; started by name alone."""


class ServiceStatus(NamedTuple):
    service: str
    running: bool
    detail: str


def _say_nothing(_line: str) -> None:
    """The progress of a caller who does not ask for it."""


@dataclass(frozen=True)
class Sandbox:
    """All services of one `SandboxSettings`. Any method may be called at any time, by several processes."""

    settings: SandboxSettings

    @property
    def mariadb(self) -> MariaDb:
        return MariaDb(self.settings)

    @property
    def nodes(self) -> Nodes:
        return Nodes(self.settings)

    @property
    def website(self) -> Website:
        return Website(self.settings)

    @property
    def mail(self) -> Mail:
        return Mail(self.settings)

    @property
    def web(self) -> Web:
        """The example website, and what serves the nodes' files to it."""
        return Web(self.settings)

    @property
    def etl(self) -> Etl:
        return Etl(self.settings)

    @property
    def manifest(self) -> Manifest:
        return Manifest(self.settings)

    @property
    def airflow(self) -> AirflowServices:
        """Airflow with the sandbox's own configuration; started and stopped by itself."""
        return AirflowServices(self.settings, config=config_path(self.settings))

    def environment(self) -> dict[str, str]:
        return environment(self.settings)

    def start(
        self,
        images: int = 0,
        *,
        country: str = "uk",
        time_zone: str = "Europe/London",
        last_day: date | None = None,
        past_days: Sequence[date] = (),
        services: Iterable[str] = SERVICES,
        progress: Callable[[int, int], None] | None = None,
        say: Callable[[str], None] = _say_nothing,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Bring the services up, then seed `country` with `images` photos (0: leave its table as it is).

        `last_day` is the last day whose run is due in `time_zone` where it is not given. `say` gets a line for each
        service started. `config` overrides the defaults of the sandbox's countries.yaml.
        """
        make_private_directory(self.settings.base)
        self.settings.record()
        write_config(self.settings, config)
        wanted = set(services)
        if process.running_pid(self.settings, EXAMPLE):
            wanted |= _with_web_servers(wanted)
        for name in _known(wanted):
            if self._start(name):
                say(f"started {name} on port {self.settings.port(name)}")
        if "mariadb" in services:
            for one in COUNTRIES:
                self.etl.create_table(one)
        if images:
            day = last_day or due_day(time_zone)
            self.etl.seed(
                country,
                images=images,
                last_day=day,
                time_zone=time_zone,
                past_days=past_days,
                progress=progress,
            )

    def stop(
        self, services: Iterable[str] = (*SERVICES, *EXAMPLE_SERVICES), say: Callable[[str], None] = _say_nothing
    ) -> None:
        """End the named services (all, if none is named), and nothing else; a node with its web server."""
        for name in reversed(_known(_with_web_servers(set(services)))):
            if process.stop(self.settings, self._service(name)):
                say(f"stopped {name}")

    def status(self) -> list[ServiceStatus]:
        rows = []
        example = EXAMPLE_SERVICES if process.running_pid(self.settings, EXAMPLE) else ()
        for name in (*SERVICES, *example):
            pid = process.running_pid(self.settings, name)
            if pid is None:
                rows.append(ServiceStatus(name, False, "stopped"))
                continue
            healthy = self._service(name).healthy()
            detail = f"pid {pid}, port {self.settings.port(name)}" + ("" if healthy else ", does not answer")
            rows.append(ServiceStatus(name, healthy, detail))
        return rows

    def _start(self, name: str) -> bool:
        if name in NODE_NAMES:
            return self.nodes[name].start()
        if name in EXAMPLE_SERVICES:
            return process.start(self.settings, self.web.service(name))
        return {"mariadb": self.mariadb.start, "website": self.website.start, "mail": self.mail.start}[name]()

    def _service(self, name: str) -> process.Service:
        if name in NODE_NAMES:
            return self.nodes[name].service()
        if name in EXAMPLE_SERVICES:
            return self.web.service(name)
        return {"mariadb": self.mariadb.service, "website": self.website.service, "mail": self.mail.service}[name]()


def _with_web_servers(names: set[str]) -> set[str]:
    return names | {server for server in NODE_SERVERS if server.removesuffix("_web") in names}


def _known(names: Iterable[str]) -> list[str]:
    wanted, there = list(names), (*SERVICES, *EXAMPLE_SERVICES)
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise SandboxError(f"no such service: {', '.join(unknown)}. The sandbox has {', '.join(SERVICES)}")
    return [name for name in there if name in wanted]
