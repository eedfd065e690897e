"""Nodes, mail and database as a client meets them, through the connections that `environment` hands out."""

from __future__ import annotations

import json
import smtplib
import subprocess
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from imagesys_lib.nodes import question
from include.sandbox import Sandbox
from include.sandbox.services.nodes import RESTRICTED, known_hosts_file


def connection(sandbox: Sandbox, name: str) -> dict[str, Any]:
    return json.loads(sandbox.environment()[f"AIRFLOW_CONN_{name}"])


def ssh(sandbox: Sandbox, name: str, known_hosts: Path, *command: str) -> list[str]:
    given = connection(sandbox, name.upper())
    options = {
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
    }
    words = [
        "ssh",
        "-F",
        "/dev/null",
        "-i",
        given["extra"]["key_file"],
        "-p",
        str(given["port"]),
        "-l",
        given["login"],
    ]
    return [*words, *(f"-o{key}={value}" for key, value in options.items()), given["host"], *command]


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
def test_a_node_is_reached_with_its_verified_host_key(sandbox: Sandbox, name: str) -> None:
    root = Path(connection(sandbox, name.upper())["extra"]["root"])
    asked = question(root, "version")
    command = ssh(sandbox, name, known_hosts_file(sandbox.settings), asked.line)
    result = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert asked.read(name, str, result.stdout, result.returncode, result.stderr.decode()) == "imagesys-node 6\n"


def test_one_nodes_key_can_do_no_more_than_it_must(sandbox: Sandbox) -> None:
    command = ssh(sandbox, RESTRICTED, known_hosts_file(sandbox.settings), "id")
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (77, "")
    assert "this key is for ImageSys alone" in result.stderr


def test_a_wrong_host_key_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    wrong = tmp_path / "known_hosts"
    wrong.write_text(f"[127.0.0.1]:{sandbox.nodes['n1'].port} {sandbox.nodes['n2'].host_key}\n")
    result = subprocess.run(ssh(sandbox, "n1", wrong, "true"), capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 255
    assert "Host key verification failed" in result.stderr


def test_stopping_a_node_breaks_the_transfers_under_way(sandbox: Sandbox) -> None:
    command = ssh(sandbox, "n3", known_hosts_file(sandbox.settings), "echo ready; exec sleep 300")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "ready\n"
        sandbox.nodes.stop_node("n3")
        assert session.wait(timeout=10) != 0
    result = subprocess.run(
        ssh(sandbox, "n3", known_hosts_file(sandbox.settings), "true"),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 255
    assert sandbox.nodes.start_node("n3")


def test_a_mail_sent_is_a_file_to_read(sandbox: Sandbox) -> None:
    given = connection(sandbox, "SMTP_DEFAULT")
    before = len(sandbox.mail.files())
    for number in range(3):
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = (
            "imagesys@example.test",
            "ops@example.test",
            f"Überfällig {number}",
        )
        mail.set_content("Der Lauf dauert noch an.\n")
        with smtplib.SMTP(given["host"], given["port"], timeout=10) as client:
            client.send_message(mail)
    mails = sandbox.mail.mails(since=before)
    assert [mail["subject"] for mail in mails] == ["Überfällig 0", "Überfällig 1", "Überfällig 2"]
    assert mails[0].get_content() == "Der Lauf dauert noch an.\n"
    assert mails[0]["X-Sandbox-To"] == "ops@example.test"
    assert sandbox.mail.wait_for(lambda mail: mail["subject"].endswith("2"), seconds=1, since=before)


def connect(given: dict[str, Any]) -> Any:
    return MySQLdb.connect(
        host=given["host"],
        port=given["port"],
        user=given["login"],
        password=given["password"],
        database=given["schema"],
    )


def test_the_application_owns_its_schemas_and_only_reads_the_etl(sandbox: Sandbox) -> None:
    with connect(connection(sandbox, "IMAGESYS_SHARED")) as owner, owner.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS probe (id INT)")
        cursor.execute("DROP TABLE probe")
        cursor.execute("SELECT @@time_zone, @@character_set_server")
        assert cursor.fetchone() == ("+00:00", "utf8mb4")
        cursor.execute("SHOW DATABASES LIKE 'imagesys%'")
        assert len(cursor.fetchall()) == 10
        with pytest.raises(MySQLdb.OperationalError, match="denied"):
            cursor.execute("SELECT * FROM etl.listings_uk")
    with connect(connection(sandbox, "ETL")) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM listings_uk")
        with pytest.raises(MySQLdb.OperationalError, match="denied"):
            cursor.execute("DELETE FROM listings_uk")
