"""The doctor: every check sees the very thing that it is for, broken for real, and names its remedy."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db import engine as engine_module
from imagesys_lib.ops import doctor
from imagesys_lib.ops.doctor import database, etl
from imagesys_lib.ops.doctor.finding import attempt
from include.sandbox.services.nodes import RESTRICTED, Node
from include.sandbox.settings import LOOPBACK
from tests.library.nodes.test_node_answers import shell
from tests.support.world import COUNTRY, World, drop_connection, set_connection

SOUND = {
    *("configuration", "ssh", "rsync", "mail", "uk ETL", "uk ETL rows", "uk ETL rights", "uk staging"),
    *("imagesys_shared", "imagesys_shared rights", "imagesys_shared server", "imagesys_shared clock"),
    *("uk database", "uk database rights", "uk database server", "uk database clock"),
    *(f"node {name}{part}" for name in ("n1", "n2", "n3") for part in ("", " clock", " rsync")),
}


def bad(world: World) -> dict[str, str]:
    """What the doctor finds wrong, by check."""
    return {finding.check: str(finding) for finding in doctor.examine("uk") if not finding.ok}


def administer(world: World, *statements: str) -> None:
    """Do as the database's administrator."""
    with world.sandbox.mariadb.connect_as_administrator() as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextlib.contextmanager
def global_settings(world: World, settings: Mapping[str, str]) -> Iterator[None]:
    """Set the server otherwise for a while: what connects from then on has it."""
    before = {name: world.scalar(sa.text(f"SELECT @@GLOBAL.{name}")) for name in settings}
    administer(world, *(f"SET GLOBAL {name} = {value}" for name, value in settings.items()))
    try:
        yield
    finally:
        old = {name: f"'{value}'" if isinstance(value, str) else value for name, value in before.items()}
        administer(world, *(f"SET GLOBAL {name} = {value}" for name, value in old.items()))


def test_the_doctor_finds_a_sound_installation_sound(patient: World) -> None:
    ran = patient.cli("doctor", "uk", "--json")
    assert ran.code == 0
    assert {finding["check"] for finding in ran.json} == SOUND
    assert "BAD" not in patient.cli("doctor", "uk").out


def test_the_doctor_names_a_remedy_for_everything_that_is_wrong(patient: World) -> None:
    patient.sandbox.nodes.stop_node("n2")
    raw = json.loads(os.environ["AIRFLOW_CONN_N3"])
    raw["extra"]["host_key"] = patient.sandbox.nodes["n1"].host_key
    patient.patch.setenv("AIRFLOW_CONN_N3", json.dumps(raw))
    set_connection(patient, "SMTP_DEFAULT", port=9)
    set_connection(patient, "ETL", password="wrong")
    drop_connection(patient, "IMAGESYS_SHARED")
    patient.configure(staging={"min_free_mb": 10**9})
    patient.sql("DROP SCHEMA IF EXISTS imagesys_de")
    patient.sql("CREATE SCHEMA imagesys_de")
    set_connection(patient, "IMAGESYS_DB", schema="imagesys_de")
    found = bad(patient)
    remedies = {
        "imagesys_shared": "set AIRFLOW_CONN_IMAGESYS_SHARED",
        "mail": "correct the connection smtp_default",
        "uk database": "run `imagesys db upgrade`",
        "uk ETL": "check the connection's login",
        "uk staging": "free space",
        "node n2": "start sshd on n2",
        "node n3": "verify it with the node's administrator",
    }
    assert found.keys() == remedies.keys()
    assert all(remedies[check] in detail for check, detail in found.items())
    ran = patient.cli("doctor", "uk")
    assert ran.code == 3
    assert ran.out.count("BAD") == len(remedies)
    assert "wrong" not in ran.out


def test_the_doctor_does_not_wait_for_a_database_that_is_away(patient: World) -> None:
    patient.patch.setattr(engine_module, "_PATIENCE", 3600)
    for name in ("IMAGESYS_DB", "IMAGESYS_SHARED", "ETL"):
        set_connection(patient, name, port=9)
    assert bad(patient).keys() == {"imagesys_shared", "uk database", "uk ETL"}


def test_the_doctor_sees_a_wrong_password_a_missing_schema_and_a_strange_etl(patient: World) -> None:
    set_connection(patient, "IMAGESYS_DB", schema="imagesys_nowhere")
    patient.configure(etl={"photo_urls": "pictures"})
    found = bad(patient)
    assert "Remedy" in found["uk database"]
    assert "has no column pictures" in found["uk ETL"]
    set_connection(patient, "IMAGESYS_DB", password="wrong", schema="")
    patient.configure(etl={"table": "nothing_here"})
    found = bad(patient)
    assert "refuses 'imagesys'" in found["uk database"]
    assert "There is no ETL table" in found["uk ETL"]


def test_the_doctor_tells_a_bad_configuration_whole(patient: World) -> None:
    patient.configure(quorum=9, start="noon")
    found = bad(patient)
    assert found.keys() == {"configuration"}
    assert "quorum 9" in found["configuration"]
    assert "defaults.start" in found["configuration"]


# Databases


@pytest.mark.parametrize(
    ("rights", "missing"),
    [
        ("SELECT, UPDATE, INSERT, DELETE", "DROP"),
        ("SELECT, UPDATE, INSERT, DELETE, DROP, ALTER, INDEX", "CREATE"),
        ("SELECT, CREATE, DROP", "INSERT, UPDATE, DELETE, ALTER, INDEX"),
    ],
)
def test_a_login_with_too_few_rights(patient: World, rights: str, missing: str) -> None:
    name = f"`few`@`{LOOPBACK}`"
    administer(
        patient,
        f"CREATE OR REPLACE USER {name} IDENTIFIED BY 'few-rights'",
        *(f"GRANT {rights} ON `imagesys\\_{schema}`.* TO {name}" for schema in ("uk", "shared")),
    )
    try:
        for connection in ("IMAGESYS_DB", "IMAGESYS_SHARED"):
            set_connection(patient, connection, login="few", password="few-rights")
        before = patient.dump()
        found = bad(patient)
        assert found.keys() == {"uk database rights", "imagesys_shared rights"}
        assert f"'few' may not {missing} in schema imagesys_uk. Remedy: GRANT ALL" in found["uk database rights"]
        assert "few-rights" not in str(found)
        assert patient.dump() == before
        assert not patient.rows(sa.text("SHOW TABLES LIKE 'lis\\_doctor'"))
    finally:
        administer(patient, f"DROP USER {name}")


def test_a_server_that_only_reads(patient: World) -> None:
    with global_settings(patient, {"read_only": "1"}):
        found = bad(patient)
    assert found.keys() == {"uk database rights", "imagesys_shared rights"}
    assert "let the connection lead to a server that can be written to" in found["uk database rights"]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"sql_mode": "''"}, "add STRICT_TRANS_TABLES"),
        ({"max_allowed_packet": "1048576"}, "max_allowed_packet to 16777216"),
    ],
)
def test_a_server_that_is_set_otherwise(patient: World, settings: dict[str, str], remedy: str) -> None:
    with global_settings(patient, settings):
        found = bad(patient)
    assert found.keys() == {"uk database server", "imagesys_shared server"}
    assert remedy in found["uk database server"]


def test_a_session_that_is_not_as_the_code_sets_it(patient: World) -> None:
    with global_settings(patient, {"time_zone": "'+02:00'"}):
        engine = sa.create_engine(patient.ctx.db.url)
        finding = attempt("server", lambda: database._server(engine, "country"))
        engine.dispose()
    assert not finding.ok
    assert "transaction_isolation is 'REPEATABLE-READ'; time_zone is '+02:00'" in finding.detail
    assert "READ COMMITTED" in finding.remedy


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"log_bin": "ON", "binlog_format": "STATEMENT"}, {"binlog_format"}),
        ({"log_bin": "OFF", "binlog_format": "STATEMENT"}, set()),
        ({"log_bin": "ON", "binlog_format": "MIXED"}, set()),
        ({"sql_mode": "STRICT_ALL_TABLES,ANSI_QUOTES"}, set()),
    ],
)
def test_settings_are_judged_by_what_the_code_needs(settings: dict[str, str], wrong: set[str]) -> None:
    assert database.wrong_settings(settings).keys() == wrong


def test_a_server_that_is_too_old(patient: World) -> None:
    """It calls what it does not know a syntax error."""
    patient.patch.setattr(database, "ABILITIES", (*database.ABILITIES, ("QUICKLY", "SELECT 1 FOR UPDATE QUICKLY")))
    assert "cannot do QUICKLY. Remedy: use MySQL 8 or MariaDB 10.6" in bad(patient)["uk database server"]


# The ETL


@pytest.fixture
def bare(patient: World) -> Iterator[World]:
    """An ETL table without any index, which the configuration names."""
    with patient.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute("CREATE OR REPLACE TABLE etl.bare_uk AS SELECT * FROM etl.listings_uk")
    patient.reconfigure(etl={"table": "bare_{country}"})
    yield patient
    with patient.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute("DROP TABLE etl.bare_uk")


def test_an_etl_table_without_the_indexes_that_ingest_and_purge_read_by(bare: World) -> None:
    steps = [
        ("ADD INDEX (updated_at)", "run", "updated_at, listing_id"),
        ("ADD INDEX (updated_at, listing_id(3))", "run", "updated_at, listing_id"),
        ("ADD INDEX hidden (updated_at, listing_id) IGNORED", "run", "updated_at, listing_id"),
        ("", "run", "updated_at, listing_id"),
        ("ADD INDEX (datasource_id, listing_id)", "purge", "listing_id"),
        ("", "purge", "listing_id"),
    ]
    for mend, reader, columns in steps:
        (finding,) = etl.examine(bare.ctx)
        assert not finding.ok
        assert f"no index that begins with ({columns}): every {reader} would scan or sort it" in finding.detail
        asked_for = f"CREATE INDEX imagesys_{reader} ON etl.bare_uk ({columns})"
        assert finding.remedy.startswith(f"ask for: {asked_for};")
        with bare.sandbox.etl._cursor(COUNTRY) as cursor:
            cursor.execute(f"ALTER TABLE etl.bare_uk {mend}" if mend else asked_for)
        bare.ctx.etl.__dict__.pop("indexes", None)
    assert [finding.ok for finding in etl.examine(bare.ctx)] == [True, True, True]


def test_an_index_of_the_date_does_where_the_primary_key_is_the_listing(bare: World) -> None:
    """InnoDB adds the primary key to every index."""
    with bare.sandbox.etl._cursor(COUNTRY) as cursor:
        cursor.execute("ALTER TABLE etl.bare_uk ADD PRIMARY KEY (listing_id), ADD INDEX (updated_at)")
    assert [finding.ok for finding in etl.examine(bare.ctx)] == [True, True, True]


def test_an_etl_login_that_may_write(patient: World) -> None:
    set_connection(patient, "ETL", login="sandbox", password=patient.sandbox.settings.secret("mariadb-sandbox"))
    found = bad(patient)
    assert found.keys() == {"uk ETL rights"}
    assert "'sandbox' may write to etl.listings_uk" in found["uk ETL rights"]
    assert "a login with SELECT alone" in found["uk ETL rights"]


@pytest.mark.parametrize("rights", ["INSERT, DELETE", "INSERT", "UPDATE", "DELETE"])
def test_an_etl_login_that_may_write_in_some_ways(patient: World, rights: str) -> None:
    name = f"`sly`@`{LOOPBACK}`"
    make = f"CREATE OR REPLACE USER {name} IDENTIFIED BY 'only-some'"
    administer(patient, make, f"GRANT SELECT, {rights} ON etl.* TO {name}")
    try:
        set_connection(patient, "ETL", login="sly", password="only-some")
        found = bad(patient)
    finally:
        administer(patient, f"DROP USER {name}")
    assert found.keys() == {"uk ETL rights"}
    assert f"'sly' may write to etl.listings_uk ({rights})" in found["uk ETL rights"]


# Nodes, clocks, disks, programs


@pytest.mark.parametrize(
    ("floor", "words"),
    [
        ({"node_min_free_mb": 10**9}, "disk_full"),
        ({"node_min_free_inodes": 10**15}, "inodes_full"),
    ],
)
def test_a_nodes_disk_below_its_floor(patient: World, floor: dict[str, int], words: str) -> None:
    patient.configure(transfer=floor)
    found = bad(patient)
    assert found.keys() == {"node n1", "node n2", "node n3"}
    assert all(words in text and "Remedy: free" in text for text in found.values())


def test_a_forced_command_of_another_version(patient: World, tmp_path: Path) -> None:
    node = patient.sandbox.nodes[RESTRICTED]
    keys = node.directory / "authorized_keys"
    before = keys.read_text()
    command = before.split('command="')[1].split()[1]
    old = tmp_path / "imagesys-node"
    old.write_text(Path(command).read_text().replace("imagesys-node 6", "imagesys-node 1"))
    keys.write_text(before.replace(command, str(old)))
    try:
        found = bad(patient)
    finally:
        keys.write_text(before)
    assert found.keys() == {f"node {RESTRICTED}"}
    assert "imagesys-node 1 is installed there, this code speaks imagesys-node 6" in found[f"node {RESTRICTED}"]
    assert "install the newest imagesys-node" in found[f"node {RESTRICTED}"]


def test_a_login_shell_with_a_banner(patient: World) -> None:
    with shell(patient, "n1", "echo Welcome; run"):
        found = bad(patient)
    assert found.keys() == {"node n1 rsync"}
    assert "shell_output" in found["node n1 rsync"]
    assert "Welcome" in found["node n1 rsync"]
    assert "Remedy: let the login shell of n1 be silent" in found["node n1 rsync"]


@contextlib.contextmanager
def wrong_clock(world: World, shim: Path) -> Iterator[None]:
    """Put the clock of node n1 an hour fast."""
    configuration = Node._configuration

    def wrong(node: Node) -> str:
        text = configuration(node)
        return text.replace("SetEnv ", f"SetEnv LD_PRELOAD={shim} WRONG_CLOCK=3600 ") if node.name == "n1" else text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "_configuration", wrong)
        world.sandbox.nodes["n1"].start()
        yield


def test_a_node_whose_clock_is_wrong(patient: World, shim: Path) -> None:
    with wrong_clock(patient, shim):
        found = bad(patient)
    assert found.keys() == {"node n1 clock"}
    assert "the clock of n1 is +3600" in found["node n1 clock"].replace("+3599", "+3600")
    assert "Remedy: let NTP keep both clocks" in found["node n1 clock"]


def test_a_worker_whose_clock_is_wrong(patient: World, shim: Path) -> None:
    """The nodes are not blamed for it: they are near the clock that counts."""
    code = (
        "from imagesys_lib.ops import doctor; doctor.airflow_setup.examine = lambda _: iter(())\n"
        "print([str(finding) for finding in doctor.examine('uk') if not finding.ok])"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(shim))
        patch.setenv("WRONG_CLOCK", "-7200")
        child = patient.spawn("-c", code, program=[sys.executable])
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    found = eval(out)  # noqa: S307 - our own
    assert [text.split(":")[0] for text in found] == ["imagesys_shared clock", "uk database clock"]
    assert "this worker's clock is -7" in found[1]
    assert "let NTP keep" in found[1]


def test_a_staging_disk_without_inodes(patient: World) -> None:
    patient.configure(staging={"min_free_inodes": 10**15})
    found = bad(patient)
    assert found.keys() == {"uk staging"}
    assert "Remedy: free inodes" in found["uk staging"]


def test_a_program_that_is_not_installed(patient: World, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        found = bad(patient)
    assert found.keys() == {"ssh", "rsync"}  # no node can be asked then
    assert "apt-get install rsync" in found["rsync"]


# Mail


def test_mail_is_sent_on_request_and_only_then(patient: World) -> None:
    mail = patient.sandbox.mail
    before = len(mail.files())
    assert bad(patient) == {}
    assert len(mail.files()) == before
    patient.configure(alerts={"mail_to": ["one@example.test", "two@example.test"]})
    ran = patient.cli("doctor", "uk", "--send-mail")
    assert ran.code == 0
    assert "a message was sent to one@example.test, two@example.test" in ran.out
    sent = mail.mails(since=before)
    assert [(one["To"], one["Subject"]) for one in sent] == [
        (f"{name}@example.test", "ImageSys doctor: mail arrives") for name in ("one", "two")
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"login": "somebody", "password": "anything"},  # a server that takes no login
        {"extra": {"disable_ssl": True}},  # and knows no TLS
    ],
)
def test_a_mail_server_that_is_called_otherwise_than_it_wants(patient: World, changes: dict[str, object]) -> None:
    set_connection(patient, "SMTP_DEFAULT", **changes)
    found = bad(patient)
    assert found.keys() == {"mail"}
    assert "correct the connection smtp_default" in found["mail"]
    assert "anything" not in found["mail"]
