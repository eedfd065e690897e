"""Which failures Airflow tries again, and which it must not: a retry that cannot help only delays the message."""

from __future__ import annotations

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from imagesys_lib.errors import CanaryFailed, DatabaseUnavailable, DiskFull, EnvironmentFault, UsageError, WorkLost
from imagesys_lib.nodes import NodeFault


class PreflightMissing(Exception):
    """This run's preflight has not succeeded, so the task did not begin."""


RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule([DatabaseUnavailable, DiskFull], RetryAction.RETRY, reason="databases come back and disks are freed"),
        RetryRule(
            [EnvironmentFault, UsageError],
            RetryAction.FAIL,
            reason="only a person can mend configuration, connections and schema",
        ),
        RetryRule(NodeFault, RetryAction.FAIL, reason="the change log is the retry: the next sync brings the rest"),
        RetryRule(WorkLost, RetryAction.FAIL, reason="the verdict on the run: a second try sees the same"),
        RetryRule(CanaryFailed, RetryAction.FAIL, reason="a second try would hide it, and the next hour looks again"),
        RetryRule(PreflightMissing, RetryAction.FAIL, reason="clear preflight instead"),
    ]
)
"""The first rule that matches counts; everything else takes the task's retries."""
