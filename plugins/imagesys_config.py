"""The configuration under Airflow: the DAG processor keeps what was good of it last, tasks mail what is wrong."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

from imagesys_mail import notify_all

from imagesys_lib.alerts.incidents import Kind, Resolved, open_incident, resolve
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


def configured() -> list[CountryConfig]:
    """Return the countries that DAGs are built for; for DAG files alone.

    The DAG processor keeps the file that it reads them from, if that is good. It forks the processes that read DAG
    files, which Airflow (seen with 3.3) marks by nothing else that tasks do not have, too.
    """
    if "dag-processor" in sys.argv[1:2]:
        try:
            with contextlib.suppress(ConfigError):  # which tasks mail, going on with the copy
                keep_good()
        except (OSError, DiskFull) as error:
            log.warning("The configuration cannot be kept for when it breaks: %s", error)
    return list(load_config().values())


def notify_config_faults(_context: TaskContext) -> None:
    """Mail, once a day over all countries, what is wrong with the configuration, and that it is well again.

    For every task's ``on_execute_callback``: a DAG file may not send, and whatever runs next can. Without
    ``$IMAGESYS_STATE`` no task runs on a broken file.
    """
    if state_folder() is None:
        return
    faults = tuple(str(fault) for fault in config_troubles())
    if not faults:
        notify_all(lambda session: resolve(session, Kind.CONFIG, "", _well))
        return
    log.warning("\n".join(faults))
    message = Message(
        subject="[ImageSys] The configuration is to be mended",
        intro=f"{config_path()}: this is told once a day until it is well.",
        sections=(("What is wrong", faults),),
    )
    notify_all(lambda s: open_incident(s, Kind.CONFIG, "", message), message)


def _well(over: Resolved) -> Message:
    return Message(
        subject="[ImageSys] The configuration is well again",
        intro=f"{config_path()} was to be mended since {over.since}. It is in force as it stands now.",
        sections=(("What to do", ("Nothing.",)),),
    )
