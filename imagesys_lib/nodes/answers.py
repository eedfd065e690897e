"""Answers: what a node says is separated from what its login shell says here, and nowhere else.

``framed`` of the script puts each answer between two marks that bear a token of this question alone; the last one has
the verb's exit code and the answer's length. What a shell prints before or after does no harm; an answer that does not
come, is cut, mixed up or doubled is a fault, never a "no".
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imagesys_lib.nodes.commands import command
from imagesys_lib.nodes.faults import Garbled, NodeFault, node_fault

T = TypeVar("T")

_MOST_AROUND = 1024 * 1024  # bytes before or after an answer; a banner has some hundred
_END = re.compile(rb"(\d{1,3}) (\d{1,15})\n")


class Answer(io.RawIOBase):
    """The answer alone, within what a node writes, as it comes. Raises Garbled where what came cannot be one.

    ``code``: the verb's exit code, None until an answer has come whole. ``around``: what came before it.
    """

    def __init__(self, blocks: Iterator[bytes], token: str) -> None:
        super().__init__()
        self._first, self._last = f"<{token}\n".encode(), f"{token}> ".encode()
        self._parts = self._answer(blocks)
        self._left = b""  # of a part
        self.around = b""
        self.code: int | None = None

    def readable(self) -> bool:
        """Return True: the stream can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer`` with what is there, waiting for the first byte; 0 at the end."""
        data = self._left or next(self._parts, b"")
        size = min(len(buffer), len(data))
        buffer[:size], self._left = data[:size], data[size:]
        return size

    def _answer(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        held, length = b"", 0
        while self._first not in held:
            if len(held) > _MOST_AROUND:
                raise Garbled(f"{_MOST_AROUND} bytes came before it, {held[:100]!r} at first")
            if not (block := next(blocks, b"")):
                self.around = held
                return
            held += block
        self.around, _, held = held.partition(self._first)
        while (at := held.find(self._last)) < 0:
            if (ready := len(held) - len(self._last) + 1) > 0:  # what cannot be the beginning of the mark
                yield held[:ready]
                length, held = length + ready, held[ready:]
            if not (block := next(blocks, b"")):
                return
            held += block
        if at:
            yield held[:at]
        self._finish(held[at + len(self._last) :], blocks, length + at)

    def _finish(self, held: bytes, blocks: Iterator[bytes], length: int) -> None:
        for block in blocks:
            held += block
            if len(held) > _MOST_AROUND:
                raise Garbled(f"more than {_MOST_AROUND} bytes came after the answer")
        end = _END.match(held)
        if end is None:
            return  # cut
        if int(end[2]) != length:
            raise Garbled(f"{length} bytes came where {int(end[2])} were sent")
        if self._first in held:
            raise Garbled("two answers came")
        self.code = int(end[1])


@dataclass(frozen=True)
class Question:
    """A command line that asks a node for what ``verb`` says, and the token that its answer must bear."""

    verb: str
    line: str
    token: str

    def list(self, listed: bytes) -> bytes:
        """Return what is sent along: a list behind the token, so that a shell that reads some of it is noticed."""
        return self.token.encode() + b"\n" + listed if listed else b""

    def judge(self, node: str, answer: Answer, returncode: int, messages: str) -> None:
        """Raise NodeFault unless an answer has come whole and is none of a failure; ``returncode`` is that of ssh."""
        if answer.code == 0:
            return
        if answer.code is not None:
            script_messages = messages.rpartition(f"<{self.token}\n")[2].partition(f"{self.token}>")[0]
            raise node_fault(node, answer.code, script_messages)
        fault = node_fault(node, returncode, messages)
        if returncode == 0 or fault.reason == "transfer":
            words = answer.around.decode("utf-8", "backslashreplace").strip() or messages.strip()
            fault = NodeFault(node, "shell_output", f"no whole answer to `{self.verb}`, but {words[:100]!r}")
        raise fault

    def read(self, node: str, parse: Callable[[str], T], output: bytes, returncode: int, messages: str) -> T:
        """Return the answer within what ssh put out, as ``parse`` reads it. Raises NodeFault as :meth:`judge` does."""
        answer = Answer(iter((output,)), self.token)
        text = ""
        try:
            text = answer.readall().decode("utf-8", "replace")
            self.judge(node, answer, returncode, messages)
            return parse(text)
        except Garbled as garbled:
            raise self.garbled(node, garbled) from None
        except (ValueError, IndexError):
            raise self.garbled(node, Garbled(f"it makes no sense: {text[:100]!r}")) from None

    def garbled(self, node: str, garbled: Garbled) -> NodeFault:
        """Return the fault of a node whose answer makes no sense."""
        return NodeFault(node, "shell_output", f"the answer to `{self.verb}`: {garbled}")


def question(root: Path, verb: str, *arguments: str) -> Question:
    """Return how the node at ``root`` is asked to do what ``verb`` of the script says."""
    token = secrets.token_hex(16)
    return Question(verb, command(root, verb, *arguments, token=token), token)
