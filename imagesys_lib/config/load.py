"""The configuration in force: ``include/countries.yaml``, or, while that is broken, what was good of it last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from imagesys_lib.config import last_good
from imagesys_lib.config.country import CountryConfig
from imagesys_lib.config.process_details import ProcessDetails
from imagesys_lib.config.reading import Loaded, read_file
from imagesys_lib.errors import ConfigError, UsageError

CONFIG_VARIABLE = "IMAGESYS_CONFIG"
DEFAULT_PATH = Path(__file__).resolve().parent.parent.parent / "include" / "countries.yaml"

_goes_on = True


def lis_datasource_process_details(country: str, datasource_id: int) -> ProcessDetails:
    """Return the process details (sharpen, gamma, quality) of a data source, from the loaded configuration."""
    return country_config(country).process_details(datasource_id)


def config_path() -> Path:
    """Return the configuration file in force: ``$IMAGESYS_CONFIG``, else ``include/countries.yaml``."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def country_config(country: str) -> CountryConfig:
    """Return one country's settings. Raises UsageError for a country that is not configured."""
    countries = load_config()
    if country not in countries:
        raise UsageError(f"No country {country!r} in {config_path()}; it has {', '.join(countries)}.")
    return countries[country]


def load_config(path: Path | None = None) -> dict[str, CountryConfig]:
    """Return all countries' settings, by code.

    While the file in force is broken and ``$IMAGESYS_STATE`` has a copy of what was good last, those of the copy; see
    :mod:`imagesys_lib.config.last_good`. Raises ConfigError naming every fault of the file with its line and path.
    """
    if path is not None:
        return _read(path).countries
    try:
        return _read(config_path()).countries
    except ConfigError:
        if not _goes_on:
            raise
        with contextlib.suppress(ConfigError):
            return last_good.read_copy().countries
        raise


@contextlib.contextmanager
def refusing_broken() -> Iterator[None]:
    """Never go on with a copy in the block: whoever gives a command by hand can mend the file first."""
    global _goes_on  # noqa: PLW0603 - a command is all of its process, with every thread
    before, _goes_on = _goes_on, False
    try:
        yield
    finally:
        _goes_on = before


def keep_good() -> None:
    """Keep the file in force, if it is valid, as what was good last; for the DAG processor alone.

    A task that began on an older file would put the older one back.
    Raises ConfigError for a file that is broken, and OSError where ``$IMAGESYS_STATE`` cannot be written.
    """
    last_good.keep_copy(_read(config_path()))


def broken_config() -> ConfigError | None:
    """Return what is wrong with the file in force, and what holds meanwhile; None if it is valid."""
    try:
        _read(config_path())
    except ConfigError as error:
        try:
            then = f"Until it is mended Airflow goes on with what was {last_good.copy_age()}, and purges nothing."
        except ConfigError as none:
            then = f"Airflow can read no DAG until it is mended: {none.message}"
        return ConfigError(f"{error.message.strip()}\n{then}", remedy=error.remedy)
    return None


def config_troubles() -> list[ConfigError]:
    """Return what is to be mended in the configuration: a broken file, and countries that are lost from a valid one."""
    broken = broken_config()
    return [*([broken] if broken else []), *last_good.lost_countries(config_path())]


def _read(path: Path) -> Loaded:
    return read_file(path, remedy=f"create it or point {CONFIG_VARIABLE} at it.")
