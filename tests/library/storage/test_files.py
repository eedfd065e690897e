"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re

import pytest

from imagesys_lib.errors import DiskFull
from imagesys_lib.storage.atomic_files import AtomicFile, atomic_writer, write_atomically


def test_writing_replaces_whole_files_with_ordinary_permissions(tmp_path):
    target = tmp_path / "a" / "b.jpg"
    for data in (b"first", b"second"):
        write_atomically(target, data)
    assert target.read_bytes() == b"second"
    old = os.umask(0)
    os.umask(old)
    assert target.stat().st_mode & 0o777 == 0o666 & ~old
    assert [path.name for path in target.parent.iterdir()] == ["b.jpg"]


def test_temporary_names_are_hidden_and_in_the_same_directory(tmp_path):
    with atomic_writer(tmp_path / "photo.jpg") as file:
        (inside,) = tmp_path.iterdir()
        file.write(b"x")
    assert re.fullmatch(r"\.photo\.jpg\.[0-9a-f]+\.tmp", inside.name)


def test_an_error_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(TypeError), atomic_writer(tmp_path / "a" / "x") as file:
        file.write("text")
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_the_environments_fault(tmp_path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(DiskFull, match="photo") as caught:
        write_atomically(tmp_path / "photo", b"x")
    assert caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sync", [True, False])
def test_only_what_must_survive_a_power_cut_is_synced(tmp_path, monkeypatch, sync):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_atomically(tmp_path / "photo", b"x", sync=sync)
    assert len(synced) == sync


def test_a_file_may_be_discarded_at_any_time(tmp_path):
    file = AtomicFile(tmp_path / "x")
    file.write(b"x")
    file.discard()
    file.discard()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"y")
    whole = AtomicFile(tmp_path / "y")
    whole.commit()
    whole.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
