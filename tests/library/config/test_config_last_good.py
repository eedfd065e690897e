"""While the file is broken Airflow goes on with what was good last; a country lost from a valid one is reported."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imagesys_lib import config
from imagesys_lib.errors import EXIT_ENVIRONMENT, ConfigError
from imagesys_lib.ops.doctor import Finding, examine
from tests.library.config.test_config_yaml import WHOLE

BROKEN = WHOLE.replace("quorum: 2", "quorum: 2\n  quorum: 3")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration in force, which the DAG processor has read and kept."""
    path = tmp_path / "countries.yaml"
    monkeypatch.setenv("IMAGESYS_CONFIG", str(path))
    monkeypatch.setenv("IMAGESYS_STATE", str(tmp_path / "state"))
    path.write_text(WHOLE)
    config.keep_good()
    return path


def troubles() -> list[str]:
    return [str(trouble) for trouble in config.config_troubles()]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("imagesys"))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_the_text_is_kept_as_it_was_written_for_its_owner_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "opensesame")
    text = WHOLE.replace("name: Germany", 'name: "${WORD}"')
    file.write_text(text)
    config.keep_good()
    copies = sorted((file.parent / "state").iterdir())
    assert [copy.name for copy in copies] == ["countries.json", "countries.yaml"]
    assert copies[1].read_text() == text
    assert {copy.stat().st_mode & 0o777 for copy in copies} == {0o600}
    assert not any("opensesame" in copy.read_text() for copy in copies)


@pytest.mark.parametrize("link", [False, True])
def test_a_copy_that_others_may_read_or_that_lies_elsewhere_is_kept_anew(
    file: Path, tmp_path: Path, link: bool
) -> None:
    copy = tmp_path / "state" / "countries.yaml"
    if link:
        copy.rename(tmp_path / "elsewhere")
        copy.symlink_to(tmp_path / "elsewhere")
    else:
        copy.chmod(0o644)
    config.keep_good()
    assert (copy.is_symlink(), copy.stat().st_mode & 0o777) == (False, 0o600)
    assert copy.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("broken", ["", BROKEN, WHOLE[:200], WHOLE.replace("quorum: 2", "quorum: 7"), None])
def test_a_broken_file_is_reported_with_the_copys_age_and_the_copy_holds(file: Path, broken: str | None) -> None:
    copy = file.parent / "state" / "countries.yaml"
    os.utime(copy, (copy.stat().st_atime, copy.stat().st_mtime - 7200))
    file.unlink() if broken is None else file.write_text(broken)
    with pytest.raises(ConfigError):
        config.keep_good()
    assert {code: each.name for code, each in config.load_config().items()} == {"uk": "United Kingdom", "de": "Germany"}
    (reported,) = troubles()
    assert str(file) in reported
    assert re.search(
        r"Airflow goes on with what was good 2\.0 hours ago, at [-\d]+ [:\d]+ UTC, and purges nothing", reported
    )
    file.write_text(WHOLE)
    config.keep_good()
    assert troubles() == []


def test_the_age_is_that_of_the_last_look_not_of_the_text(file: Path) -> None:
    copy = file.parent / "state" / "countries.yaml"
    os.utime(copy, (0, 0))
    config.keep_good()
    assert config.copy_age().startswith("good 0.0 hours ago")


def test_without_the_variable_or_a_copy_a_broken_file_is_the_fault_that_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(BROKEN)
    (file.parent / "state" / "countries.yaml").unlink()
    with pytest.raises(ConfigError, match="stands twice"):
        config.load_config()
    monkeypatch.delenv("IMAGESYS_STATE")
    with pytest.raises(ConfigError, match="stands twice"):
        config.load_config()
    (reported,) = troubles()
    assert "Airflow can read no DAG until it is mended: No copy of a good configuration is kept." in reported
    file.write_text(WHOLE)
    config.keep_good()
    assert list(config.load_config()) == ["uk", "de"]


def test_a_copy_that_has_become_invalid_is_not_used(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORUM", "1")
    file.write_text(WHOLE.replace("quorum: 2", "quorum: ${QUORUM}"))
    config.keep_good()
    file.write_text(BROKEN)
    assert config.country_config("uk").quorum == 1
    monkeypatch.delenv("QUORUM")
    os.utime(file.parent / "state" / "countries.yaml")
    with pytest.raises(ConfigError, match="stands twice"):
        config.load_config()


def test_the_command_line_refuses_a_broken_file_whatever_copy_there_is(file: Path) -> None:
    file.write_text(BROKEN)
    for arguments in (("status",), ("purge", "uk", "--dry-run"), ("maintenance", "--dry-run"), ("explain", "1")):
        done = command(*arguments)
        assert done.returncode == EXIT_ENVIRONMENT, done.stderr
        assert f"{file}:9: defaults.quorum: stands twice, in line 8 as well" in done.stderr
    found = command("doctor")
    assert found.returncode == EXIT_ENVIRONMENT
    assert "goes on with what was good 0.0 hours ago" in found.stdout
    assert command("hash", "http://a.example/1.jpg").returncode == 0


def lose(file: Path, **changes: Any) -> None:
    """Write the file without ``de``."""
    head = "".join(f"{name}: {value}\n" for name, value in changes.items())
    file.write_text(head + WHOLE[: WHOLE.index("  de:")])
    config.keep_good()


def test_a_country_that_a_valid_file_has_no_more_is_reported_until_it_is_back(file: Path) -> None:
    lose(file)
    config.keep_good()
    (reported,) = troubles()
    assert re.fullmatch(
        rf"Country de is in {file} no more, since \S+: it has no DAG\. Remedy: put it back; or, if it has ended, say "
        r"so there: `ended_countries: \[de\]`\.",
        reported,
    )
    file.write_text(BROKEN)
    assert [text[:10] for text in troubles()] == ["1 fault(s)", "Country de"]
    file.write_text(WHOLE)
    config.keep_good()
    assert troubles() == []


def test_the_doctor_names_a_lost_country_and_the_copys_age(file: Path) -> None:
    def found(number: int) -> dict[str, Finding]:
        return {finding.check: finding for finding in itertools.islice(examine("uk"), number)}

    whole = found(2)
    assert all(finding.ok for finding in whole.values())
    assert whole["configuration copy"].detail.startswith("good 0.0 hours ago, at ")
    lose(file)
    reported = found(3)["lost country"]
    assert (reported.ok, reported.remedy) == (
        False,
        "put it back; or, if it has ended, say so there: `ended_countries: [de]`.",
    )
    (file.parent / "state" / "countries.yaml").unlink()
    assert not found(3)["configuration copy"].ok


def test_a_country_that_has_ended_is_reported_no_more_and_its_mark_may_go_then(file: Path) -> None:
    lose(file)
    assert len(troubles()) == 1
    lose(file, ended_countries="[de]")
    assert troubles() == []
    lose(file)
    assert troubles() == []


def test_a_half_written_file_is_refused_or_its_lost_countries_are_reported(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGESYS_STAGING", raising=False)
    whole = config.DEFAULT_PATH.read_bytes()
    everything = config.load_config(config.DEFAULT_PATH)
    file.write_bytes(whole)
    config.keep_good()
    from_countries = range(whole.index(b"\ncountries:"), len(whole), 3)
    at_lines = (found.start() for found in re.finditer(rb"\n", whole))
    outcomes: Counter[str] = Counter()
    for end in sorted({*from_countries, *at_lines}):
        file.write_bytes(whole[:end])
        try:
            config.keep_good()
        except ConfigError:
            outcomes["refused"] += 1
            assert re.match(r"\d fault\(s\) in the configuration:\n  \S+:\d+: ", troubles()[0])
            assert config.load_config()
            continue
        found = config.load_config()
        lost = sorted(everything.keys() - found.keys())
        outcomes["reported" if lost else "whole"] += 1
        assert [text.split()[1] for text in troubles()] == lost
        *earlier, _last = found
        assert {code: found[code] for code in earlier} == {code: everything[code] for code in earlier}
    assert outcomes["refused"] > 300
    assert outcomes["reported"] > 10
