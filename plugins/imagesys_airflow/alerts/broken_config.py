"""The mail about a configuration that is broken, sent by the next task that runs, and the one that it is well again."""

from __future__ import annotations

import datetime as dt
import logging
import os
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.mail import keep, marks, post_files
from imagesys_lib.alerts.marks import Marks
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import config_path, config_troubles, load_config, state_folder

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

_TOLD = "configuration"
_AGAIN_HOURS = 24


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
