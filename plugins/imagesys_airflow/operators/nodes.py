"""Operators for frontend nodes, each for one node of one country. Mapped over n1, n2, n3.

A node in trouble fails its own ``sync``, at once and with one message; its later tasks skip and name it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import paramiko
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.providers.ssh.operators.ssh import SSHOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from imagesys_airflow.alerts.failures import NODE_KEY
from imagesys_airflow.operators.country import CountryJob, CountryOperator
from imagesys_lib.context import Context
from imagesys_lib.nodes import NodeFault, Space, fault_reason, parse_space, question
from imagesys_lib.replication import change_log, node_records
from imagesys_lib.runs.runs import RunKind
from imagesys_lib.stages.check import WHOLE, Part, check, daily_part, scrub
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import Synced, sync

if TYPE_CHECKING:
    from airflow.sdk import Context as TaskContext

log = logging.getLogger(__name__)
log.setLevel(logging.WARNING)  # the SSH provider logs what it runs, which is the whole script

_PREPARE_SECONDS = 300


class _Hook(SSHHook):
    """The SSH provider's connection, which logs what a node says: as ours, so that it is escaped."""

    @property
    def log(self) -> logging.Logger:  # type: ignore[override]
        """Return this module's logger."""
        return log


class NodeOperator(CountryOperator):
    """One node of one country. ``node`` is the id of its ssh connection."""

    template_fields: Sequence[str] = ("node",)

    def __init__(self, *, node: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.node = node

    @property
    def instance_name(self) -> str:
        """The node's name."""
        return self.node if isinstance(self.node, str) else ""

    def execute(self, context: TaskContext) -> Any:
        """Run :meth:`work`, and leave the node's name in an XCom for reports and mails."""
        context["ti"].xcom_push(key=NODE_KEY, value=self.node)
        return super().execute(context)

    def skip_unfit(self, job: CountryJob) -> None:
        """Raise AirflowSkipException, naming the node and why, where there is nothing to check."""
        if job.run.kind is RunKind.BACKFILL:
            raise AirflowSkipException(f"{self.node}: a backfill run purges and checks nothing")
        fault = node_records.sync_fault(job.ctx.db, self.node)
        if fault:
            raise AirflowSkipException(f"{self.node} is behind, its sync failed: {fault}")


class SyncNodeOperator(NodeOperator, SSHOperator):  # type: ignore[misc]  # whose execute returns an answer
    """Brings the node up to date with rsync, once a command has readied it (SSHOperator).

    Both go over the same Airflow connection: host, port, user, key and the known host key come from it alone.
    ``only_if_pending``: end at once where the node has nothing to apply.
    """

    template_fields: Sequence[str] = ("node", *SSHOperator.template_fields)

    def __init__(self, *, only_if_pending: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_if_pending = only_if_pending

    @cached_property
    def ssh_hook(self) -> SSHHook:
        """The SSH provider's connection to the node."""
        return _Hook(ssh_conn_id=self.node, conn_timeout=self.conn_timeout, auth_timeout=self.conn_timeout)

    def work(self, job: CountryJob) -> Any:
        """Ready and sync the node. Raises NodeFault, which ``lis_nodes`` then remembers."""
        if self.only_if_pending:
            self.skip_unfit(job)
            if not change_log.backlog(job.ctx.db, self.node):
                return Synced()
        return sync(job.ctx, self.node, job.run, lambda: self._prepare(job.ctx))

    def _prepare(self, ctx: Context) -> Space:
        """Ready the node and return what is free there. Raises NodeFault."""
        node = ctx.node(self.node)
        self.conn_timeout = round(node.transfer.connect_timeout)
        asked = question(node.root, "prepare")
        try:
            with self.get_ssh_client() as client:
                code, output, messages = self.hook.exec_ssh_client_command(
                    client, asked.line, timeout=_PREPARE_SECONDS, environment=None, get_pty=False
                )
        except (OSError, paramiko.SSHException, AirflowException) as error:
            text = f"{type(error).__name__}: {error}"
            is_auth = isinstance(error, paramiko.AuthenticationException)
            raise NodeFault(self.node, "auth" if is_auth else fault_reason(255, text), text) from None
        return asked.read(self.node, parse_space, output, code, messages.decode("utf-8", "replace"))

    def on_kill(self) -> None:
        """Stop, and close the connection if there is one (asking for one here would make it)."""
        self.stop_event.set()
        hook = self.__dict__.get("ssh_hook")
        if hook is not None and hook.client is not None:
            hook.client.close()


class PartOperator(NodeOperator):
    """Looks at the day's part of a node's tree, or with ``full`` at all of it, in a DAG that has no preflight."""

    def __init__(self, *, full: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.full = full
        self.needs_preflight = not full

    def part(self, job: CountryJob) -> Part:
        """Return the part of the tree that is to be checked."""
        return WHOLE if self.full else daily_part(job.ctx, job.run.interval)


class CheckNodeOperator(PartOperator):
    """Compares the files on the node with the database, reads some of them, and marks differences for repair."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.check.check`; a daily run scrubs too."""
        self.skip_unfit(job)
        found = check(job.ctx, self.node, job.run.run_id, self.part(job))
        findings = dict(found.findings)
        if not self.full:
            findings.update(scrub(job.ctx, self.node, job.run.run_id).findings)
        return {"part": found.part, "files": found.files, "bytes": found.bytes, "findings": findings}


class RepairNodeOperator(PartOperator):
    """Gives the node what the check missed, and checks again what it changed: whether all is right now."""

    def work(self, job: CountryJob) -> Any:
        """See :func:`imagesys_lib.stages.repair.repair.repair`."""
        self.skip_unfit(job)
        repaired = repair(job.ctx, self.node, job.run.run_id)
        if repaired.restored or repaired.deleted or repaired.requeued:
            checked = node_records.latest_check(job.ctx.db, self.node, job.run.run_id)
            whole = checked is not None and checked.part == WHOLE.name  # also that of a node that came back empty
            check(job.ctx, self.node, job.run.run_id, WHOLE if whole else self.part(job))
        return repaired
