"""The configuration under Airflow: the DAG processor keeps what was good of it last, and tasks tell what is wrong."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import sys
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.mail import keep, marks, post_files
from imagesys_lib.alerts.marks import Marks
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import (
    CountryConfig,
    config_path,
    config_troubles,
    keep_good,
    load_config,
    state_folder,
)
from imagesys_lib.errors import ConfigError, DiskFull

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

_TOLD = "configuration"
_AGAIN_HOURS = 24


def configured() -> list[CountryConfig]:
    """Return the countries that DAGs are built for; for DAG files alone.

    The DAG processor keeps the file that it reads them from, if that is good. It forks the processes that read DAG
    files, which Airflow (seen with 3.3) marks by nothing else that tasks do not have, too.
    """
    if "dag-processor" in sys.argv[1:2]:
        try:
            with contextlib.suppress(ConfigError):  # which tasks tell, going on with the copy
                keep_good()
        except (OSError, DiskFull) as error:
            log.warning("The configuration cannot be kept for when it breaks: %s", error)
    return list(load_config().values())


def tell_config(_context: TaskContext) -> None:
    """Mail, once a day over all countries, what is wrong with the configuration, and that it is well again.

    For every task's ``on_execute_callback``: a DAG file may not send, and whatever runs next can. Marks lie where all
    machines see them, or else one mails for each machine. Without ``$IMAGESYS_STATE`` no task runs on a broken file.
    """
    folder = state_folder()
    if folder is None:
        return
    notes = Marks(folder) if os.access(folder, os.W_OK) else marks()
    troubles = tuple(str(trouble) for trouble in config_troubles())
    if troubles:
        log.warning("\n".join(troubles))
        told = notes.again(_TOLD, lambda: keep(_broken(troubles), load_config()), hours=_AGAIN_HOURS)
    else:
        told = notes.over(_TOLD, lambda since: keep(_well(since), load_config()))
    if told:
        post_files()


def _broken(troubles: tuple[str, ...]) -> Message:
    return Message(
        subject="[ImageSys] The configuration is to be mended",
        intro=f"{config_path()}: this is told once a day until it is well.",
        sections=(("What is wrong", troubles),),
    )


def _well(since: dt.datetime) -> Message:
    return Message(
        subject="[ImageSys] The configuration is well again",
        intro=f"{config_path()} was to be mended since {since:%Y-%m-%d %H:%M} UTC. It is in force as it stands now.",
        sections=(("What to do", ("Nothing.",)),),
    )
