"""The tasks of the daily DAG that are a country's: one operator for each stage."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from imagesys_airflow.alerts.failures import failures_of
from imagesys_airflow.alerts.mail import post
from imagesys_airflow.alerts.reconcile import announce_untold, close_ended, reconcile
from imagesys_airflow.alerts.run_note import set_note
from imagesys_airflow.operators.country import PREFLIGHT, CountryOperator, Job
from imagesys_airflow.scheduling.retries import PreflightMissing
from imagesys_lib.alerts import gathered
from imagesys_lib.config import broken_config
from imagesys_lib.context import Context
from imagesys_lib.errors import WorkLost
from imagesys_lib.runs import Kind, mark_ended

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)

# Stages are imported where they run: each task's process reads this file and needs one of them.


class HealOperator(CountryOperator):
    """Gives back what dead tasks held, and closes what earlier runs could not."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.heal.heal`."""
        from imagesys_lib.stages.heal import heal

        close_ended(job.ctx, job.context["ti"])
        done = heal(job.ctx, run=job.run)
        mark_ended(job.ctx.db, job.run, "heal")
        return done

    def tell(self, ctx: Context, context: TaskContext, heard: gathered.Heard) -> None:
        """Close the incidents, too, that earlier runs have left open, and mail what they could not."""
        super().tell(ctx, context, heard)
        try:
            reconcile(ctx, context["ti"])
            announce_untold(ctx, context["ti"], list(context["dag"].task_ids))
        except Exception:
            log.exception("Could not look how runs stand of whose end nobody has told")
        post(ctx)


class IngestOperator(CountryOperator):
    """Takes the photo URLs of the run's interval from the ETL."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.ingest.ingest`."""
        from imagesys_lib.stages.ingest import ingest

        done = ingest(job.ctx, run=job.run)
        mark_ended(job.ctx.db, job.run, "ingest")
        return done


class PlanOperator(CountryOperator):
    """Reserves what is due and returns the run's batches, which the next tasks are mapped over."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.plan.plan`."""
        from imagesys_lib.stages.plan import plan

        return plan(job.ctx, job.run)

    def refuse_without_preflight(self) -> None:
        """Fail rather than skip: nothing may be mapped over a task that was skipped."""
        raise PreflightMissing("preflight has not succeeded in this run: nothing can be planned")


class PublishOperator(CountryOperator):
    """Puts images into the live table that enough nodes hold."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.publish.publish`."""
        from imagesys_lib.stages.publish import publish

        published = publish(job.ctx)
        mark_ended(job.ctx.db, job.run, "publish")
        return {"published": published}


class PurgeOperator(CountryOperator):
    """Takes images out of the live table that are no longer listed."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.purge.purge`.

        A backfill skips its purge, and with it all that follows from it; so does each run on a broken configuration.
        """
        from imagesys_lib.stages.purge import purge

        if job.run.kind is Kind.BACKFILL:
            raise AirflowSkipException("a backfill run purges and checks nothing")
        if broken := broken_config():
            raise AirflowSkipException(f"nothing is purged: {broken}")
        done = purge(job.ctx, run=job.run)
        mark_ended(job.ctx.db, job.run, "purge")
        return done


class ReportOperator(CountryOperator):
    """Judges the run, keeps the summary and fails if work was lost. The run's only leaf: its colour is the run's."""

    needs_preflight = False

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.report.report`. Raises WorkLost naming each loss and its remedy."""
        from imagesys_lib.stages import report as stages

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
                set_note(ti.dag_id, ti.run_id, stages.broke_off(job.ctx, job.run, lost))
            except Exception:  # what failed may be the database itself
                log.exception("The end of this run could not be recorded")
            raise WorkLost(lost)
        summary = stages.report(job.ctx, job.run, [failure.name for failure in failures])
        set_note(ti.dag_id, ti.run_id, stages.note(summary))
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
