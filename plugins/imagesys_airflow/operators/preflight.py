"""Preflight: may the run begin? Better one clear message now than a dozen unclear ones in an hour."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from imagesys_airflow.operators.country import CountryJob, CountryOperator
from imagesys_lib.context import Context
from imagesys_lib.errors import ConnectionMissing, EnvironmentFault
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run


class PreflightOperator(CountryOperator):
    """Checks all that a run needs, and begins it."""

    needs_preflight = False

    def work(self, job: CountryJob) -> Any:
        """See :func:`preflight`."""
        return preflight(job.ctx, job.run)


def preflight(ctx: Context, run: Run) -> dict[str, str]:
    """Check connections, schemas and disk, and open the run's row. Raises EnvironmentFault naming the remedy."""
    from imagesys_lib.db.upgrade import require_current  # with Alembic, which no other task needs

    _check_connections(ctx)
    for schema, kind in ((ctx.db, "country"), (ctx.shared, "shared")):
        require_current(schema, kind)
    runs.begin(ctx.db, run)
    ctx.staging.require_space()
    return {"interval": str(run.interval), "kind": run.kind.value}


def _check_connections(ctx: Context) -> None:
    """Look every connection up and report all faults at once; nothing connects yet."""
    checks: list[Callable[[], object]] = [lambda: ctx.db, lambda: ctx.shared, lambda: ctx.etl]
    checks += [partial(ctx.node, name) for name in ctx.config.nodes]
    faults: list[EnvironmentFault] = []
    for check in checks:
        try:
            check()
        except EnvironmentFault as fault:
            faults.append(fault)
    if len(faults) == 1:
        raise faults[0]
    if faults:
        raise ConnectionMissing(f"{len(faults)} connections are not usable: " + " ".join(map(str, faults)))
