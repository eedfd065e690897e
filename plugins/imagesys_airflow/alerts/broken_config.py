"""The mail about a configuration that is broken, sent by the next task that runs, and the one that it is well again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.mail import notify_all
from imagesys_lib.alerts.incidents import IncidentKind, Resolved, open_incident, resolve
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import config_path, config_troubles, state_folder

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)


def notify_config_faults(_context: TaskContext) -> None:
    """Mail, once a day over all countries, what is wrong with the configuration, and that it is well again.

    For every task's ``on_execute_callback``: a DAG file may not send, and whatever runs next can. Without
    ``$IMAGESYS_STATE`` no task runs on a broken file.
    """
    if state_folder() is None:
        return
    faults = tuple(str(fault) for fault in config_troubles())
    if not faults:
        notify_all(lambda connection: resolve(connection, IncidentKind.CONFIG, "", _well))
        return
    log.warning("\n".join(faults))
    message = Message(
        subject="[ImageSys] The configuration is to be mended",
        intro=f"{config_path()}: this is mailed once a day until it is well.",
        sections=(("What is wrong", faults),),
    )
    notify_all(lambda s: open_incident(s, IncidentKind.CONFIG, "", message), message)


def _well(over: Resolved) -> Message:
    return Message(
        subject="[ImageSys] The configuration is well again",
        intro=f"{config_path()} was to be mended since {over.since}. It is in force as it stands now.",
        sections=(("What to do", ("Nothing.",)),),
    )
