"""A node: reached under its known key, with what it was given to run, its disk, its clock."""

from __future__ import annotations

from collections.abc import Iterator

from imagesys_lib.context import Context
from imagesys_lib.db.engine import probe
from imagesys_lib.doctor.clocks import ahead, database_ahead, require_near
from imagesys_lib.doctor.finding import Finding, attempt
from imagesys_lib.errors import ImageSysError
from imagesys_lib.nodes import NodeFault, NodeSession, script_version
from imagesys_lib.stages.sync import require_space


def examine(ctx: Context, name: str) -> Iterator[Finding]:
    """Check one node over one connection; its clock only if it can be reached."""
    clock: list[Finding] = []

    def look() -> str:
        node = ctx.node(name)
        with NodeSession(node) as session:
            _require_version(name, session.version())
            clock.append(attempt(f"node {name} clock", lambda: _clock(ctx, session)))
            space = session.prepare()
        require_space(ctx, name, space)
        free = f"{space.free_bytes >> 20} MB and {space.free_inodes} inodes free"
        return f"{node.login}@{node.host}:{node.port}, {node.root}: {free}, host key verified"

    yield attempt(f"node {name}", look)
    yield from clock


def _require_version(name: str, there: str) -> None:
    """A plain account runs what this code sends along; a forced command is what somebody has installed."""
    if there != script_version():
        raise NodeFault(name, "refused", f"{there} is installed there, this code speaks {script_version()}")


def _clock(ctx: Context, session: NodeSession) -> str:
    """Compare with the database's clock, by which this worker's is judged too; with this worker's if it is away."""
    node_ahead, whose = ahead(session.clock), f"the clock of {session.node.name}"
    try:
        probe(ctx.db)
    except ImageSysError:
        return require_near(whose, node_ahead, "this worker's")
    return require_near(whose, node_ahead - database_ahead(ctx.db), "the database's")
