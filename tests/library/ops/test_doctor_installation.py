"""The doctor: what an installation lacks, each thing taken away for real, and the other checks made all the same."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db import engine as engine_module
from imagesys_lib.ops.doctor import airflow_setup
from imagesys_lib.ops.doctor.finding import attempt
from include.sandbox.services.mariadb import MariaDb
from include.sandbox.services.nodes import Node
from include.sandbox.services.process import Service
from include.sandbox.settings import LOOPBACK
from tests.library.ops.test_doctor import administer, bad, wrong_clock
from tests.support.world import World, drop_connection, set_connection


def test_a_check_that_breaks_in_an_unexpected_way_is_a_finding() -> None:
    finding = attempt("sums", lambda: str(1 % 0))
    assert (finding.ok, finding.detail) == (False, "could not be checked: ZeroDivisionError: integer modulo by zero")
    assert "call the doctor again" in finding.remedy


# Databases


def test_a_shared_schema_that_is_out_of_date(patient: World) -> None:
    versions = sa.text("SELECT version_num FROM alembic_version")
    with patient.ctx.shared.connect() as connection:
        newest = connection.scalar(versions)
    patient.write_all(patient.ctx.shared, [sa.text("DELETE FROM alembic_version")])
    try:
        found = bad(patient)
    finally:
        patient.write_all(patient.ctx.shared, [sa.text(f"INSERT INTO alembic_version VALUES ('{newest}')")])
    assert found.keys() == {"imagesys_shared"}
    assert "run `imagesys db upgrade`" in found["imagesys_shared"]


@contextlib.contextmanager
def meddling(port: int, changes: dict[bytes, bytes]) -> Iterator[int]:
    """Stand between clients and a server, and change what clients say; gives the port."""
    listener = socket.create_server((LOOPBACK, 0))
    threads: list[threading.Thread] = []

    def start(work: Callable[..., None], *arguments: object) -> threading.Thread:
        threads.append(threading.Thread(target=work, args=arguments))
        threads[-1].start()
        return threads[-1]

    def pump(source: socket.socket, target: socket.socket, reported: dict[bytes, bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                for old, new in reported.items():
                    assert len(old) == len(new)  # packets have their length at their head
                    data = data.replace(old, new)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def stand_between(client: socket.socket) -> None:
        with client, socket.create_connection((LOOPBACK, port)) as server:
            back = start(pump, server, client, {})
            pump(client, server, changes)
            back.join()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                start(stand_between, listener.accept()[0])

    start(accept)
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


def test_a_proxy_that_undoes_isolation_and_time_zone(patient: World) -> None:
    changes = {b"READ COMMITTED": b"SERIALIZABLE  ", b"time_zone='+00:00'": b"time_zone='+02:00'"}
    with meddling(patient.sandbox.mariadb.port, changes) as port:
        set_connection(patient, "IMAGESYS_DB", port=port)
        found = bad(patient)
    assert "transaction_isolation is 'SERIALIZABLE'; time_zone is '+02:00'" in found["uk database server"]
    assert "let nothing between worker and server" in found["uk database server"]
    assert "imagesys_shared server" not in found


def test_a_server_whose_binary_log_holds_statements(patient: World) -> None:
    mariadb, service = patient.sandbox.mariadb, MariaDb.service

    def logging(self: MariaDb) -> Service:
        found = service(self)
        more = (f"--log-bin={self.data_dir / 'doctor'}", "--binlog-format=STATEMENT", "--server-id=1")
        return dataclasses.replace(found, argv=(*found.argv, *more))

    mariadb.stop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MariaDb, "service", logging)
            mariadb.start()
            found = bad(patient)
            mariadb.stop()
    finally:
        mariadb.start()
        for left in mariadb.data_dir.glob("doctor.*"):
            left.unlink()
    for check in ("uk database server", "imagesys_shared server"):
        assert "binlog_format is 'STATEMENT'" in found[check]
        assert "binlog_format to ROW or MIXED" in found[check]


# The ETL


def test_an_etl_connection_that_is_missing(patient: World) -> None:
    drop_connection(patient, "ETL")
    found = bad(patient)
    assert found.keys() == {"uk ETL"}
    assert "AIRFLOW_CONN_ETL" in found["uk ETL"]


def test_an_etl_login_that_may_not_read_the_table(patient: World) -> None:
    name = f"`blind`@`{LOOPBACK}`"
    administer(
        patient,
        f"CREATE OR REPLACE USER {name} IDENTIFIED BY 'no-sight'",
        f"GRANT SELECT ON etl.listings_de TO {name}",  # it knows the schema, and sees another country
    )
    try:
        set_connection(patient, "ETL", login="blind", password="no-sight")
        found = bad(patient)
    finally:
        administer(patient, f"DROP USER {name}")
    assert found.keys() == {"uk ETL"}  # and every other check was made
    assert "'blind' cannot read ETL table etl.listings_uk" in found["uk ETL"]
    assert "Remedy: GRANT SELECT ON etl.listings_uk" in found["uk ETL"]


# Mail


def test_a_mail_connection_that_is_missing(patient: World) -> None:
    drop_connection(patient, "SMTP_DEFAULT")
    found = bad(patient)
    assert found.keys() == {"mail"}
    assert "AIRFLOW_CONN_SMTP_DEFAULT" in found["mail"]


def test_a_message_that_the_mail_server_refuses(patient: World) -> None:
    patient.configure(alerts={"mail_to": ["öps@example.test"]})  # this server takes no such address
    assert bad(patient) == {}
    ran = patient.cli("doctor", "uk", "--send-mail", "--json")
    assert ran.code == 3
    (refused,) = [finding for finding in ran.json if not finding["ok"]]
    assert refused["check"] == "mail"
    assert "alerts.mail_to" in refused["remedy"]


# Nodes and this worker


def test_a_node_whose_key_is_refused_and_one_whose_connection_is_missing(patient: World) -> None:
    keys = patient.sandbox.nodes["n1"].directory / "authorized_keys"
    before = keys.read_text()
    keys.write_text("")
    drop_connection(patient, "N3")
    try:
        found = bad(patient)
    finally:
        keys.write_text(before)
    assert found.keys() == {"node n1", "node n3"}
    assert "Node n1: auth: " in found["node n1"]
    assert "install the key of connection n1" in found["node n1"]
    assert "AIRFLOW_CONN_N3" in found["node n3"]


def test_a_node_whose_root_cannot_be_written(patient: World) -> None:
    extra = json.loads(os.environ["AIRFLOW_CONN_N1"])["extra"]
    set_connection(patient, "N1", extra={**extra, "root": "/proc/imagesys"})  # not even by root
    found = bad(patient)
    assert found.keys() == {"node n1"}
    assert "/proc/imagesys" in found["node n1"]
    assert "Remedy: " in found["node n1"]


def test_a_node_without_rsync(patient: World, tmp_path: Path) -> None:
    configuration = Node._configuration
    for program in Path("/usr/bin").iterdir():
        if not program.name.startswith("rsync"):
            (tmp_path / program.name).symlink_to(program)

    def without(node: Node) -> str:
        text = configuration(node)
        return text.replace("SetEnv ", f"SetEnv PATH={tmp_path} ") if node.name == "n1" else text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "_configuration", without)
        patient.sandbox.nodes["n1"].start()
        found = bad(patient)
    assert found.keys() == {"node n1 rsync"}
    assert "install rsync on n1" in found["node n1 rsync"]


def test_a_node_whose_clock_is_wrong_is_seen_without_a_database(patient: World, shim: Path) -> None:
    patient.patch.setattr(engine_module, "_PATIENCE", 3600)
    set_connection(patient, "IMAGESYS_DB", port=9)
    with wrong_clock(patient, shim):
        found = bad(patient)
    assert found.keys() == {"uk database", "node n1 clock"}
    assert "s off this worker's" in found["node n1 clock"]


def test_a_staging_folder_that_cannot_be_made(patient: World, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    patient.configure(staging={"root": str(tmp_path / "file" / "staging")})
    found = bad(patient)
    assert found.keys() == {"uk staging"}
    assert "create it for this user or set IMAGESYS_STAGING" in found["uk staging"]


def test_where_airflow_is_not_installed_that_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (finding,) = airflow_setup.examine([])
    assert (finding.ok, finding.detail) == (True, "not checked: Airflow is not installed beside this command")
