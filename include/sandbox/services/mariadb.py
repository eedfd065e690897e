"""A private MariaDB: its own data directory, port and socket, and the users and schemas that ImageSys
expects.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import MySQLdb

from include.sandbox.errors import SandboxError
from include.sandbox.services import process
from include.sandbox.settings import COUNTRIES, LOOPBACK, SandboxSettings, current_user, make_private_directory

USERS = {
    "imagesys": (r"`imagesys\_%`.*", "ALL PRIVILEGES"),
    "etl_reader": ("`etl`.*", "SELECT"),
    "sandbox": ("`etl`.*", "ALL PRIVILEGES"),
}
"""User name -> what it may use, and how. The application never owns the ETL's tables: it can only read them.
"""

DATABASES = ("etl", "imagesys_shared", *(f"imagesys_{country}" for country in COUNTRIES))

_CONNECT_SECONDS = 5


@dataclass(frozen=True)
class MariaDb:
    settings: SandboxSettings

    @property
    def data_dir(self) -> Path:
        return self.settings.base / "mariadb" / "data"

    @property
    def temporary_dir(self) -> Path:
        """Its own: a server that starts removes every temporary table it finds there, also another server's."""
        return self.settings.base / "mariadb" / "tmp"

    @property
    def port(self) -> int:
        return self.settings.port("mariadb")

    def start(self) -> bool:
        started = process.start(self.settings, self.service())
        self.ensure_users_and_databases()
        return started

    def stop(self) -> bool:
        return process.stop(self.settings, self.service())

    def connect(self, user: str = "imagesys", database: str = "") -> Any:
        """A new MySQLdb connection (autocommit off) over TCP, as the application makes it."""
        return MySQLdb.connect(
            host=LOOPBACK,
            port=self.port,
            user=user,
            password=self.settings.secret(f"mariadb-{user}"),
            database=database,
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
        )

    def connect_as_administrator(self) -> Any:
        """Over the socket as the operating system's user: no password to keep."""
        return MySQLdb.connect(
            unix_socket=str(self.settings.mariadb_socket),
            user=current_user(),
            charset="utf8mb4",
            connect_timeout=_CONNECT_SECONDS,
        )

    def service(self) -> process.Service:
        data = f"--datadir={self.data_dir}"
        return process.Service(
            name="mariadb",
            argv=(
                find_program("mariadbd", "mysqld"),
                "--no-defaults",
                data,
                # Its own: a server that starts removes the temporary tables of all that share its folder.
                f"--tmpdir={self.temporary_dir}",
                f"--port={self.port}",
                f"--socket={self.settings.mariadb_socket}",
                f"--pid-file={self.settings.run_dir / 'mariadbd.pid'}",
                f"--bind-address={LOOPBACK}",
                "--skip-name-resolve",
                "--character-set-server=utf8mb4",
                "--collation-server=utf8mb4_unicode_ci",
                "--default-time-zone=+00:00",
                "--max-connections=200",
                "--innodb-buffer-pool-size=256M",
                "--innodb-log-file-size=64M",
                # A sandbox may lose its last second in a power cut; flushing at each commit would slow every
                # test.
                "--innodb-flush-log-at-trx-commit=2",
                "--performance-schema=OFF",
                *(("--user=root",) if os.getuid() == 0 else ()),
            ),
            marker=f"--no-defaults {data} ",
            addresses=((LOOPBACK, self.port),),
            healthy=self._answers,
            prepare=self._prepare,
            start_seconds=90.0,  # InnoDB's recovery after a crash takes its time
        )

    def ensure_users_and_databases(self) -> None:
        """Make users and schemas that are missing; passwords always follow the files in base/secrets."""
        try:
            connection = self.connect_as_administrator()
        except MySQLdb.Error as error:
            raise SandboxError(
                f"MariaDB's administrator cannot log in over {self.settings.mariadb_socket}: {error}"
            ) from error
        with connection, connection.cursor() as cursor:
            for statement, values in self._statements():
                cursor.execute(statement, values)

    def _statements(self) -> Iterable[tuple[str, tuple[str, ...] | None]]:
        for database in DATABASES:
            yield f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4", None
        for user, (scope, privileges) in USERS.items():
            password = self.settings.secret(f"mariadb-{user}")
            for host in (LOOPBACK, "localhost"):
                yield "CREATE USER IF NOT EXISTS %s@%s IDENTIFIED BY %s", (user, host, password)
                yield "ALTER USER %s@%s IDENTIFIED BY %s", (user, host, password)
                yield f"GRANT {privileges} ON {scope.replace('%', '%%')} TO %s@%s", (user, host)

    def _answers(self) -> bool:
        """Whether the server behind our socket answers and is the one of this data directory."""
        try:
            connection = self.connect_as_administrator()
        except MySQLdb.Error:
            return False
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@datadir, @@port")
            data_dir, port = cursor.fetchone()
        return Path(data_dir) == self.data_dir and port == self.port

    def _prepare(self) -> None:
        make_private_directory(self.settings.mariadb_socket.parent)
        self.temporary_dir.mkdir(parents=True, exist_ok=True)
        if self.data_dir.exists():
            return
        # Made aside and renamed when complete: a power cut in between leaves no half-made data directory.
        draft = self.data_dir.with_name("data.new")
        shutil.rmtree(draft, ignore_errors=True)
        command = [
            find_program("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            f"--datadir={draft}",
            f"--tmpdir={self.temporary_dir}",
            f"--user={current_user()}",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={current_user()}",
            "--skip-test-db",
            "--skip-name-resolve",
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        if result.returncode != 0:
            raise SandboxError(
                f"{command[0]} could not make {draft} (exit code {result.returncode}); it said:\n"
                f"{result.stdout[-1500:]}{result.stderr[-1500:]}"
            )
        draft.rename(self.data_dir)


def find_program(*names: str) -> str:
    """The full path of the first program found; daemons live in /usr/sbin, which is not in every PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise SandboxError(f"the program {names[0]} is not installed: run scripts/bootstrap.sh (make does it by itself)")
