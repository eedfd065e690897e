"""YAML as version 1.2 reads it, without all that readers of YAML disagree about.

PyYAML reads version 1.1, in which ``no`` is false, ``010`` is eight and ``12:30`` is 750; and of two equal keys it
takes the last in silence. Here the text is taken from its parser's events, and what can be read in two ways is a fault.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from imagesys_lib.output.printable import printable

KeyPath = tuple[str, ...]
"""Keys and positions that lead to a value."""

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml, where PyYAML was built with it
_DEEPEST = 20
_MOST = 100_000
"""Values in a file, with those that aliases repeat."""

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BOOLEAN_1_1 = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
_NUMBER_1_1 = re.compile(
    r"[-+]?(?: 0[xob][0-9a-f_]+ | \.(?:inf|nan)"  # another base, no number
    r"| 0[0-9_]+(?:\.[0-9_]*)?(?:e[-+]?[0-9_]+)?"  # a leading zero
    r"| (?=[0-9.]*[0-9][0-9.]*_)[0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9_]+)?"  # an underscore
    r"| [1-9][0-9_]*(?::[0-5]?[0-9])+ | [0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]* )",  # to the base of 60
    re.IGNORECASE | re.VERBOSE,
)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


_CORE: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"~|null|Null|NULL|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})"), int),
    (re.compile(r"[-+]?(?=[0-9]*[.eE])(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"), _finite),
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::-((?:[^${}]|\$(?!\{))*))?\}")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a text: the line (from 1), where in the tree that is, and why."""

    line: int
    place: KeyPath
    message: str

    def __str__(self) -> str:
        return f"{self.line}: {'.'.join(self.place)}{': ' if self.place else ''}{self.message}"


@dataclass
class Document:
    """The values of a text as far as it could be read, the line of each, and every fault in it."""

    value: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def read_yaml(data: bytes) -> Document:
    """Read one UTF-8 document; ``${NAME}`` and ``${NAME:-default}`` in values are the environment's. Raises nothing.

    What is at fault has some value all the same, so that all other faults can be found beside it.
    """
    document = Document()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        document.faults.append(Fault(line, (), f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8"))
        return document
    for number, row in enumerate(text.split("\n"), 1):  # once a line: a file of zeros has thousands
        if found := re.search(rf"^%|{_UNPRINTABLE.pattern}", row):
            what = "directives (%) are not read" if found[0] == "%" else f"character U+{ord(found[0]):04X} is not read"
            document.faults.append(Fault(number, (), f"{what}: take it away"))
    if not document.faults:
        try:
            _Reader(text, document).read()
        except yaml.MarkedYAMLError as error:
            document.faults.append(_syntax(error))
    return document


def _syntax(error: yaml.MarkedYAMLError) -> Fault:
    mark, began = error.problem_mark or error.context_mark, error.context_mark
    context = f" ({error.context}, which begins in line {began.line + 1})" if error.context and began else ""
    return Fault(mark.line + 1 if mark else 1, (), f"not valid YAML: {error.problem}{context}")


class _Reader:
    """Turns events into values."""

    def __init__(self, text: str, document: Document) -> None:
        self.events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self.document = document
        self.anchors: dict[str | None, tuple[Any, int]] = {}
        self.values = 0

    def read(self) -> None:
        """Read the only document there is; an empty text is None."""
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return
        self.document.value = self.node(next(self.events), ())
        next(self.events)
        if isinstance(more := next(self.events), yaml.DocumentStartEvent):
            self.fault(more, (), "a second document begins here: a file has one")

    def fault(self, event: yaml.Event, place: KeyPath, message: str) -> None:
        self.document.faults.append(Fault(_line(event), place, message))

    def node(self, event: yaml.Event, place: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, place)
        before = self.values
        self.count(1, event, place)
        if tag := getattr(event, "tag", None):
            self.fault(event, place, f"tags are not read: take {tag} away")
        value: Any
        if isinstance(event, yaml.MappingStartEvent):
            value = self.mapping(place)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.sequence(place)
        else:
            value = self.scalar(event, place)
        self.anchors[getattr(event, "anchor", None)] = value, self.values - before
        return value

    def alias(self, event: yaml.AliasEvent, place: KeyPath) -> Any:
        if event.anchor not in self.anchors:
            self.fault(event, place, f"*{event.anchor} repeats nothing: no &{event.anchor} ends before it")
        value, size = self.anchors.get(event.anchor, (None, 0))
        self.count(size, event, place)
        return value

    def count(self, values: int, event: yaml.Event, place: KeyPath) -> None:
        self.values += values
        if self.values > _MOST or len(place) > _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"line {_line(event)} holds too much, or is nested too deeply")

    def sequence(self, place: KeyPath) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*place, str(len(items)))
            self.document.lines[here] = _line(event)
            items.append(self.node(event, here))
        return items

    def mapping(self, place: KeyPath) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        lines: dict[Any, int] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            here = (*place, str(getattr(event, "value", "?")))
            key = self.key(event, here)
            line = _line(event)
            if (known := same(key)) in lines:
                self.fault(event, here, f"stands twice, in line {lines[known]} as well: only one of them can hold")
            lines.setdefault(known, line)
            self.document.lines.setdefault(here, line)
            found[key] = self.node(next(self.events), here)
        return found

    def key(self, event: yaml.Event, place: KeyPath) -> Any:
        value = self.node(event, place)
        if value == "<<":
            self.fault(event, place, "merge keys are not read: write the settings out, or in `defaults`")
        elif type(value) not in (str, int):
            self.fault(event, place, "a key must be a name, in quotes if need be, or a whole number")
            return str(value)
        return value if isinstance(value, int) else getattr(event, "value", value)  # variables are read in values only

    def scalar(self, event: Any, place: KeyPath) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # in quotes, or a block of text
            return self.filled_in(event, place)
        if _BOOLEAN_1_1.fullmatch(text):
            self.fault(event, place, f"{text} is true or false to some and text to others: write which, or quote it")
            return text
        if _NUMBER_1_1.fullmatch(text):
            self.fault(event, place, f"{text} is not the same number to all: write it in plain decimals, or quote it")
            return text
        value = next((convert(text) for pattern, convert in _CORE if pattern.fullmatch(text)), text)
        return self.filled_in(event, place) if isinstance(value, str) else value

    def filled_in(self, event: Any, place: KeyPath) -> str:
        """Put environment variables into a text. An empty one counts as not set, as it does to a shell's ``:-``."""

        def value_of(found: re.Match[str]) -> str:
            if not (value := os.environ.get(found[1]) or found[2] or "") and found[2] is None:
                self.fault(event, place, f"the variable {found[1]} is not set, and ${{{found[1]}}} names no default")
            return value

        if "${" in _VARIABLE.sub("", event.value):
            self.fault(event, place, "${ begins no variable: ${NAME} and ${NAME:-default} are read")
        text = _VARIABLE.sub(value_of, event.value)
        if (shown := printable(text.replace("\t", " "), lines=True)) != text.replace("\t", " "):
            self.fault(event, place, f"it holds characters that are not seen: {shown}")
        return text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def same(key: Any) -> Any:
    """Return what a key is equal by: 7, "7" and "7.0" are one data source."""
    try:
        return int(re.sub(r"\.0*\s*\Z", "", str(key)))
    except ValueError:
        return key
