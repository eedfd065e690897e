"""Starting, stopping and crashing: what others rely on when they build on the sandbox."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from include.sandbox import SERVICES, PortInUseError, Sandbox, SandboxError, SandboxSettings
from include.sandbox.services import process
from include.sandbox.settings import PROJECT


def pids(sandbox: Sandbox) -> dict[str, int | None]:
    return {name: process.running_pid(sandbox.settings, name) for name in SERVICES}


def test_starting_twice_changes_nothing(sandbox: Sandbox) -> None:
    before = pids(sandbox)
    said: list[str] = []
    sandbox.start(say=said.append)
    assert pids(sandbox) == before
    assert said == []
    assert [(row.service, row.running) for row in sandbox.status()] == [(name, True) for name in SERVICES]


def test_a_shell_that_has_taken_the_settings_still_finds_the_sandbox(sandbox: Sandbox) -> None:
    call = [sys.executable, "-m", "include.sandbox", "--base", str(sandbox.settings.base)]
    call += ["--port-base", str(sandbox.settings.port_base)]
    said = shlex.join(call)
    script = f'eval "$({said} env)" && {said} status'
    done = subprocess.run(["sh", "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("running") == len(SERVICES)


def test_two_starts_at_once_make_one_set_of_services(sandbox: Sandbox) -> None:
    sandbox.stop()
    command = [sys.executable, "-m", "include.sandbox", "--base", str(sandbox.settings.base)]
    command += ["--port-base", str(sandbox.settings.port_base), "start"]
    both = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = "".join(one.communicate(timeout=120)[0] for one in both)
    assert [one.returncode for one in both] == [0, 0]
    for name in SERVICES:
        assert output.count(f"started {name} ") == 1
    assert all(row.running for row in sandbox.status())


def test_everything_killed_at_once_blocks_no_next_start(sandbox: Sandbox) -> None:
    with sandbox.mariadb.connect("sandbox", "etl") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY)")
        cursor.execute("REPLACE INTO kept VALUES (7)")
        connection.commit()
    for pid in pids(sandbox).values():
        os.kill(pid, signal.SIGKILL)
    assert not any(row.running for row in sandbox.status())
    sandbox.start()
    assert all(row.running for row in sandbox.status())
    with sandbox.mariadb.connect("sandbox", "etl") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM kept")
        assert cursor.fetchall() == ((7,),)


def test_a_service_that_lost_its_record_is_found_by_its_command_line(sandbox: Sandbox) -> None:
    for name in ("n1", "website"):
        (sandbox.settings.run_dir / f"{name}.pid").unlink()
    sandbox.start()
    assert all(row.running for row in sandbox.status())


def test_a_reused_pid_is_never_taken_for_ours(tmp_path: Path) -> None:
    settings = SandboxSettings(base=tmp_path / "other")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        record = f'{{"pid": {stranger.pid}, "start_time": 1, "fingerprint": ""}}'
        settings.run_dir.mkdir(parents=True)
        (settings.run_dir / "mail.pid").write_text(record)
        Sandbox(settings).stop(["mail"])
        assert stranger.poll() is None
        stranger.kill()


def test_stopping_ends_only_what_is_named(sandbox: Sandbox) -> None:
    before = pids(sandbox)
    sandbox.stop(["n2"])
    assert pids(sandbox) == before | {"n2": None}
    sandbox.start(services=["n2"])
    assert pids(sandbox)["n2"] not in (None, before["n2"])


def test_a_port_in_use_is_named_with_its_holder_and_the_remedy(sandbox: Sandbox) -> None:
    sandbox.stop(["mail"])
    port = sandbox.settings.port("mail")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortInUseError) as caught:
        sandbox.start(services=["mail"])
    text = str(caught.value)
    assert f"127.0.0.1:{port}" in text
    assert f"process {os.getpid()}" in text
    assert "DEMO_PORT_BASE=" in text
    sandbox.start(services=["mail"])


def test_a_service_that_dies_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    settings = SandboxSettings(base=tmp_path)
    service = process.Service(
        name="broken",
        argv=("/bin/sh", "-c", "echo the disk is on fire; exit 3"),
        marker="no such command line",
        addresses=(),
        healthy=lambda: False,
    )
    with pytest.raises(SandboxError, match="the disk is on fire"):
        process.start(settings, service)
    assert process.running_pid(settings, "broken") is None


def test_a_service_that_never_answers_is_ended_after_its_time(tmp_path: Path) -> None:
    settings = SandboxSettings(base=tmp_path)
    service = process.Service(
        name="silent",
        argv=("/bin/sleep", "60.125"),
        marker="sleep 60.125",
        addresses=(),
        healthy=lambda: False,
        start_seconds=0.3,
    )
    started = time.monotonic()
    with pytest.raises(SandboxError, match="did not answer within"):
        process.start(settings, service)
    assert time.monotonic() - started < 5
    assert not process.stop(settings, service)


def test_the_database_shares_no_temporary_directory(sandbox: Sandbox) -> None:
    """In a shared one, three sandboxes that are made at once fail one time in five: each cleans it when it starts."""
    with sandbox.mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@tmpdir")
        assert cursor.fetchone() == (str(sandbox.mariadb.temporary_dir),)
    assert sandbox.mariadb.temporary_dir.is_relative_to(sandbox.settings.base)


def test_a_long_base_directory_still_fits_the_database_socket(tmp_path: Path) -> None:
    settings = SandboxSettings(base=tmp_path / ("long" * 30))
    assert len(str(settings.mariadb_socket)) <= 107


def test_passwords_are_kept_and_private(tmp_path: Path) -> None:
    settings = SandboxSettings(base=tmp_path)
    assert settings.secret("one") == settings.secret("one") != settings.secret("two")
    assert (tmp_path / "secrets" / "one").stat().st_mode & 0o777 == 0o600


def test_the_ports_of_the_last_start_are_remembered(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEMO_PORT_BASE", raising=False)
    assert SandboxSettings.from_environment(sandbox.settings.base).port_base == sandbox.settings.port_base
    monkeypatch.setenv("DEMO_PORT_BASE", "20000")
    assert SandboxSettings.from_environment(sandbox.settings.base).port_base == 20000
