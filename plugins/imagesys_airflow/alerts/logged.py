"""Messages that are mailed because of their level, from tasks whose runs belong to no single country.

A country's daily run and weekly check gather theirs until they end, in one mail a run (``incidents``). A run
of the other DAGs has one task a country, or a question that waits for days: each of its tasks mails its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.failures import run_url
from imagesys_airflow.alerts.mail import send, tell
from imagesys_lib.alerts import gathered
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import load_config
from imagesys_lib.context import Context

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)


@contextmanager
def mailing_logged(ctx: Context, context: TaskContext, what: str) -> Iterator[None]:
    """Mail a country's people what the library logs in the block from their ``alerts.mail_level`` on."""
    with gathered.listening(ctx.config.alerts.mail_level) as heard:
        try:
            yield
        finally:
            mail_heard(ctx, context, what, heard)


@contextmanager
def mailing_everybody_logged(context: TaskContext, what: str) -> Iterator[None]:
    """Do so for a task that serves all countries, from the lowest of their levels on."""
    levels = [config.alerts.mail_level.upper() for config in load_config().values()]
    with gathered.listening(min(levels, key=logging.getLevelName)) as heard:
        try:
            yield
        finally:
            if heard.messages:
                send(_message(what, context, heard), load_config())


def mail_heard(ctx: Context, context: TaskContext, what: str, heard: gathered.Heard) -> None:
    """Mail a country's people what was heard, if anything; never changes how the task ends."""
    if heard.messages:
        message = _message(f"{ctx.country.upper()} {what}", context, heard)
        try:
            tell(ctx, message)
        except Exception:
            log.warning("%s: no outbox", ctx.country.upper(), exc_info=True)
            send(message, [ctx.country])


def _message(what: str, context: TaskContext, heard: gathered.Heard) -> Message:
    """Return the mail with what one task has logged."""
    ti = context["ti"]
    run = f"Run {ti.run_id}, task {ti.task_id}"
    return Message(
        subject=f"[ImageSys] {what} logged messages",
        intro="What a task logged from `alerts.mail_level` on. The run's colour does not depend on it.",
        sections=(("Logged", gathered.lines(heard)), ("Where", (run,))),
        links={run: run_url(ti.dag_id, ti.run_id)},
    )
