"""From the text of ``countries.yaml`` to one validated model per country, with every fault in it named at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imagesys_lib.config.country import CountryConfig
from imagesys_lib.config.yaml_text import Document, Fault, KeyPath, read_yaml, same
from imagesys_lib.errors import ConfigError

_SECTIONS = ("defaults", "countries", "ended_countries")


@dataclass(frozen=True)
class Loaded:
    """A valid file: its bytes as they are, its countries, and those that it says have ended."""

    data: bytes
    countries: dict[str, CountryConfig]
    ended: frozenset[str]


def read_file(path: Path, remedy: str = "") -> Loaded:
    """Read and validate the whole file. Raises ConfigError naming every fault with its line and path.

    ``remedy`` is for a file that cannot be read at all.
    """
    try:
        stat = path.stat()
        return read_version(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.", remedy=remedy) from error


@lru_cache(maxsize=4)
def read_version(path: Path, _stamp: tuple[int, int, int]) -> Loaded:
    """Read a file as it is at the moment; unless its time or size has changed, it is not read again."""
    data = path.read_bytes()
    document = read_yaml(data)
    countries: dict[str, CountryConfig] = {}
    faults = document.faults
    if document.value is not None or not faults:
        misshapen = list(_shape(document))
        countries, invalid = ({}, []) if misshapen else _validate(document)
        faults = sorted({*faults, *misshapen, *invalid}, key=lambda fault: (fault.line, fault.place))
    if faults:
        listing = "".join(f"\n  {path}:{fault}" for fault in faults)
        raise ConfigError(
            f"{len(faults)} fault(s) in the configuration:{listing}\n", remedy="correct the lines named above."
        )
    return Loaded(data, countries, frozenset(document.value.get("ended_countries") or ()))


def _shape(document: Document) -> Iterator[Fault]:
    """Yield what is wrong with the sections of the file, before any setting is looked at."""

    def fault(place: KeyPath, message: str) -> Fault:
        return Fault(document.lines.get(place, 1), place, message)

    raw = document.value
    if not isinstance(raw, dict) or not isinstance(raw.get("countries"), dict) or not raw["countries"]:
        yield fault(("countries",), "a mapping with at least one country is required")
        return
    yield from (fault((str(key),), "unknown section") for key in raw if key not in _SECTIONS)
    sections = [
        (("defaults",), raw.get("defaults")),
        *((("countries", str(k)), v) for k, v in raw["countries"].items()),
    ]
    for place, section in sections:
        if section is not None and not isinstance(section, dict):
            yield fault(place, "must be a mapping of settings")
    ended = [] if raw.get("ended_countries") is None else raw["ended_countries"]
    if not isinstance(ended, list) or not all(
        isinstance(code, str) and re.fullmatch("[a-z]{2}", code) for code in ended
    ):
        yield fault(("ended_countries",), "must be a list of country codes")
    elif both := sorted(raw["countries"].keys() & set(ended)):
        yield fault(("ended_countries",), f"{', '.join(both)}: still under `countries`")


def _validate(document: Document) -> tuple[dict[str, CountryConfig], list[Fault]]:
    """Return the countries that are valid, and each fault of the others that is not reported already."""
    countries: dict[str, CountryConfig] = {}
    faults: list[Fault] = []
    reported = {fault.place for fault in document.faults}
    for code, settings in document.value["countries"].items():
        country = str(code)
        merged = _name({**merge(document.value.get("defaults") or {}, settings or {}), "country": country}, country)
        try:
            countries[country] = CountryConfig.model_validate(merged)
        except ValidationError as error:
            for item in error.errors():
                place, fault = _place(document.lines, country, item)
                faults += [] if place in reported else [fault]
    return countries, faults


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with what ``over`` sets, mappings within mappings merged as well."""
    merged = dict(base)
    known = {same(key): key for key in base}
    for name, value in over.items():
        key = known.get(same(name), name)
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _name(value: Any, country: str) -> Any:
    """Put the country into every string of some settings."""
    if isinstance(value, str):
        return value.replace("{country}", country)
    if isinstance(value, dict):
        return {key: _name(item, country) for key, item in value.items()}
    if isinstance(value, list):
        return [_name(item, country) for item in value]
    return value


def _place(lines: Mapping[KeyPath, int], country: str, item: Any) -> tuple[KeyPath, Fault]:
    """Say where a fault is: under the country if it is written there, else under the defaults.

    Returns the nearest place that is written in the file, and the fault.
    """
    where = tuple(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    for end in range(len(where), -1, -1):
        for prefix in (("countries", country), ("defaults",)):
            written = (*prefix, *where[:end])
            if written in lines and (end or prefix[0] == "countries"):
                return written, Fault(lines[written], (*prefix, *where), message)
    return ("countries",), Fault(lines.get(("countries",), 1), ("countries", country, *where), message)
