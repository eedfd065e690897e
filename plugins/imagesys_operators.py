"""Operators: each opens the country's world, calls one stage of the library and says in one line what it did.

Database and library decide what is left to do, so every task may be killed, cleared and run again at any time.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow.utils.state import State
from imagesys_connections import airflow_connection
from imagesys_failures import failures_of, name_of, note_failure
from imagesys_mail import post
from imagesys_retries import PreflightMissing

from imagesys_lib.alerts import gathered
from imagesys_lib.config import broken_config
from imagesys_lib.context import Context, open_context
from imagesys_lib.errors import DatabaseUnavailable, Stopped, WorkLost
from imagesys_lib.intervals import UTC, Interval, latest_complete_day
from imagesys_lib.runs import Kind, Run

if TYPE_CHECKING:
    import logging
    from zoneinfo import ZoneInfo

    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

PREFLIGHT = "preflight"
_LATER = dt.timedelta(seconds=10)


def run_of(context: TaskContext, zone: ZoneInfo) -> Run:
    """Return the library's view of a DAG run.

    Airflow gives a run that was triggered without a logical date no interval: it means the latest complete day.
    """
    dag_run = context["dag_run"]
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    has_interval = start is not None and end is not None and start < end
    interval = Interval(start, end) if has_interval else latest_complete_day(dag_run.run_after, zone)
    return Run(dag_run.run_id, kind_of(dag_run.run_type), interval, force=bool(context["params"].get("force")))


def kind_of(run_type: object) -> Kind:
    """Return the kind of a run; one triggered by an operator, an asset or a person is a manual one."""
    name = str(getattr(run_type, "value", run_type))
    return Kind(name) if name in (Kind.SCHEDULED.value, Kind.BACKFILL.value) else Kind.MANUAL


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
class Job:
    """What a task works with: the country's world, its run, and Airflow's context."""

    ctx: Context
    run: Run
    context: TaskContext


class CountryOperator(BaseOperator):
    """Opens the country's world for :meth:`work`, gives it back in every case, and turns errors into messages.

    ``needs_preflight``: refuse to begin unless this run's preflight succeeded. The chain's later tasks run whatever
    happened before them (``all_done``), and without sound ground each would fail in its own confusing way.
    """

    needs_preflight = True
    ui_color = "#e8f0f2"

    def __init__(self, *, country: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.country = country

    @property
    def instance_name(self) -> str:
        """What the UI calls a mapped instance; see ``map_index_template`` in the DAG."""
        return ""

    @property
    def stop_event(self) -> threading.Event:
        """Set when the task is to end. Made on demand: Airflow copies operators before it runs them."""
        event: threading.Event = self.__dict__.setdefault("_stop_event", threading.Event())
        return event

    def work(self, job: Job) -> Any:
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
                with gathered.listening(ctx.config.alerts.mail_level) as heard:
                    result = as_xcom(self.work(Job(ctx, run_of(context, ctx.config.zone), context)))
            except DatabaseUnavailable:
                heard.messages.clear()  # there is nowhere to keep them, and nobody to wait for
                raise
            finally:
                self.tell(ctx, context, heard)
                ctx.close()
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except Stopped:
            # The supervisor has told us to go: no database of its own would take a note now.
            raise AirflowException("Stopped on request; what it held was given back and nothing is lost.") from None
        except (Exception, AirflowTaskTimeout) as error:
            self.note(context, error)
            raise
        log.info("%s %s: %s", self.country.upper(), self.task_id, one_line(result))
        return result

    def tell(self, ctx: Context, context: TaskContext, heard: gathered.Heard) -> None:
        """Keep what was logged from the level on that is mailed; never changes how the task ends."""
        ti = context["ti"]
        try:
            task = name_of(ti.task_id, ti.map_index, getattr(self, "node", ""))
            gathered.keep(ctx.db, f"{ti.dag_id} {ti.run_id}", task, heard)
        except Exception:
            log.exception("Could not keep what is to be mailed")

    def refuse_without_preflight(self) -> None:
        """End a task that has no sound ground. Raises AirflowSkipException."""
        raise AirflowSkipException("preflight has not succeeded in this run: its message says what to mend")

    def note(self, context: TaskContext, error: BaseException) -> None:
        """Keep the failure's message for the report and the mail; failing to must not hide the failure itself."""
        try:
            note_failure(context, error)
        except Exception:
            log.exception("Could not keep the failure's message")

    def on_kill(self) -> None:
        """Airflow's SIGTERM handler calls this and no more: the stage ends by itself and gives its claim back."""
        self.stop_event.set()


def one_line(result: Any) -> str:
    """Return a result as one line of plain words."""
    if isinstance(result, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {value}" for key, value in result.items())
    if isinstance(result, list):
        return f"{len(result)} items"
    return str(result)


class PreflightOperator(CountryOperator):
    """Checks the ground and opens the run."""

    needs_preflight = False

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_preflight.preflight`."""
        return import_module("imagesys_preflight").preflight(job.ctx, job.run)


class StageOperator(CountryOperator):
    """Runs one stage of a country: ``heal``, ``ingest``, ``publish`` or ``purge``."""

    def __init__(self, *, stage: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage

    def work(self, job: Job) -> Any:
        """Call the stage of that name.

        A backfill skips its purge, and with it all that follows from it; so does each run on a broken configuration.
        """
        if self.stage == "purge" and job.run.kind is Kind.BACKFILL:
            raise AirflowSkipException("a backfill run purges and checks nothing")
        if self.stage == "purge" and (broken := broken_config()):
            raise AirflowSkipException(f"nothing is purged: {broken}")
        if self.stage == "heal":
            import_module("imagesys_reconcile").close_ended(job.ctx, job.context["ti"])
        function = getattr(import_module(f"imagesys_lib.stages.{self.stage}"), self.stage)
        return {"published": function(job.ctx)} if self.stage == "publish" else function(job.ctx, run=job.run)

    def tell(self, ctx: Context, context: TaskContext, heard: gathered.Heard) -> None:
        """Close, too, what earlier runs could not, and tell and send what they could not."""
        super().tell(ctx, context, heard)
        if self.stage == "heal":
            try:
                reconcile = import_module("imagesys_reconcile")
                reconcile.reconcile(ctx, context["ti"])
                reconcile.announce_untold(ctx, context["ti"], list(context["dag"].task_ids))
            except Exception:
                log.exception("Could not look how runs stand of whose end nobody has told")
            post(ctx)


class PlanOperator(CountryOperator):
    """Reserves what is due and returns the run's batches, which the next tasks are mapped over."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.plan.plan`."""
        return import_module("imagesys_lib.stages.plan").plan(job.ctx, job.run)

    def refuse_without_preflight(self) -> None:
        """Fail rather than skip: nothing may be mapped over a task that was skipped."""
        raise PreflightMissing("preflight has not succeeded in this run: nothing can be planned")


class BatchOperator(CountryOperator):
    """Runs ``download`` or ``thumbnail`` on one batch: ``{batch_id, seq, size}``."""

    template_fields: Sequence[str] = ("batch",)
    needs_preflight = False  # a batch exists only where `plan` succeeded

    def __init__(self, *, stage: str, batch: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage, self.batch = stage, batch

    @property
    def instance_name(self) -> str:
        """``batch 3 (500)``: its place in the run, which is also its map index, and its size in images."""
        return f"batch {self.batch['seq']} ({self.batch['size']})" if isinstance(self.batch, dict) else ""

    def work(self, job: Job) -> Any:
        """Call the stage under a holder's name that all tries of this task share.

        A retry thereby takes over its dead predecessor's claim at once, and nobody else's.
        """
        ti = job.context["ti"]
        self.come_after_download(ti)
        function = getattr(import_module(f"imagesys_lib.stages.{self.stage}"), self.stage)
        holder = f"airflow:{ti.dag_id}:{ti.run_id}:{ti.task_id}:{ti.map_index}"
        return function(job.ctx, int(self.batch["batch_id"]), holder)

    def come_after_download(self, ti: Any) -> None:
        """Go back into the queue while the batch is still being downloaded.

        When `plan` is cleared and finds more to do, Airflow (seen with 3.3) starts the new instances of all the group's
        tasks at once, whatever comes before them.
        """
        before = [task_id for task_id in self.upstream_task_ids if task_id.endswith(".download")]
        if not before:
            return
        found = ti.get_task_states(dag_id=ti.dag_id, map_index=ti.map_index, task_ids=before, run_ids=[ti.run_id])
        if not set(found.get(ti.run_id, {}).values()) <= State.finished:
            log.info("its download has not ended yet")
            raise AirflowRescheduleException(dt.datetime.now(UTC) + _LATER)


class ReportOperator(CountryOperator):
    """Judges the run, keeps the summary and fails if work was lost. The run's only leaf: its colour is the run's."""

    needs_preflight = False

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.report.report`. Raises WorkLost naming each loss and its remedy."""
        stages = import_module("imagesys_lib.stages.report")
        ti = job.context["ti"]
        found = failures_of(ti.dag_id, ti.run_id, job.context["dag"].task_ids)
        failures = [failure for failure in found if failure.kind != PreflightMissing.__name__]
        ground = next((failure for failure in failures if failure.name == PREFLIGHT), None)
        if ground or not ti.xcom_pull(task_ids=PREFLIGHT):
            cause = ground.message if ground else "it did not succeed."
            lost = (
                f"Nothing was done, preflight failed: {cause} Then clear `preflight` with downstream; or leave it to "
                "the next run, which does the same work."
            )
            try:
                note = stages.broke_off(job.ctx, job.run, lost)
                import_module("imagesys_note").set_note(ti.dag_id, ti.run_id, note)
            except Exception:  # what failed may be the database itself
                log.exception("The end of this run could not be recorded")
            raise WorkLost(lost)
        summary = stages.report(job.ctx, job.run, [failure.name for failure in failures])
        import_module("imagesys_note").set_note(ti.dag_id, ti.run_id, stages.note(summary))
        if summary.lost:
            raise WorkLost("\n".join(summary.lost))
        return {
            "images": summary.images,
            "live": summary.states.get("live", 0),
            "batches": summary.batches,
            "reasons": {state: sum(counts.values()) for state, counts in summary.reasons.items()},
        }

    def tell(self, ctx: Context, context: TaskContext, heard: gathered.Heard) -> None:
        """Send, too, what waits in the outbox."""
        super().tell(ctx, context, heard)
        post(ctx)
