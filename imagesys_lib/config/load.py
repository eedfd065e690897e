"""Reading ``include/countries.yaml``: ``defaults`` and, under ``countries``, what differs.

Everything is validated at load; all errors are raised at once, each with its line and path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from imagesys_lib.config.country import CountryConfig
from imagesys_lib.config.sections import ProcessDetails
from imagesys_lib.errors import ConfigError, UsageError

CONFIG_VARIABLE = "IMAGESYS_CONFIG"
DEFAULT_PATH = Path(__file__).resolve().parent.parent.parent / "include" / "countries.yaml"


def lis_datasource_process_details(country: str, datasource_id: int) -> ProcessDetails:
    """Return the process details (sharpen, gamma, quality) of a data source, from the loaded configuration."""
    return country_config(country).process_details(datasource_id)


def config_path() -> Path:
    """Return the configuration file in force: ``$IMAGESYS_CONFIG``, else ``include/countries.yaml``."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def country_config(country: str) -> CountryConfig:
    """Return one country's settings. Raises UsageError for a country that is not configured."""
    countries = load_config(config_path())
    if country not in countries:
        raise UsageError(f"No country {country!r} in {config_path()}; it has {', '.join(countries)}.")
    return countries[country]


def load_config(path: Path | None = None) -> dict[str, CountryConfig]:
    """Read and validate the whole file. Raises ConfigError naming every fault with its line and path."""
    path = path or config_path()
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        raise ConfigError(
            f"Cannot read the configuration {path}: {error.strerror}.",
            remedy=f"create it or point {CONFIG_VARIABLE} at it.",
        ) from error
    return _load(path, stamp)


@lru_cache(maxsize=4)
def _load(path: Path, _stamp: int) -> dict[str, CountryConfig]:
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}", remedy="correct the line named above.") from error
    lines = _line_numbers(node)
    problems: list[str] = []
    if not isinstance(raw, dict) or not isinstance(raw.get("countries"), dict) or not raw["countries"]:
        raise ConfigError(f"{path}: a mapping `countries` with at least one country is required.")
    problems += [
        f"{path}:{lines.get((key,), 1)}: {key}: unknown section" for key in raw if key not in ("defaults", "countries")
    ]
    defaults = raw.get("defaults") or {}
    loaded: dict[str, CountryConfig] = {}
    for place, section in (
        (("defaults",), defaults),
        *((("countries", str(k)), v) for k, v in raw["countries"].items()),
    ):
        if section is not None and not isinstance(section, dict):
            shown = ".".join(place)
            problems.append(f"{path}:{lines.get(place, 1)}: {shown}: must be a mapping of settings")
    if problems:
        raise _fault(problems)
    for country, own in raw["countries"].items():
        merged = _expand({**_merge(defaults, own or {}), "country": country}, str(country))
        try:
            loaded[country] = CountryConfig.model_validate(merged)
        except ValidationError as error:
            problems += [_place(path, lines, str(country), item) for item in error.errors()]
    if problems:
        raise _fault(problems)
    return loaded


def _fault(problems: list[str]) -> ConfigError:
    distinct = list(dict.fromkeys(problems))
    listing = "\n  ".join(distinct)
    return ConfigError(
        f"{len(distinct)} fault(s) in the configuration:\n  {listing}\n", remedy="correct the lines named above."
    )


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _expand(value: Any, country: str) -> Any:
    """Put the country and environment variables (``${NAME:-default}``) into every string."""
    if isinstance(value, str):
        value = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: os.environ.get(m[1]) or m[2] or "", value)
        return value.replace("{country}", country)
    if isinstance(value, dict):
        return {key: _expand(item, country) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, country) for item in value]
    return value


def _line_numbers(node: yaml.Node | None, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], int]:
    found: dict[tuple[Any, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found[here] = key.start_mark.line + 1
            found |= _line_numbers(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*path, str(index))
            found[here] = value.start_mark.line + 1
            found |= _line_numbers(value, here)
    return found


def _place(path: Path, lines: Mapping[tuple[Any, ...], int], country: str, item: Any) -> str:
    """Say where a fault is: under the country if it is written there, else under the defaults."""
    where = tuple(str(part) for part in item["loc"])
    for end in range(len(where), -1, -1):
        for prefix in (("countries", country), ("defaults",)):
            line = lines.get((*prefix, *where[:end]))
            if line is not None and (end or prefix[0] == "countries"):
                shown = ".".join((*prefix, *where))
                return f"{path}:{line}: {shown}: {item['msg'].removeprefix('Value error, ')}"
    return f"{path}:1: countries.{country}.{'.'.join(where)}: {item['msg']}"
