"""Pruning of log files by age: nothing else is ever touched."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from imagesys_lib.config import Retention
from imagesys_lib.errors import Stopped
from imagesys_lib.ops.maintenance import PrunedLogs, log_folders, prune_logs

KEEP = Retention(logs=30)
DAY = 86_400
MB = 1 << 20


def written(path: Path, days: float, size: int = 100) -> Path:
    """A file last written so long ago, in folders as old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    age(path, days)
    return path


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2, follow_symlinks=False)


def age_folders(root: Path, days: float = 1) -> None:
    for path in root.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            age(path, days)


def task_log(root: Path, run: str, days: float, size: int = 100, name: str = "attempt=1.log") -> Path:
    return written(root / "dag_id=imagesys_uk" / f"run_id={run}" / "task_id=heal" / name, days, size)


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_logs_of_tasks_callbacks_and_parsing_go_by_age_with_the_folders_that_they_leave(tmp_path: Path) -> None:
    old = [
        task_log(tmp_path, "a", 31),
        task_log(tmp_path, "a", 31, name="map_index=2/attempt=3.log"),
        task_log(tmp_path, "a", 31, name="attempt=1.log.trigger.7.log"),
        written(tmp_path / "executor_callbacks" / "imagesys_uk" / "a" / "0198c2f4-uuid", 31),
        written(tmp_path / "dag_processor" / "2026-01-01" / "dags-folder" / "imagesys_daily.py.log", 31),
    ]
    kept = [
        task_log(tmp_path, "b", 29),
        written(tmp_path / "dag_processor" / "2026-01-31" / "dags-folder" / "imagesys_daily.py.log", 29),
    ]
    latest = tmp_path / "dag_processor" / "latest"
    latest.symlink_to("2026-01-01")
    age_folders(tmp_path)
    done = prune_logs([tmp_path], [KEEP])
    folders = {"dag_id=imagesys_uk/run_id=a/task_id=heal/map_index=2", "dag_id=imagesys_uk/run_id=a/task_id=heal"}
    folders |= {"dag_id=imagesys_uk/run_id=a", "dag_processor/2026-01-01/dags-folder", "dag_processor/2026-01-01"}
    folders |= {"executor_callbacks", "executor_callbacks/imagesys_uk", "executor_callbacks/imagesys_uk/a"}
    assert done == PrunedLogs(files=5, bytes=500, folders=len(folders), kept_files=2, kept_bytes=200, faults=0)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in kept)
    assert not folders & tree(tmp_path)
    assert latest.is_symlink()
    assert prune_logs([tmp_path], [KEEP]) == PrunedLogs(0, 0, 0, kept_files=2, kept_bytes=200, faults=0)


def test_what_is_still_written_stays_whatever_its_size_and_the_age_of_its_folder(tmp_path: Path) -> None:
    log = task_log(tmp_path, "long", 40, 5 * MB)
    with log.open("ab") as going:
        going.write(b"x")
    age_folders(tmp_path, 40)
    assert prune_logs([tmp_path], [KEEP]) == PrunedLogs(kept_files=1, kept_bytes=5 * MB + 1)
    assert log.exists()


def test_a_folder_made_in_the_last_hour_stays_though_it_is_empty(tmp_path: Path) -> None:
    """Airflow makes a task's folder before its file."""
    new, stale = (tmp_path / "dag_id=imagesys_uk" / name for name in ("run_id=new", "run_id=stale"))
    for folder in (new, stale):
        folder.mkdir(parents=True)
    age(stale, 1)
    assert prune_logs([tmp_path], [KEEP]).folders == 1
    assert (new.exists(), stale.exists()) == (True, False)


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    for days in (1, 2, 31, 40, 50):
        task_log(tmp_path, f"r{days}", days, MB // 2)
    age_folders(tmp_path)
    before = tree(tmp_path)
    reported = prune_logs([tmp_path], [KEEP], dry_run=True)
    assert tree(tmp_path) == before
    assert prune_logs([tmp_path], [KEEP]) == reported
    assert (reported.files, reported.folders, reported.kept_bytes) == (3, 6, MB)


def test_no_link_is_followed_and_nothing_outside_is_touched(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside" / "precious.log", 400)
    root = tmp_path / "logs"
    inside = task_log(root, "a", 31).parent
    (inside / "attempt=2.log").symlink_to(outside)
    (inside / "map_index=1").symlink_to(outside.parent)
    (root / "dag_id=linked").symlink_to(outside.parent)
    for link in (inside / "attempt=2.log", inside / "map_index=1", root / "dag_id=linked"):
        age(link, 400)
    done = prune_logs([root], [KEEP])
    assert (done.files, done.faults) == (1, 0)
    assert outside.exists()
    assert (inside / "attempt=2.log").is_symlink()  # nor is a link deleted
    assert (inside / "map_index=1").is_symlink()


def test_a_folder_that_turns_into_a_link_meanwhile_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = written(tmp_path / "outside" / "precious.log", 400)
    root = tmp_path / "logs"
    run = task_log(root, "a", 31).parent.parent
    real, swapped = os.open, []

    def swap(path: str | Path, flags: int, *, dir_fd: int | None = None) -> int:
        if path == "task_id=heal" and not swapped:  # looked at already, now to be swept
            swapped.append(path)
            (run / "task_id=heal").rename(tmp_path / "moved")
            (run / "task_id=heal").symlink_to(outside.parent)
        return real(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    assert prune_logs([root], [KEEP]).faults == 1
    assert swapped
    assert outside.exists()


def test_a_wrong_folder_loses_nothing(tmp_path: Path) -> None:
    for name in ("airflow.cfg", "scheduler/2020-01-01/x.log", "uk/0/0/0/photo.jpg", "2026-01-01.log"):
        written(tmp_path / name, 900)
    before = tree(tmp_path)
    assert prune_logs([tmp_path, tmp_path / "nowhere"], [KEEP]).files == 0
    assert tree(tmp_path) == before


def test_logs_of_parsing_may_lie_elsewhere(tmp_path: Path) -> None:
    base, parsing = tmp_path / "logs", tmp_path / "parsing"
    assert log_folders(base, base / "dag_processor") == [base]
    assert log_folders(base, parsing) == [base, parsing]
    task_log(base, "a", 31)
    written(parsing / "2026-01-01" / "dags-folder" / "imagesys_daily.py.log", 31)
    assert prune_logs(log_folders(base, parsing), [KEEP]).files == 2


def test_the_most_generous_country_decides(tmp_path: Path) -> None:
    task_log(tmp_path, "a", 50)
    task_log(tmp_path, "b", 61)
    assert prune_logs([tmp_path], [KEEP, Retention(logs=60), Retention(logs=5)]).files == 1


def test_logs_written_and_deleted_by_others_meanwhile_are_no_fault(tmp_path: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            task_log(tmp_path, f"r{number % 7}", 40).unlink(missing_ok=True)
            task_log(tmp_path, f"r{number % 7}", 0)

    def careful() -> None:
        while not stop.is_set():
            try:
                churn()
            except FileNotFoundError:  # the file it had just made was pruned, as it says that it is old
                continue

    thread = threading.Thread(target=careful)
    thread.start()
    try:
        assert sum(prune_logs([tmp_path], [KEEP]).faults for _ in range(100)) == 0
    finally:
        stop.set()
        thread.join()
    assert any(path.is_file() for path in tmp_path.rglob("attempt=1.log"))


def test_a_pruning_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(6):
        task_log(tmp_path, f"r{number}", 40)
    looked = iter(range(100))

    def check_stop() -> None:
        if next(looked) == 12:
            raise Stopped

    with pytest.raises(Stopped):
        prune_logs([tmp_path], [KEEP], check_stop=check_stop)
    left = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert 0 < left < 6
    assert prune_logs([tmp_path], [KEEP]).files == left
