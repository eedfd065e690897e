"""One typo, one message: whatever readers of YAML disagree about is named with its line, together with all else."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

import pytest

from imagesys_lib.config import load_config
from imagesys_lib.config.yaml_text import read_yaml
from imagesys_lib.errors import ConfigError

WHOLE = """\
defaults:
  database: "imagesys_{country}"
  image_base_url: "https://images.example.com/lis"
  sizes: [{width: 60, height: 60, mode: crop}]
  fetch: {user_agent: "ImageSys-test/1 (+https://example.com)"}
  etl: {table: listings}
  nodes: [n1, n2, n3]
  quorum: 2
  staging: {root: /tmp/imagesys}
  alerts: {mail_to: ["ops@example.com"]}
countries:
  uk: {name: United Kingdom, time_zone: Europe/London}
  de:
    name: Germany
    time_zone: Europe/Berlin
"""
LINES = WHOLE.splitlines()


def faults(tmp_path: Path, data: str | bytes) -> list[str]:
    """What is wrong with a file, each as ``line: place: message``."""
    path = tmp_path / "countries.yaml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    return [line.removeprefix(f"{path}:") for line in lines if line.startswith(f"{path}:")]


def with_line(number: int, line: str) -> str:
    """The whole file with another line in the place of one."""
    return "\n".join([*LINES[: number - 1], line, *LINES[number:]]) + "\n"


def values(text: str) -> Any:
    """What a text without faults says."""
    document = read_yaml(text.encode())
    assert document.faults == []
    return document.value


def test_the_whole_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "countries.yaml"
    for data in (WHOLE.encode(), codecs.BOM_UTF8 + WHOLE.encode(), b"---\n" + WHOLE.replace("\n", "\r\n").encode()):
        path.write_bytes(data)
        assert list(load_config(path)) == ["uk", "de"]


@pytest.mark.parametrize(
    "word", [f(w) for w in ("y", "n", "yes", "no", "on", "off") for f in (str, str.upper, str.title)]
)
def test_a_word_that_may_be_a_boolean_is_refused_with_its_line(tmp_path: Path, word: str) -> None:
    assert faults(tmp_path, with_line(14, f"    name: {word}")) == [
        f"14: countries.de.name: {word} is true or false to some and text to others: write which, or quote it"
    ]
    (fault,) = faults(tmp_path, with_line(13, f"  {word}:"))
    assert fault.startswith(f"13: countries.{word}: {word} is true or false to some")
    (fault,) = faults(tmp_path, with_line(10, f"  alerts: {{mail_to: ['ops@example.com'], daily_report: {word}}}"))
    assert fault.startswith("10: defaults.alerts.daily_report: ")
    found = faults(tmp_path, with_line(7, f"  nodes: [n1, {word}]"))
    assert [fault for fault in found if fault.startswith("7: defaults.nodes.1: ")]


def test_the_same_words_in_quotes_are_text(tmp_path: Path) -> None:
    path = tmp_path / "countries.yaml"
    path.write_text(with_line(13, '  "no":').replace("name: Germany", "name: 'Off'"))
    assert load_config(path)["no"].name == "Off"


@pytest.mark.parametrize(
    "number",
    [
        *("010", "00", "007", "+01", "-01", "089", "01.5", "0o10", "0O10", "0b11", "0x1F", "0X1f", "0_0", "0x1"),
        *("1_000", "1_", "-1_0", "1_000.5", "1._5", ".5_0", "1_0e3"),
        *("12:30", "1:0", "-1:30:00", "190:20:30.15", "03:00.0", ".inf", "-.INF", "+.Inf", ".nan", ".NaN"),
    ],
)
def test_a_number_that_has_several_values_is_refused_with_its_line(tmp_path: Path, number: str) -> None:
    wanted = f"{number} is not the same number to all: write it in plain decimals, or quote it"
    assert faults(tmp_path, with_line(8, f"  quorum: {number}")) == [f"8: defaults.quorum: {wanted}"]
    assert faults(tmp_path, with_line(14, f"    name: {number}")) == [f"14: countries.de.name: {wanted}"]
    hosts = with_line(14, f"    name: Germany\n    datasources: {{{number}: {{quality: 80}}}}")
    assert f"15: countries.de.datasources.{number}: {wanted}" in faults(tmp_path, hosts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("0", 0),
            ("7", 7),
            ("-3", -3),
            ("+3", 3),
            ("0.5", 0.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1.5e-1", 0.15),
        ),
        *((text, True) for text in ("true", "True", "TRUE")),
        *((text, False) for text in ("false", "False", "FALSE")),
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
        *(
            (text, text)
            for text in ("03:00", "10.1.0.0/16", "2026-03-28", "0x0.8", "1.2.3", "n1", "yesterday", "nO1", "=")
        ),
        *((f"'{text}'", text) for text in ("no", "010", "1_000", "12:30", "true", "null")),
        ("9" * 40, "9" * 40),
        ("1e999", "1e999"),
    ],
)
def test_what_all_readers_agree_about_is_read_as_yaml_1_2_says(text: str, value: Any) -> None:
    found = values(f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_equal_keys_are_refused_with_both_lines_at_any_level(tmp_path: Path) -> None:
    twice = "stands twice, in line {} as well: only one of them can hold"
    text = WHOLE + "  uk: {name: Again}\n  fr: {name: France, name: Gaul, time_zone: Europe/Paris}\ndefaults: {}\n"
    text += "countries: {it: {name: Italy, time_zone: Europe/Rome, datasources: {7: {}, '7': {}}}}\n"
    found = faults(tmp_path, text)
    for line, place, first in ((16, "countries.uk", 12), (17, "countries.fr.name", 17), (18, "defaults", 1)):
        assert f"{line}: {place}: {twice.format(first)}" in found
    assert f"19: countries: {twice.format(11)}" in found
    assert f"19: countries.it.datasources.7: {twice.format(19)}" in found
    statuses = with_line(14, "    name: x\n    fetch: {statuses: {404: gone, '404.0': unknown}}")
    assert faults(tmp_path, statuses) == [f"15: countries.de.fetch.statuses.404.0: {twice.format(15)}"]


def test_a_countrys_key_goes_over_the_equal_one_of_the_defaults_however_it_is_quoted(tmp_path: Path) -> None:
    path = tmp_path / "countries.yaml"
    own = WHOLE.replace("    name: Germany", "    name: Germany\n    datasources: {'7': {gamma: 1.1}}")
    path.write_text(own.replace("defaults:\n", "defaults:\n  datasources: {7: {quality: 80}}\n"))
    details = load_config(path)["de"].process_details(7)
    assert (details.quality, details.gamma) == (80, 1.1)


def test_a_file_of_zeros_is_reported_in_one_line(tmp_path: Path) -> None:
    zeros = WHOLE.encode()[:300] + bytes(30_000)
    assert faults(tmp_path, zeros) == ["10: character U+0000 is not read: take it away"]


@pytest.mark.parametrize(
    ("number", "line", "fault"),
    [
        (1, "%YAML 1.1\n---\ndefaults:", "1: directives (%) are not read: take it away"),
        (1, "%YAML 1.2\n---\ndefaults:", "1: directives (%) are not read: take it away"),
        (1, "%TAG ! tag:example.com,2000:\n---\ndefaults:", "1: directives (%) are not read: take it away"),
        (1, "#\r%YAML 1.1\r---\rdefaults:", "2: directives (%) are not read: take it away"),
        (1, "%OTHER\n---\ndefaults:", "1: directives (%) are not read: take it away"),
        (8, "  quorum: !!int 2", "8: defaults.quorum: tags are not read: take tag:yaml.org,2002:int away"),
        (8, "  quorum: ! 2", "8: defaults.quorum: tags are not read: take ! away"),
        (14, "    name: !!python/name:os.system", "14: countries.de.name: tags are not read"),
        (7, "  nodes: !mine [n1, n2, n3]", "7: defaults.nodes: tags are not read: take !mine away"),
        (14, "    name: *none", "14: countries.de.name: *none repeats nothing: no &none ends before it"),
        (14, "    <<: {name: Germany}\n    name: x", "14: countries.de.<<: merge keys are not read"),
        (14, "    ? [name]\n    : Germany\n    name: x", "14: countries.de.?: a key must be a name"),
        (14, "    true: x\n    name: x", "14: countries.de.true: a key must be a name, in quotes if need be"),
        (14, "    ~: x\n    name: x", "14: countries.de.~: a key must be a name, in quotes if need be"),
        (14, "    1.5: x\n    name: x", "14: countries.de.1.5: a key must be a name, in quotes if need be"),
        (11, "---\ncountries:", "11: a second document begins here: a file has one"),
        (14, "\tname: Germany", "14: not valid YAML: "),
        (
            14,
            "    name: 'Germany",
            "16: not valid YAML: found unexpected end of stream (while scanning a quoted scalar",
        ),
        (14, "    name: {Germany", "15: not valid YAML: "),
        (14, "    name: a: b", "14: not valid YAML: mapping values are not allowed"),
        (14, "    name: a\0b", "14: character U+0000 is not read: take it away"),
        (14, "    name: a\x1b[1mb", "14: character U+001B is not read: take it away"),
        (14, "    name: a\u2028b", "14: character U+2028 is not read: take it away"),
        (14, "    name: a\x85b", "14: character U+0085 is not read: take it away"),
        (14, "    name: a\ufeffb", "14: character U+FEFF is not read: take it away"),
        (14, f"    name: {'[' * 30}{']' * 30}", "1: not valid YAML: line 14 holds too much, or is nested too deeply"),
        (
            8,
            "  quorum: ${QUORUM}",
            "8: defaults.quorum: the variable QUORUM is not set, and ${QUORUM} names no default",
        ),
        (8, "  quorum: '${EMPTY}'", "8: defaults.quorum: the variable EMPTY is not set"),
        (14, "    name: '${QUORUM'", "14: countries.de.name: ${ begins no variable"),
        (14, "    name: '${QUORUM:?no}'", "14: countries.de.name: ${ begins no variable"),
        (14, "    name: '${QUORUM-2}'", "14: countries.de.name: ${ begins no variable"),
        (14, "    name: '${QUORUM:-${EMPTY}}'", "14: countries.de.name: ${ begins no variable"),
        (14, "    name: '${QUORUM:-x_{country}}'", "14: countries.de.name: ${ begins no variable"),
        (14, '    name: "\\e[31mred"', "14: countries.de.name: it holds characters that are not seen: \\x1b[31mred"),
        (14, "    name: ${RAW}", "14: countries.de.name: it holds characters that are not seen: \\u202eraw"),
        (14, "    name: a\u200bb", "14: countries.de.name: it holds characters that are not seen: a\\u200bb"),
        (
            14,
            "    max_megapixels: inf\n    name: x",
            "14: countries.de.max_megapixels: Input should be a finite number",
        ),
        (1, "defaults: 0\nother:", "1: defaults: must be a mapping of settings"),
        (1, "ended_countries: [uk]\ndefaults:", "1: ended_countries: uk: still under `countries`"),
        (1, "ended_countries: fr\ndefaults:", "1: ended_countries: must be a list of country codes"),
        (1, "ended_countries: [france]\ndefaults:", "1: ended_countries: must be a list of country codes"),
        (1, "ended_countries: false\ndefaults:", "1: ended_countries: must be a list of country codes"),
    ],
)
def test_what_is_not_read_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, line: str, fault: str
) -> None:
    monkeypatch.delenv("QUORUM", raising=False)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("RAW", "\u202eraw")
    found = faults(tmp_path, with_line(number, line))
    assert [each for each in found if each.startswith(fault)], found


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (
            WHOLE.replace("Germany", "Österreich").encode("latin-1"),
            "14: byte 0xd6 is not UTF-8: save the file as UTF-8",
        ),
        (WHOLE.encode("utf-16"), "1: byte 0xff is not UTF-8: save the file as UTF-8"),
        (WHOLE.encode("utf-16-le"), "1: character U+0000 is not read: take it away"),
        (WHOLE.encode()[:-4] + b"\xc3", "15: byte 0xc3 is not UTF-8: save the file as UTF-8"),
        (b"", "1: countries: a mapping with at least one country is required"),
        (b"# nothing\n", "1: countries: a mapping with at least one country is required"),
    ],
)
def test_a_file_that_is_no_utf8_or_empty_is_named_with_its_line(tmp_path: Path, data: bytes, fault: str) -> None:
    assert faults(tmp_path, data)[0] == fault


def test_typos_and_wrong_settings_are_reported_together_each_once(tmp_path: Path) -> None:
    text = (
        WHOLE.replace("quorum: 2", "quorum: 010")
        .replace("Europe/Berlin", "Europe/Berlln")
        .replace("\n  de:", "\n  no:")
    )
    found = faults(tmp_path, text + "    quorum: 0\n    start: '24:00'\n    quorum: 1\n")
    assert [fault[: fault.index(":", 4)] for fault in found] == [
        "8: defaults.quorum",
        "13: countries.no",
        "15: countries.no.time_zone",
        "17: countries.no.start",
        "18: countries.no.quorum",
    ]


def test_anchors_repeat_a_value_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "countries.yaml"
    path.write_text(with_line(12, "  uk: &uk {name: Twin, time_zone: Europe/London}\n  fr: *uk"))
    assert {code: config.name for code, config in load_config(path).items()} == {
        "uk": "Twin",
        "fr": "Twin",
        "de": "Germany",
    }


def test_anchors_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert faults(tmp_path, bomb + WHOLE)[0].startswith("1: not valid YAML: line 5 holds too much")
