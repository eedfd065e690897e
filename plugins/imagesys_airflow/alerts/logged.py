"""Messages that are mailed because of their level, from tasks whose runs belong to no single country.

A country's daily run and weekly check gather theirs until they end, in one mail a run (``incidents``). A run
of the other DAGs has one task a country, or a question that waits for days: each of its tasks mails its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from imagesys_airflow.alerts.failures import run_url
from imagesys_airflow.alerts.mail import notify, notify_all
from imagesys_lib.alerts import gathered, outbox
from imagesys_lib.alerts.message import Message
from imagesys_lib.config import load_config
from imagesys_lib.context import Context

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext


@contextmanager
def mailing_logged(ctx: Context | None, context: TaskContext, what: str) -> Iterator[None]:
    """Mail what the library logs in the block from ``alerts.mail_level`` on: to a country's people, or to all.

    All are meant where ``ctx`` is None; then the lowest of their levels counts.
    """
    configs = [ctx.config] if ctx else load_config().values()
    levels = [config.alerts.mail_level.upper() for config in configs]
    with gathered.collecting(min(levels, key=logging.getLevelName)) as logged:
        try:
            yield
        finally:
            mail_logged(ctx, context, what, logged)


def mail_logged(ctx: Context | None, context: TaskContext, what: str, logged: gathered.LoggedMessages) -> None:
    """Mail what was logged, if anything; never changes how the task ends."""
    if not logged.messages:
        return
    message = _message(f"{ctx.country.upper()} {what}" if ctx else what, context, logged)
    put = partial(outbox.put, message=message)
    if ctx:
        notify(ctx, put, message)
    else:
        notify_all(put, message)


def _message(what: str, context: TaskContext, logged: gathered.LoggedMessages) -> Message:
    """Return the mail with what one task has logged."""
    ti = context["ti"]
    run = f"Run {ti.run_id}, task {ti.task_id}"
    return Message(
        subject=f"[ImageSys] {what} logged messages",
        intro="What a task logged from `alerts.mail_level` on. The run's colour does not depend on it.",
        sections=(("Logged", gathered.lines(logged)), ("Where", (run,))),
        links={run: run_url(ti.dag_id, ti.run_id)},
    )
