"""Doctor: is everything that an installation needs as it must be? Each check names its remedy.

A module for each subject. Nothing is changed, but that a schema gets a table for a moment (``CREATE`` and ``DROP`` are
rights like others) and a node the folders that a sync would make.
"""

from __future__ import annotations

from collections.abc import Iterator

from imagesys_lib.config import broken_config, config_path, config_troubles, copy_age, load_config, state_folder
from imagesys_lib.context import Context, open_context
from imagesys_lib.ops.doctor import airflow_setup, database, etl, mail, node, worker
from imagesys_lib.ops.doctor.finding import Finding, attempt

__all__ = ["Finding", "examine"]


def examine(country: str | None = None, *, send_mail: bool = False) -> Iterator[Finding]:
    """Check everything, for one country or all, and yield each result as it comes.

    ``send_mail`` sends a message to those whom each country notifies.
    """
    if broken := broken_config():
        yield Finding("configuration", False, broken.message, broken.remedy)
        return
    countries = load_config()
    yield Finding("configuration", True, f"{config_path()}: {len(countries)} countries")
    yield from (Finding("lost country", False, lost.message, lost.remedy) for lost in config_troubles())
    if state_folder():
        yield attempt("configuration copy", copy_age)
    contexts = [open_context(name) for name in ([country] if country else countries)]
    try:
        programs = list(worker.programs())
        yield from programs
        yield from database.examine("imagesys_shared", lambda: contexts[0].shared, "shared")
        yield from mail.examine(contexts, send=send_mail)
        yield from airflow_setup.examine([ctx.config for ctx in contexts])
        for ctx in contexts:
            yield from _country(ctx)
        if all(program.ok for program in programs):
            yield from _nodes(contexts)
    finally:
        for ctx in contexts:
            ctx.close()


def _country(ctx: Context) -> Iterator[Finding]:
    yield from database.examine(f"{ctx.country} database", lambda: ctx.db, "country")
    yield from etl.examine(ctx)
    yield attempt(f"{ctx.country} staging", lambda: worker.staging(ctx))


def _nodes(contexts: list[Context]) -> Iterator[Finding]:
    """Look at each node with the settings of the first country that has it, and once more for any other ones."""
    seen: set[tuple[object, ...]] = set()
    named: set[str] = set()
    for ctx in contexts:
        for name in ctx.config.nodes:
            settings = node.settings(ctx, name)
            if settings not in seen:
                seen.add(settings)
                again = f" for {ctx.country}" if name in named else ""
                yield from node.examine(ctx, name, f"node {name}{again}")
                named.add(name)
