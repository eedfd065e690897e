"""What was good of ``countries.yaml`` last: its text and its countries, in the directory ``$IMAGESYS_STATE``.

The DAG processor alone writes it; whatever runs under Airflow goes on with it while the file itself is broken. The text
is kept as it was written, so that what ``${NAME}`` stands for is in no file. Without the variable nothing is kept.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
from pathlib import Path

from imagesys_lib.config.reading import Loaded, read_file
from imagesys_lib.errors import ConfigError
from imagesys_lib.storage.atomic_files import write_atomically

STATE_VARIABLE = "IMAGESYS_STATE"
_PRIVATE = 0o600
_UTC = dt.timezone.utc


def state_folder() -> Path | None:
    """Return the directory that all of Airflow's services share for this; None where none is given."""
    folder = os.environ.get(STATE_VARIABLE)
    return Path(folder) if folder else None


def keep_copy(good: Loaded) -> None:
    """Keep a file's text, and note since when a country that was known is in it no more.

    Raises OSError or DiskFull. Two that keep at once need no lock: the next to read the file puts it right.
    """
    folder = state_folder()
    if folder is None:
        return
    known = _known(folder)
    now = dt.datetime.now(_UTC).isoformat(timespec="seconds")
    lost = {
        code: since or now for code, since in known.items() if code not in good.countries | dict.fromkeys(good.ended)
    }
    if (new := {**dict.fromkeys(good.countries, ""), **lost}) != known:
        write_atomically(_list(folder), json.dumps(new).encode(), mode=_PRIVATE)
    copy = _copy(folder)
    if copy.exists() and stat.S_IMODE(copy.lstat().st_mode) == _PRIVATE and copy.read_bytes() == good.data:
        os.utime(copy)  # its age is how long ago it was good
    else:
        write_atomically(copy, good.data, mode=_PRIVATE)


def read_copy() -> Loaded:
    """Return what the copy says. Raises ConfigError where there is none that can be used."""
    folder = state_folder()
    if folder is None:
        raise ConfigError("No copy of a good configuration is kept.", remedy=f"set {STATE_VARIABLE}.")
    return read_file(_copy(folder), remedy=f"let Airflow's DAG processor write to {folder}, and this user read there.")


def copy_age() -> str:
    """Say how long ago the copy was good. Raises as :func:`read_copy` does."""
    read_copy()
    folder = state_folder() or Path()
    at = dt.datetime.fromtimestamp(_copy(folder).stat().st_mtime, _UTC)
    hours = (dt.datetime.now(_UTC) - at) / dt.timedelta(hours=1)
    return f"good {hours:.1f} hours ago, at {at:%Y-%m-%d %H:%M} UTC"


def lost_countries(path: Path) -> list[ConfigError]:
    """Return, for each country that valid files had and the last one has no more, what to do about it."""
    folder = state_folder()
    try:
        known = _known(folder) if folder else {}
    except OSError as error:
        return [ConfigError(f"{_list(folder or path)}: {error.strerror}.", remedy="let this user read it.")]
    return [
        ConfigError(
            f"Country {code} is in {path} no more, since {since}: it has no DAG.",
            remedy=f"put it back; or, if it has ended, say so there: `ended_countries: [{code}]`.",
        )
        for code, since in sorted(known.items())
        if since
    ]


def _copy(folder: Path) -> Path:
    return folder / "countries.yaml"


def _list(folder: Path) -> Path:
    return folder / "countries.json"


def _known(folder: Path) -> dict[str, str]:
    """Return the countries that valid files had, each with since when it is missing; "" if it is not."""
    try:
        return {str(code): str(since) for code, since in json.loads(_list(folder).read_bytes()).items()}
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return {}
