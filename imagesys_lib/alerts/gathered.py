"""Messages that are mailed because of their level: what a run's tasks logged, gathered into one mail a run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from imagesys_lib.alerts.message import Sections
from imagesys_lib.db.engine import CHUNK, NOW, write
from imagesys_lib.db.schema import lis_messages

_MOST = 50
"""Different messages that are kept of one task; one that logs more has said what it has to say."""


class LoggedMessages(logging.Handler):
    """Counts the library's messages from a level on."""

    def __init__(self, level: str) -> None:
        super().__init__(level.upper())
        self.messages: Counter[tuple[str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of a message."""
        message = record.levelname, record.getMessage()[:1000]
        if message in self.messages or len(self.messages) < _MOST:
            self.messages[message] += 1


@contextmanager
def collecting(level: str) -> Iterator[LoggedMessages]:
    """Collect what the library logs in the block, from a level on."""
    logged, logger = LoggedMessages(level), logging.getLogger("imagesys_lib")
    logger.addHandler(logged)
    try:
        yield logged
    finally:
        logger.removeHandler(logged)


def keep_messages(db: Engine, run: str, task: str, logged: LoggedMessages) -> None:
    """Keep what a task logged until its run's mail is made."""
    rows = [
        {"run": run, "task": task, "level": level, "text": text, "times": times}
        for (level, text), times in logged.messages.items()
    ]
    if rows:
        write(db, lambda connection: connection.execute(sa.insert(lis_messages).values(noted_at=NOW), rows))


def take_messages(connection: Connection, run: str) -> Sections:
    """Return what is kept of a run, by task, and forget it: the caller puts it into a mail.

    Of more than a thousand messages the first thousand are given, the rest counted.
    """
    by_task: dict[str, list[str]] = {}
    more = 0
    while rows := _take_page(connection, run):
        if by_task:
            more += len(rows)
            continue
        for row in rows:
            by_task.setdefault(row.task, []).append(_line(row.level, row.text, row.times))
    sections = tuple((task, tuple(lines)) for task, lines in by_task.items())
    rest = (("And more", (f"{more} other messages: the tasks' logs have them.",)),) if more else ()
    return sections + rest


def _take_page(connection: Connection, run: str) -> Sequence[Any]:
    c = lis_messages.c
    query = sa.select(c.message_id, c.task, c.level, c.text, c.times).where(c.run == run)
    rows = connection.execute(query.order_by(c.message_id).limit(CHUNK).with_for_update()).all()
    if rows:
        connection.execute(sa.delete(lis_messages).where(c.message_id.in_([row.message_id for row in rows])))
    return rows


def lines(logged: LoggedMessages) -> tuple[str, ...]:
    """Return the lines of a mail about what was logged."""
    return tuple(_line(level, text, times) for (level, text), times in logged.messages.items())


def _line(level: str, text: str, times: int) -> str:
    return f"{level}: {text}" + (f" ({times} times)" if times > 1 else "")
