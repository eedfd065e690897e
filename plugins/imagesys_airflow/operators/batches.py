"""The tasks of one batch, ``{batch_id, seq, size}``: download, then thumbnail."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowRescheduleException
from airflow.utils.state import State

from imagesys_airflow.operators.country import CountryOperator, Job
from imagesys_lib.intervals import UTC

log = logging.getLogger(__name__)

_LATER = dt.timedelta(seconds=10)


class BatchOperator(CountryOperator):
    """Works on one batch under a holder's name that all tries of the task share.

    A retry thereby takes over its dead predecessor's claim at once, and nobody else's.
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
        """The batch's row."""
        return int(self.batch["batch_id"])

    @staticmethod
    def holder(job: Job) -> str:
        """Return the name under which the task claims its batch."""
        ti = job.context["ti"]
        return f"airflow:{ti.dag_id}:{ti.run_id}:{ti.task_id}:{ti.map_index}"


class DownloadOperator(BatchOperator):
    """Fetches a batch's photos."""

    def work(self, job: Job) -> Any:
        """See :func:`imagesys_lib.stages.download.download`."""
        from imagesys_lib.stages.download import download

        return download(job.ctx, self.batch_id, self.holder(job))


class ThumbnailOperator(BatchOperator):
    """Makes the thumbnails of a batch's photos."""

    def work(self, job: Job) -> Any:
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
