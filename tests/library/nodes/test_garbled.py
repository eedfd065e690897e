"""Nodes that answer something else than they were asked: a fault of theirs with a name, whatever they say."""

from __future__ import annotations

import io
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesys_lib.db.schema import lis_node_repairs
from imagesys_lib.nodes import Garbled, NodeFault, NodeSession, answers, subprocesses
from imagesys_lib.replication import node_records
from imagesys_lib.stages.check import check, differences
from imagesys_lib.stages.check.compare import Page
from imagesys_lib.stages.sync import sync
from include.sandbox import ManifestEntry
from tests.library.stages.test_compare import Seen
from tests.support.world import World

A = "0/1/2/" + "3" * 37
RECORD = f"{A}.1.jpg\t5\0".encode()


def answering(world: World, **programs: str) -> None:
    """Have nodes run another program in place of some verbs; what it prints comes as an answer does."""
    asked = answers.command

    def command(root: Path, verb: str, *arguments: str, token: str) -> str:
        parts = shlex.split(asked(root, verb, *arguments, token=token))
        if verb in programs:
            script = parts[2].removesuffix('serve "$@"')
            parts[2] = f'{script}verb_{verb}() {{ {programs[verb]}; }}\nserve "$@"'
        return shlex.join(parts)

    world.patch.setattr(answers, "command", command)


class Endless(io.RawIOBase):
    """A listing that never ends; it counts what was read of it."""

    read_so_far = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        buffer[:] = b"x" * len(buffer)
        self.read_so_far += len(buffer)
        return len(buffer)


def test_a_listing_without_ends_of_records_is_given_up_before_it_fills_the_memory() -> None:
    endless = Endless()
    with pytest.raises(Garbled, match="no end"):
        list(differences(io.BufferedReader(endless), [Page(RECORD, 1, 5, None)], Seen()))
    assert endless.read_so_far < 2**20


@pytest.mark.parametrize("record", [b"no size", b"a\t", b"a\tfive", b"a\t-5", b""])
def test_a_record_without_a_size_is_named(record: bytes) -> None:
    with pytest.raises(Garbled, match="no path and size"):
        list(differences(io.BytesIO(record + b"\0" + RECORD), [Page(RECORD, 1, 5, None)], Seen()))


@pytest.mark.parametrize(
    ("verb", "ask"),
    [
        ("clock", lambda node: node.clock()),
        ("space", lambda node: node.space()),
        ("prepare", lambda node: node.prepare()),
        ("stat", lambda node: node.stat("uk", [f"{A}.1.jpg"])),
    ],
    ids=["clock", "space", "prepare", "stat"],
)
@pytest.mark.parametrize("answer", ["true", "echo Welcome", "echo a b c d e; echo a b c d e"])
def test_an_answer_that_makes_no_sense_is_a_fault_of_the_node(
    world: World, verb: str, ask: Callable[[NodeSession], object], answer: str
) -> None:
    if (verb, answer) == ("stat", "true"):
        answer = "printf 'a\\tb\\tc\\t81a4'"  # no answer at all says that there is no such file
    with NodeSession(world.ctx.node("n1")) as node:
        answering(world, **{verb: answer})
        with pytest.raises(NodeFault, match=f"shell_output: the answer to `{verb}`: it makes no sense") as caught:
            ask(node)
    assert caught.value.reason == "shell_output"


def test_a_sync_of_a_node_that_makes_no_sense_is_noted(world: World) -> None:
    answering(world, prepare="echo Welcome")
    with pytest.raises(NodeFault, match="makes no sense"):
        sync(world.ctx, "n1")
    assert "makes no sense: 'Welcome" in node_records.sync_fault(world.ctx.db, "n1")


@pytest.mark.parametrize("answer", ["yes", "printf 'x\\0'"])
def test_a_check_of_a_node_that_makes_no_sense_is_a_fault_and_no_finding(
    world: World, live: dict[str, ManifestEntry], answer: str
) -> None:
    answering(world, list=answer)
    with pytest.raises(NodeFault) as caught:
        check(world.ctx, "n1")
    assert caught.value.reason == "shell_output"
    assert world.rows(sa.select(lis_node_repairs)) == []


def test_a_command_that_never_stops_talking_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "_MOST", 2**20)
    with pytest.raises(Garbled, match="more than 1048576 bytes"):
        subprocesses.run(["yes"])
