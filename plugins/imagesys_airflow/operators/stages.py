"""The tasks of the daily DAG in their order: one operator for each stage that is not a node's."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException
from airflow.utils.state import State

from imagesys_airflow.alerts.failures import failures_of
from imagesys_airflow.alerts.mail import post
from imagesys_airflow.alerts.reconcile import announce_missed, close_ended, reconcile
from imagesys_airflow.alerts.run_note import write_note
from imagesys_airflow.operators.country import PREFLIGHT, CountryJob, CountryOperator
from imagesys_airflow.scheduling.retries import PreflightMissing
from imagesys_lib.alerts import gathered
from imagesys_lib.config import broken_config
from imagesys_lib.config.intervals import UTC
from imagesys_lib.context import Context
from imagesys_lib.errors import WorkLost
from imagesys_lib.runs.runs import RunKind

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

_LATER = dt.timedelta(seconds=10)

# Stages are imported where they run: each task's process reads this file and needs one of them.


class HealOperator(CountryOperator):
    """Requeues what dead tasks held, and closes what earlier runs could not."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.heal.heal`."""
        from imagesys_lib.stages.heal import heal

        close_ended(job.ctx, job.context["ti"])
        return heal(job.ctx, run=job.run)

    def after_work(self, ctx: Context, context: TaskContext, logged: gathered.LoggedMessages) -> None:
        """Keep what was logged, resolve incidents that earlier runs left open, and send what they could not mail."""
        super().after_work(ctx, context, logged)
        try:
            reconcile(ctx, context["ti"])
            announce_missed(ctx, context["ti"], list(context["dag"].task_ids))
        except Exception:
            log.exception("Could not ask for the state of runs whose end is not recorded")
        post(ctx)


class IngestOperator(CountryOperator):
    """Takes the photo URLs of the run's interval from the ETL."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.ingest.ingest`."""
        from imagesys_lib.stages.ingest import ingest

        return ingest(job.ctx, run=job.run)


class PlanOperator(CountryOperator):
    """Reserves what is due and returns the run's batches, which the next tasks are mapped over."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.plan.plan`."""
        from imagesys_lib.stages.plan import plan

        return plan(job.ctx, job.run)

    def refuse_without_preflight(self) -> None:
        """Fail rather than skip: nothing may be mapped over a task that was skipped."""
        raise PreflightMissing("preflight has not succeeded in this run: nothing can be planned")


class BatchOperator(CountryOperator):
    """Works on one batch under a holder's name that all tries of the task share.

    A retry thereby takes over its dead predecessor's lease at once, and nobody else's.
    """

    template_fields: Sequence[str] = ("batch",)
    needs_preflight = False  # a batch exists only where `plan` succeeded

    def __init__(self, *, batch: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch

    @property
    def instance_name(self) -> str:
        """``batch 3 (500)``: its place in the run, which is also its map index, and its size in images."""
        return f"batch {self.batch['seq']} ({self.batch['size']})" if isinstance(self.batch, dict) else ""

    @property
    def batch_id(self) -> int:
        """The id of the batch in ``lis_batches``."""
        return int(self.batch["batch_id"])

    @staticmethod
    def holder(job: CountryJob) -> str:
        """Return the name under which the task holds its batch."""
        ti = job.context["ti"]
        return f"airflow:{ti.dag_id}:{ti.run_id}:{ti.task_id}:{ti.map_index}"


class DownloadOperator(BatchOperator):
    """Fetches a batch's photos."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.download.download.download`."""
        from imagesys_lib.stages.download.download import download

        return download(job.ctx, self.batch_id, self.holder(job))


class ThumbnailOperator(BatchOperator):
    """Makes the thumbnails of a batch's photos."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.thumbnail.thumbnail`."""
        from imagesys_lib.stages.thumbnail import thumbnail

        self._come_after_download(job.context["ti"])
        return thumbnail(job.ctx, self.batch_id, self.holder(job))

    def _come_after_download(self, ti: Any) -> None:
        """Go back into the queue while the batch is still being downloaded.

        When `plan` is cleared and finds more to do, Airflow (seen with 3.3) starts the new instances of all the group's
        tasks at once, whatever comes before them.
        """
        before = list(self.upstream_task_ids)
        found = ti.get_task_states(dag_id=ti.dag_id, map_index=ti.map_index, task_ids=before, run_ids=[ti.run_id])
        if not set(found.get(ti.run_id, {}).values()) <= State.finished:
            log.info("its download has not ended yet")
            raise AirflowRescheduleException(dt.datetime.now(UTC) + _LATER)  # type: ignore[no-untyped-call]


class PublishOperator(CountryOperator):
    """Puts images into the live table that enough nodes hold, and tells whoever waits for that by an asset event."""

    def __init__(self, *, country: str, **kwargs: Any) -> None:
        super().__init__(country=country, outlets=[AssetAlias(asset_name(country))], **kwargs)

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.publish.publish`.

        The event is of what the run has published, so that a try that finds nothing more to do emits it again.
        """
        from imagesys_lib.stages.publish import publish, published_by

        published = publish(job.ctx, job.run)
        if any((counts := published_by(job.ctx, job.run)).values()):
            name = asset_name(self.country)
            day = job.run.interval.start.astimezone(job.ctx.config.zone).date().isoformat()
            told: dict[str, Any] = {"country": self.country, "day": day, "run_id": job.run.run_id, **counts}
            job.context["outlet_events"][AssetAlias(name)].add(Asset(name, uri=f"imagesys://{self.country}/live"), told)
        return {"published": published}


def asset_name(country: str) -> str:
    """Return the name of the asset, and of its alias, that stands for a country's live images."""
    return f"imagesys_{country}_live"


class PurgeOperator(CountryOperator):
    """Takes images out of the live table that are no longer listed."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.purge.purge`.

        A backfill skips its purge, and with it all that follows from it; so does each run on a broken configuration.
        """
        from imagesys_lib.stages.purge import purge

        if job.run.kind is RunKind.BACKFILL:
            raise AirflowSkipException("a backfill run purges and checks nothing")
        if broken := broken_config():
            raise AirflowSkipException(f"nothing is purged: {broken}")
        return purge(job.ctx, run=job.run)


class ReportOperator(CountryOperator):
    """Judges the run, keeps the summary and fails if work was lost. The run's only leaf: its colour is the run's."""

    needs_preflight = False

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.report.report`. Raises WorkLost naming each loss and its remedy."""
        from imagesys_lib.stages.report import broke_off, report, run_note

        ti = job.context["ti"]
        found = failures_of(ti.dag_id, ti.run_id, job.context["dag"].task_ids)
        failures = [failure for failure in found if failure.kind != PreflightMissing.__name__]
        refusal = next((failure for failure in failures if failure.name == PREFLIGHT), None)
        if refusal or not ti.xcom_pull(task_ids=PREFLIGHT):
            cause = refusal.message if refusal else "it did not succeed."
            lost = (
                f"Nothing was done, preflight failed: {cause} Then clear `preflight` with downstream; or leave it to "
                "the next run, which does the same work."
            )
            try:
                write_note(ti.dag_id, ti.run_id, broke_off(job.ctx, job.run, lost))
            except Exception:  # what failed may be the database itself
                log.exception("The end of this run could not be recorded")
            raise WorkLost(lost)
        summary = report(job.ctx, job.run, [failure.name for failure in failures])
        write_note(ti.dag_id, ti.run_id, run_note(summary))
        if summary.lost:
            raise WorkLost("\n".join(summary.lost))
        return {
            "images": summary.images,
            "live": summary.states.get("live", 0),
            "batches": summary.batches,
            "reasons": {state: sum(counts.values()) for state, counts in summary.reasons.items()},
        }

    def after_work(self, ctx: Context, context: TaskContext, logged: gathered.LoggedMessages) -> None:
        """Keep what was logged, and send the mails that wait in the outbox."""
        super().after_work(ctx, context, logged)
        post(ctx)
