"""include/system: logrotate and systemd read these files, and what they order is what is meant."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imagesys_lib.config import Retention
from tests.support.system_files import SYSTEM, command_of, unit

LOGROTATE = (
    shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "logrotate"
)  # `make test` brings it
has_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="a machine without systemd")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def rotation(tmp_path: Path) -> Path:
    """The shipped file, for logs in a folder of this test and owned by whoever runs it."""
    me = f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    text = (SYSTEM / "airflow-logs.logrotate").read_text()
    assert "su airflow airflow\n" in text
    assert "/var/log/airflow/*.log" in text
    target = tmp_path / "rotation"
    target.write_text(
        text.replace("su airflow airflow", f"su {me}").replace("/var/log/airflow", str(tmp_path / "logs"))
    )
    target.chmod(0o644)
    (tmp_path / "logs").mkdir(mode=0o755)
    return target


def test_logrotate_reads_its_file_without_a_complaint(rotation: Path, tmp_path: Path) -> None:
    (tmp_path / "logs" / "scheduler.log").write_text("a line\n")
    done = run(LOGROTATE, "--debug", "--state", str(tmp_path / "state"), str(rotation))
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()
    assert "considering log" in done.stderr


def test_a_service_goes_on_writing_while_its_log_is_rotated_and_two_weeks_are_kept(
    rotation: Path, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "scheduler.log"
    with log.open("a") as service:
        for day in range(17):
            service.write(f"day {day}\n")
            service.flush()
            done = run(LOGROTATE, "--force", "--state", str(tmp_path / "state"), str(rotation))
            assert done.returncode == 0, done.stderr
        service.write("now\n")
    assert log.read_text() == "now\n"
    assert (tmp_path / "logs" / "scheduler.log.1").read_text() == "day 16\n"
    names = {path.name for path in log.parent.iterdir()}
    assert names == {"scheduler.log", "scheduler.log.1", *(f"scheduler.log.{n}.gz" for n in range(2, 15))}


def test_the_service_cleans_everything_old_for_good_and_fails_where_it_cannot() -> None:
    command, environment = command_of("airflow-db-clean.service")
    assert command[:2] == ["/bin/sh", "-c"]
    words = command[2].split()
    for word in ("--yes", "--skip-archive", "--error-on-cleanup-failure", "--batch-size"):
        assert word in words
    assert int(environment["KEEP_DAYS"]) <= Retention().batches
    service = unit("airflow-db-clean.service")["Service"]
    assert (service["Type"], service["User"]) == ("oneshot", "airflow")
    assert {"EnvironmentFile", "TimeoutStartSec"} <= set(service)


def test_the_timer_starts_the_service_of_its_name_every_night() -> None:
    timer = unit("airflow-db-clean.timer")
    assert set(timer["Timer"]) == {"OnCalendar", "RandomizedDelaySec", "Persistent"}
    assert timer["Install"]["WantedBy"] == "timers.target"


@has_systemd
def test_systemd_accepts_service_and_timer() -> None:
    done = run("systemd-analyze", "verify", *map(str, sorted(SYSTEM.glob("airflow-db-clean.*"))))
    assert (done.returncode, done.stderr) == (0, "")
    calendar = unit("airflow-db-clean.timer")["Timer"]["OnCalendar"]
    done = run("systemd-analyze", "calendar", "--iterations=2", calendar)
    assert done.returncode == 0
    assert "04:30:00" in done.stdout
