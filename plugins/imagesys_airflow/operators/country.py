"""What all tasks of a country share: each opens its database and disk, runs one stage and logs in a line what it did.

Database and library decide what is left to do, so every task may be killed, cleared and run again at any time.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from imagesys_airflow.alerts.failures import name_of, note_failure
from imagesys_airflow.alerts.logged import mail_logged
from imagesys_airflow.connections import airflow_connection
from imagesys_airflow.dag_run import run_of
from imagesys_lib.alerts import gathered
from imagesys_lib.context import Context, open_context
from imagesys_lib.errors import DatabaseUnavailable, Stopped
from imagesys_lib.runs.runs import Run

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

PREFLIGHT = "preflight"


class Progress:
    """Logs (done, total) at most every ten seconds, so that a long task shows that it lives."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Take note of progress."""
        if time.monotonic() - self._last >= 10:
            self._last = time.monotonic()
            log.info("%s: %d of %d", self._name, done, total)


def as_xcom(result: Any) -> Any:
    """Return a stage's result in the small, plain form that XCom carries: counts and ids."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return dataclasses.asdict(result)
    if isinstance(result, list):
        return [as_xcom(item) for item in result]
    return result


@dataclasses.dataclass(frozen=True)
class CountryJob:
    """What a task works with: the country's databases, disk and nodes, its run, and Airflow's context."""

    ctx: Context
    run: Run
    context: TaskContext


class StoppableOperator(BaseOperator):
    """Asks its work to stop when the task is cleared or runs out of time."""

    @property
    def stop_event(self) -> threading.Event:
        """Set when the task is to end. Made on demand: Airflow copies operators before it runs them."""
        event: threading.Event = self.__dict__.setdefault("_stop_event", threading.Event())
        return event

    def on_kill(self) -> None:
        """Airflow's SIGTERM handler calls this and no more: the stage ends by itself and gives its lease back."""
        self.stop_event.set()


class CountryOperator(StoppableOperator):
    """Opens what the country's task works with for :meth:`work`, closes it in every case, and notes failures.

    ``needs_preflight``: refuse to begin unless this run's preflight succeeded. The chain's later tasks run whatever
    happened before them (``all_done``), and without a preflight each would fail in its own confusing way.
    ``logs_as``: what mails call a task that is the only one of its country in a run, and so mails at once what it has
    logged; the messages of others are kept until their run has ended.
    """

    needs_preflight = True
    logs_as = ""
    ui_color = "#e8f0f2"

    def __init__(self, *, country: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.country = country

    @property
    def instance_name(self) -> str:
        """What the UI calls a mapped instance; see ``map_index_template`` in the DAG."""
        return ""

    def work(self, job: CountryJob) -> Any:
        """Do the work and return what XCom may keep."""
        raise NotImplementedError

    def execute(self, context: TaskContext) -> Any:
        """Run :meth:`work`; see the class."""
        try:
            if self.needs_preflight and not context["ti"].xcom_pull(task_ids=PREFLIGHT):
                self.refuse_without_preflight()
            ctx = open_context(
                self.country,
                resolver=airflow_connection,
                stop=self.stop_event,
                progress=Progress(self.task_id),
            )
            try:
                with gathered.collecting(ctx.config.alerts.mail_level) as logged:
                    result = as_xcom(self.work(CountryJob(ctx, run_of(context, ctx.config.zone), context)))
            except DatabaseUnavailable:
                logged.messages.clear()  # there is nowhere to keep them, and nobody to wait for
                raise
            finally:
                self.after_work(ctx, context, logged)
                ctx.close()
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except Stopped:
            # The supervisor ends this task: its API would take no note now.
            raise AirflowException("Stopped on request; what it held was given back and nothing is lost.") from None
        except (Exception, AirflowTaskTimeout) as error:
            self.note(context, error)
            raise
        log.info("%s %s: %s", self.country.upper(), self.task_id, one_line(result))
        return result

    def after_work(self, ctx: Context, context: TaskContext, logged: gathered.LoggedMessages) -> None:
        """Keep what was logged from the level on that is mailed, or mail it; never changes how the task ends."""
        ti = context["ti"]
        try:
            if self.logs_as:
                mail_logged(ctx, context, self.logs_as, logged)
                return
            task = name_of(ti.task_id, ti.map_index, getattr(self, "node", ""))
            gathered.keep_messages(ctx.db, f"{ti.dag_id} {ti.run_id}", task, logged)
        except Exception:
            log.exception("Could not keep what is to be mailed")

    def refuse_without_preflight(self) -> None:
        """End a task whose run has no preflight. Raises AirflowSkipException."""
        raise AirflowSkipException("preflight has not succeeded in this run: its message says what to mend")

    def note(self, context: TaskContext, error: BaseException) -> None:
        """Keep the failure's message for the report and the mail; failing to must not hide the failure itself."""
        try:
            note_failure(context, error)
        except Exception:
            log.exception("Could not keep the failure's message")


def one_line(result: Any) -> str:
    """Return a result as one line of plain words."""
    if isinstance(result, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in result.items())
    if isinstance(result, list):
        return f"{len(result)} items"
    return str(result)
