"""Errors that end a stage. Each says what happened, where, and what to do about it.

An image's failure is data (see :mod:`imagesys_lib.images.reasons`) and never one of these.
"""

from __future__ import annotations

from imagesys_lib.output.printable import printable

EXIT_DONE = 0
EXIT_WORK_LOST = 1
EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3


class ImageSysError(Exception):
    """A stage cannot go on.

    ``remedy`` is one sentence for whoever has to act; ``exit_code`` is what the command line returns.
    """

    exit_code = EXIT_WORK_LOST

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message, self.remedy = printable(message, lines=True), printable(remedy, lines=True)
        super().__init__(f"{self.message} Remedy: {self.remedy}" if remedy else self.message)


class EnvironmentFault(ImageSysError):
    """The environment fails: database, disk, connection, configuration. Nothing was lost."""

    exit_code = EXIT_ENVIRONMENT


class ConfigError(EnvironmentFault):
    """The configuration is wrong; the message lists every fault with its place."""


class ConnectionMissing(EnvironmentFault):
    """A connection that the configuration names does not exist."""


class DatabaseUnavailable(EnvironmentFault):
    """The database did not answer within the bounded tries."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes no writes: a replica, or a server that is switched over."""


class NotMade(EnvironmentFault):
    """A table is not there, or not as this release needs it: nobody has migrated that schema."""


class DiskFull(EnvironmentFault):
    """The staging disk has reached its floor; admission stops before anything is half written."""


class UsageError(ImageSysError):
    """The caller asked for something that does not exist."""

    exit_code = EXIT_USAGE


class BatchFailed(ImageSysError):
    """No host at all is reached: our own network, not the images. No attempt was consumed."""


class LeaseLost(ImageSysError):
    """Another worker has taken this batch over; this one's late write was refused."""


class LeaseHeld(ImageSysError):
    """Another worker holds this batch and its lease has not run out."""


class LockHeld(ImageSysError, TimeoutError):
    """Another worker kept a lock for longer than anybody should wait."""


class LockLost(ImageSysError):
    """The server has given a lock away: it restarted, or the connection that held the lock is gone."""


class WorkLost(ImageSysError):
    """A run ends with a batch unfinished or a node behind."""


class CanaryFailed(ImageSysError):
    """The canary did not come through: the path takes too long, or a node does not hold what it was given."""


class CanaryWaits(EnvironmentFault):
    """The canary was not tried: the host of its photo is to be left alone for now."""


class Stopped(Exception):
    """The work was asked to stop (SIGTERM, a cleared task); what it held was given back."""
