"""Make the pages of docs/ that are made from code and sources: ``make docs``. ``--check`` only says which are stale."""

from __future__ import annotations

import argparse
import hashlib
import inspect
import re
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

from imagesys_lib import interface
from imagesys_lib.cli import app
from imagesys_lib.config.country import CountryConfig
from imagesys_lib.images import reasons

DOCS = Path(__file__).resolve().parents[1] / "docs"
DIAGRAM = DOCS / "architecture.dot"
_LIMITS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "length at least",
    "max_length": "length at most",
    "pattern": "like",
}


def commands() -> str:
    """Return the page of the command line, as Typer writes it."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="imagesys", title="The command `imagesys`")
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def configuration() -> str:
    """Return the page of ``include/countries.yaml``: a table a section, its text from the model's docstring."""
    lines = [
        "# The configuration: `include/countries.yaml`",
        "",
        "Under `defaults` for all countries, under `countries.<code>` for one.",
        "[The file itself](../../include/countries.yaml) names every setting, with examples.",
    ]
    for name, model in _sections("", CountryConfig):
        lines += ["", f"## {f'`{name}`' if name else 'A country'}", "", _prose(model), ""]
        lines += ["| setting | type | default |", "| --- | --- | --- |"]
        lines += [f"| `{key}` | {_type(field)} | {_default(field)} |" for key, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _sections(name: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield name, model
    for key, field in model.model_fields.items():
        for part in _models(field.annotation):
            several = get_origin(field.annotation) not in (None, types.UnionType, Annotated)
            yield from _sections(f"{name}.{key}".lstrip(".") + (".*" if several else ""), part)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _type(field: FieldInfo) -> str:
    shown = re.sub(r"Annotated\[(\w+), .*?\)\]\)?\]", r"\1", inspect.formatannotation(field.annotation))
    shown = re.sub(r"[\w.]+\.(\w+)", r"\1", shown).replace(" | ", " or ")
    limits = [_limit(limit) for limit in field.metadata]
    return ", ".join([shown, *filter(None, limits)]).replace("|", "\\|")


def _limit(limit: object) -> str:
    """Return a constraint of annotated_types or pydantic in words."""
    for name, words in _LIMITS.items():
        if (value := getattr(limit, name, None)) is not None:
            return f"{words} {value}" if name != "pattern" else f"{words} `{value}`"
    return ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{value}`" if value not in (None, {}, (), "") else "none"


def _prose(thing: object) -> str:
    return (inspect.getdoc(thing) or "").replace("``", "`")


def public_api() -> str:
    """Return the page of ``imagesys_lib.interface``: signatures with types, and docstrings."""
    lines = ["# `imagesys_lib.interface`", "", *_code_and_prose(_prose(interface))]
    for name in interface.__all__:
        thing = getattr(interface, name)
        lines += ["", f"## `{name}{_signature(thing)}`", "", _prose(thing)]
        for method, function in vars(thing).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                hints: Mapping[str, Any] = get_type_hints(function)
                assert "return" in hints, f"{name}.{method} says no type"
                lines += ["", f"### `{method}{_signature(function)}`", "", _prose(function)]
    return "\n".join(lines) + "\n"


def _signature(thing: Any) -> str:
    shown = str(inspect.signature(thing)).replace("'", "")
    return re.sub(r"<function (\w+) at \w+>", r"\1", shown).replace("(self, ", "(").replace("(self)", "()")


def _code_and_prose(text: str) -> list[str]:
    prose, _, code = text.partition("\n\n")
    return [prose, "", "```python", "from imagesys_lib.interface import Interface", "", code, "```"]


PAGES = {
    "reasons.md": reasons.as_markdown,
    "reference/cli.md": commands,
    "reference/configuration.md": configuration,
    "reference/interface.md": public_api,
}


def _source_mark() -> str:
    return f"<!-- made from {DIAGRAM.name} {hashlib.sha256(DIAGRAM.read_bytes()).hexdigest()[:16]} -->\n"


def stale() -> list[str]:
    """Return the names of pages that are not what the code would make."""
    names = [name for name, make in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != make()]
    picture = DIAGRAM.with_suffix(".svg")
    if not picture.exists() or not picture.read_text().endswith(_source_mark()):
        names.append(picture.name)
    return names


def main() -> int:
    """Write what is stale; with ``--check`` name it and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for name in (names := stale()):
        path = DOCS / name
        if check:
            sys.stderr.write(f"docs/{name} is stale: make docs\n")
        elif path.suffix == ".svg":
            drawn = subprocess.run(["dot", "-Tsvg", DIAGRAM], check=True, capture_output=True, text=True).stdout
            path.write_text(drawn + _source_mark())
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(PAGES[name]())
    return int(check and bool(names))


if __name__ == "__main__":
    sys.exit(main())
