"""include/countries.yaml is the reference of all settings: each is named, and what is commented out says the truth."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagesys_lib.config import DEFAULT_PATH, CountryConfig, load_config
from imagesys_lib.config.section import Section

COMMENTED = re.compile(r"^( +)# ( *(?:\w+: |\w+:$|\{).*)$", re.MULTILINE)
GIVEN_BY_ITS_KEY = "country"
EXAMPLES = {
    "canary",
    "datasources.104",
    "fetch.allowed_addresses",
    "fetch.denied_addresses",
    "fetch.hosts",
    "fetch.proxy",
    "fetch.rate",
    "node_urls",
    "thumbnail.processes",
}
"""Settings without a default, or with one that shows nothing."""


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped file with all that is commented out."""
    monkeypatch.delenv("IMAGESYS_STAGING", raising=False)
    path = tmp_path / "countries.yaml"
    path.write_text(COMMENTED.sub(r"\1\2", DEFAULT_PATH.read_text(encoding="utf-8")), encoding="utf-8")
    return path


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """The models that a field's type is made of."""
    parts = typing.get_args(annotation)
    if not parts and isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in parts:
        yield from sections_in(part)


def unnamed(model: type[Section], written: list[Mapping[str, Any]], place: str = "") -> list[str]:
    """The settings of a model that none of the sections ``written`` names."""
    missing: list[str] = []
    for name, setting in model.model_fields.items():
        here = [section[name] for section in written if name in section]
        if not here:
            missing.append(f"{place}{name}")
        kind = typing.get_origin(setting.annotation)
        if kind is tuple:
            here = [item for items in here for item in items]
        elif isinstance(kind, type) and issubclass(kind, Mapping):
            here = [item for items in here for item in items.values()]
        for section in sections_in(setting.annotation):
            missing += unnamed(section, here, f"{place}{name}.")
    return missing


def differing(one: Any, other: Any, place: str = "") -> set[str]:
    """Where two settings or sections differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() & other.keys():
        names = one.keys() | other.keys()
        return {part for name in names for part in differing(one.get(name), other.get(name), f"{place}.{name}")}
    return set() if one == other else {place.removeprefix(".")}


def test_every_setting_is_named(whole: Path) -> None:
    raw = yaml.safe_load(whole.read_text(encoding="utf-8"))
    written = [raw["defaults"], *raw["countries"].values()]
    assert unnamed(CountryConfig, written) == [GIVEN_BY_ITS_KEY]


def test_what_is_commented_out_is_valid_and_stands_with_its_default(whole: Path) -> None:
    shipped, full = (load_config(path)["uk"].model_dump() for path in (DEFAULT_PATH, whole))
    assert differing(shipped, full) == EXAMPLES
