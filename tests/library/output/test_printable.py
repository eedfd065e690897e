"""Strangers' words never act on what shows them: a terminal, a log, a mail, a note, a title."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesys_lib.alerts.message import Message
from imagesys_lib.errors import UsageError
from imagesys_lib.images.hash_and_path import lis_hash_for_url
from imagesys_lib.output.printable import printable
from tests.support.world import Ran, World

EVIL = "\x1b]0;pwned\x07\x9b31m\u202e\u2066\x7f\r\n2026-03-01 ERROR forged"
SHOWN = r"\x1b]0;pwned\x07\x9b31m\u202e\u2066\x7f\r\n2026-03-01 ERROR forged"
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
FORGED = re.compile("^2026-03-01 ERROR forged", re.MULTILINE)


def assert_harmless(text: str) -> None:
    assert RAW.findall(text) == []
    assert FORGED.findall(text) == []


def test_what_acts_on_a_terminal_is_escaped_and_all_else_is_as_it_was():
    assert printable(EVIL) == SHOWN
    assert printable("a\tb\nc\x00\ud800\u2028", lines=True) == "a\\tb\nc\\x00\\ud800\\u2028"
    plain = "caf\u00e9 \u65e5\u672c \u0646\u0627\u0645\u0647\u200c\u0627\u06cc \U0001f469\u200d\U0001f4bb \\x1b [red]"
    assert printable(plain) == plain
    for code in range(0x110000):
        kind, shown = unicodedata.category(chr(code)), printable(chr(code))
        if kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(chr(code)) in BIDIRECTIONAL:
            assert shown.isascii()
            assert shown.isprintable()
        elif kind not in ("Cf", "Cn"):
            assert shown == chr(code)


BIDIRECTIONAL = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


@contextlib.contextmanager
def evil_node(world: World, name: str) -> Iterator[None]:
    """Let all that a node says be a stranger's words."""
    keys = world.sandbox.nodes[name].directory / "authorized_keys"
    before = keys.read_text()
    octal = "".join(f"\\{byte:03o}" for byte in EVIL.encode())
    keys.write_text(f"""command="printf '{octal}' >&2; exit 9" {before}""")
    try:
        yield
    finally:
        keys.write_text(before)


def test_no_command_prints_or_logs_a_strangers_words_raw(patient: World, tmp_path: Path):
    """The words stand in listing ids, URLs and hosts, in the answers of a node, and in the call itself."""
    world = patient
    world.patch.setenv("IMAGESYS_LOGS", str(tmp_path / "logs"))
    listing = f"L{EVIL}"[:60]
    urls = [f"http://127.0.0.11:9/{EVIL}.jpg", f"http://a{EVIL}.example/x.jpg", f"ftp://127.0.0.1/{EVIL}"]
    world.put(listing, *urls)
    said: list[Ran] = []
    with evil_node(world, "n1"):
        for call in (
            ("run", "uk", "--interval", "2026-03-28", "--verbose"),
            ("status", "uk"),
            ("report", "uk"),
            ("retry", "uk", "--reason", "bad_url"),
            ("retry", "uk", "--reason", EVIL),
            ("sync", "uk", "--node", "n1", "--verbose"),
            ("fs-check", "uk", "--verbose"),
            ("repair", "uk", "--verbose"),
            ("doctor", "uk"),
            ("explain", listing, "uk"),
            *(("explain", url, "uk") for url in urls),
            ("explain", EVIL),
            ("path", EVIL),
            ("classify", "uk", "--as", EVIL, EVIL),
            ("classify", "uk", "--undo", EVIL),
            ("run", EVIL),
            (EVIL,),
            ("run", "uk", f"--{EVIL}"),
        ):
            said.append(world.cli(*call))
    for ran in said:
        assert_harmless(ran.out + ran.err)
    assert SHOWN[:20] in "".join(ran.out for ran in said)
    assert SHOWN[:20] in "".join(ran.err for ran in said)
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "logs").iterdir()]
    assert any("pwned" in text for text in logs)
    for text in logs:
        assert_harmless(text)


def test_json_keeps_what_is_there(world: World):
    url = f"http://127.0.0.11:9/{EVIL}.jpg"
    world.put("L", url)
    world.cli("ingest", "uk", "--interval", "2026-03-28")
    ran = world.cli("explain", url, "uk", "--no-nodes", "--json")
    assert_harmless(ran.out)
    (found,) = ran.json
    assert found["image_hash"] == lis_hash_for_url(url)
    assert dict(found["facts"])["URL"] == url


def test_names_in_brackets_and_colons_are_no_markup(world: World):
    url = "http://127.0.0.11:9/[red]:heart:[link=http://evil.example]x[/link].jpg"
    world.put("L", url)
    world.cli("ingest", "uk", "--interval", "2026-03-28")
    shown = world.cli("explain", url, "uk", "--no-nodes").out
    assert url in re.sub(r"[\s\u2500-\u257f]", "", shown)


def test_what_the_library_logs_is_escaped_whatever_writes_it(caplog: pytest.LogCaptureFixture):
    """As in a task, where Airflow's handlers write."""
    log = logging.getLogger("imagesys_lib.stages.any")
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("%s, %d\nand a second line of ours", EVIL, 7)
        log.warning("%(words)s", {"words": EVIL})
        log.warning(UsageError(EVIL))
    assert_harmless(caplog.text.replace("\n2026-03-01 ERROR forged", ""))  # an exception may have several lines
    assert logging.makeLogRecord(caplog.records[0].__dict__).getMessage() == caplog.messages[0]
    first, second, third = caplog.messages
    assert first == f"{SHOWN}, 7\nand a second line of ours"
    assert second.startswith(r"\x1b]0;pwned")
    assert third.startswith(r"\x1b]0;pwned")


def test_no_mail_has_a_strangers_words_raw():
    mail = Message(f"[ImageSys] {EVIL}", EVIL, ((EVIL, (EVIL, "two\nlines")),), {EVIL: "http://x/"}).written()
    assert mail.subject == f"[ImageSys] {SHOWN}"
    for part in (mail.text, mail.html):
        assert RAW.findall(part) == []
        assert "pwned" in part
    assert "two\n    lines" in mail.text


# The call itself


@pytest.mark.parametrize(
    "arguments",
    [("explain", b"\xff"), ("hash", b"http://127.0.0.1/caf\xe9.jpg"), (b"\xff",), ("run", b"u\xffk"), (b"--\xff",)],
)
def test_arguments_that_are_not_utf8_get_a_message(world: World, arguments: tuple[str | bytes, ...]):
    child = world.spawn(*arguments)  # type: ignore[arg-type]
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert err.startswith("An argument is not UTF-8: ")
    assert "Remedy: " in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("retry", "uk", "--reason", "d\u043ds")])
def test_a_name_with_letters_that_no_column_holds_gets_a_message(world: World, arguments: tuple[str, ...]):
    ran = world.cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Nothing in database ")
    assert len(ran.err.splitlines()) == 1


def test_a_fault_of_ours_is_shown_without_a_strangers_words_raw(world: World, monkeypatch: pytest.MonkeyPatch):
    def broken(_value: str) -> str:
        raise RuntimeError(EVIL)

    monkeypatch.setattr("imagesys_lib.cli.images.lis_path_for_hash", broken)
    ran = world.cli("path", "x")
    assert ran.code == 1
    assert "RuntimeError" in ran.err
    assert RAW.findall(ran.err) == []
    assert json.dumps(EVIL) not in ran.out
