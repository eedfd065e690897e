"""Connections as Airflow writes them into the environment, read without Airflow."""

from __future__ import annotations

import json

import pytest

from imagesys_lib.config.connections import Connection, environment_connection, parse_connection, require
from imagesys_lib.errors import EXIT_ENVIRONMENT, ConnectionMissing, EnvironmentFault

SECRET = "s3cr/et:@p%w"


def test_json_with_an_extra_of_either_form() -> None:
    raw = {"conn_type": "ssh", "host": "h", "port": 22, "login": "u", "password": SECRET, "schema": "x"}
    for extra in ({"host_key": "ssh-ed25519 A", "n": 1}, '{"host_key": "ssh-ed25519 A", "n": 1}'):
        found = parse_connection("n1", json.dumps(raw | {"extra": extra}))
        assert found == Connection("n1", "h", 22, "u", SECRET, "x", {"host_key": "ssh-ed25519 A", "n": 1})


def test_json_with_little_in_it() -> None:
    assert parse_connection("c", ' {"conn_type": "mysql", "host": null, "port": null}') == Connection("c", "")
    assert parse_connection("c", '{"port": "3307", "extra": ""}').port == 3307


def test_a_uri_with_percent_encoding_and_packed_extras() -> None:
    packed = "%7B%22root%22%3A%20%22%2Fsrv%2Fa%20b%22%2C%20%22deep%22%3A%20%7B%22x%22%3A%201%7D%7D"
    found = parse_connection(
        "n1", f"mysql://us%40er:s3cr%2Fet%3A%40p%25w@db.example:3307/my%2Fschema?__extra__={packed}"
    )
    assert found == Connection(
        "n1", "db.example", 3307, "us@er", SECRET, "my/schema", {"root": "/srv/a b", "deep": {"x": 1}}
    )
    plain = parse_connection("n1", "ssh://root@127.0.0.1:18301?key_file=%2Froot%2F.ssh%2Fid&no_host_key_check=false")
    assert (plain.host, plain.port, plain.login, plain.password) == ("127.0.0.1", 18301, "root", "")
    assert plain.extra == {"key_file": "/root/.ssh/id", "no_host_key_check": "false"}
    assert parse_connection("n1", "ssh://[::1]:22").host == "::1"


@pytest.mark.parametrize(
    "text",
    [
        '{"host": "h", "password": "topsecret"',
        '{"host": "h", "password": "topsecret", "port": "many"}',
        '{"host": "h", "password": "topsecret", "extra": "{broken"}',
        '{"host": "h", "password": "topsecret", "extra": [1, 2]}',
        '{"host": "h", "password": "topsecret", "extra": "[1]"}',
        "mysql://u:topsecret@h:port/x",
        "mysql://u:topsecret@[h/x",
        "mysql://u:topsecret@h/x?__extra__={broken",
        "mysql://u:topsecret@h/x?__extra__=[1]",
    ],
)
def test_a_broken_connection_names_itself_and_never_its_secret(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_IMAGESYS_DB", text)
    with pytest.raises(EnvironmentFault) as caught:
        environment_connection("imagesys_db")
    assert "'imagesys_db'" in str(caught.value)
    assert "AIRFLOW_CONN_IMAGESYS_DB" in str(caught.value)
    assert "topsecret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_passwords_and_extras_stay_out_of_logs() -> None:
    found = Connection("n1", "h", 22, "u", "topsecret", "", {"private_key": "PRIVATE"})
    assert "topsecret" not in repr(found)
    assert "PRIVATE" not in repr(found)


def test_the_countrys_own_connection_comes_first() -> None:
    have = {"imagesys_db_uk": Connection("imagesys_db_uk", "own"), "imagesys_db": Connection("imagesys_db", "all")}
    assert require(have.get, "imagesys_db_uk", "imagesys_db").host == "own"
    assert require(have.get, "imagesys_db_de", "imagesys_db").host == "all"


def test_a_missing_connection_says_where_to_add_it() -> None:
    with pytest.raises(ConnectionMissing) as caught:
        require(lambda _: None, "imagesys_db_uk", "imagesys_db")
    assert str(caught.value) == (
        "Connection 'imagesys_db_uk' or 'imagesys_db' does not exist. Remedy: set AIRFLOW_CONN_IMAGESYS_DB, or, for "
        "tasks alone, add it in Airflow (Admin, Connections): commands do not see connections that are only in "
        "Airflow's database or secrets backend."
    )
    assert caught.value.exit_code == EXIT_ENVIRONMENT


def test_an_unset_or_empty_variable_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_ETL", raising=False)
    assert environment_connection("etl") is None
    monkeypatch.setenv("AIRFLOW_CONN_ETL", "")
    assert environment_connection("etl") is None
