"""A node: reached under its known key, with what it was given to run, its disk, its clock, its web server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from imagesys_lib.context import Context
from imagesys_lib.db.engine import check_connection
from imagesys_lib.errors import EnvironmentFault, ImageSysError
from imagesys_lib.nodes import NodeFault, NodeSession, script_version
from imagesys_lib.ops.doctor import web
from imagesys_lib.ops.doctor.database import database_offset, offset, require_near
from imagesys_lib.ops.doctor.finding import Finding, attempt
from imagesys_lib.stages.sync import require_space

_NOWHERE = "imagesys-doctor-asks-for-nothing"


def settings(ctx: Context, name: str) -> tuple[object, ...]:
    """Return what a country says of a node beyond its connection: with other settings it is to be looked at again."""
    config = ctx.config
    floors = config.transfer.node_min_free_mb, config.transfer.node_min_free_inodes
    return name, config.node_root, *floors, config.node_urls.get(name)


def examine(ctx: Context, name: str, check: str) -> Iterator[Finding]:
    """Check one node over one connection; its clock, rsync and web server only if it can be reached."""
    more: list[Finding] = []

    def work() -> str:
        node = ctx.node(name)
        with NodeSession(node) as session:
            _require_version(session)
            more.append(attempt(f"{check} clock", lambda: _clock(ctx, session)))
            space = session.prepare()
            more.append(attempt(f"{check} rsync", lambda: _rsync(session)))
            if url := ctx.config.node_urls.get(name):
                more.append(attempt(f"{check} web server", lambda: web.check_web_server(ctx, session, url)))
        require_space(ctx, name, space)
        free = f"{space.free_bytes >> 20} MB and {space.free_inodes} inodes free"
        return f"{node.login}@{node.host}:{node.port}, {node.root}: {free}, host key verified"

    yield attempt(check, work)
    yield from more


def _require_version(session: NodeSession) -> None:
    """A plain account runs what this code sends along; a forced command is what somebody has installed."""
    there, wanted = session.version(), script_version()
    if there != wanted:
        raise NodeFault(session.node.name, "refused", f"{there} is installed there, this code speaks {wanted}")


def _rsync(session: NodeSession) -> str:
    """Ask for a file that nobody has: so both ends' rsync speak to each other, and nothing comes."""
    name = session.node.name
    try:
        with tempfile.TemporaryDirectory(prefix="imagesys-doctor-") as folder:
            session.pull([_NOWHERE], Path(folder))
    except NodeFault as fault:
        if fault.reason == "shell_output":
            raise
        raise EnvironmentFault(
            f"rsync with node {name} does not do it: {fault.detail}.",
            remedy=f"install rsync on {name}, 3.2 or newer, and let the PATH of its login lead to it (docs/nodes.md).",
        ) from None
    return "speaks with the one here"


def _clock(ctx: Context, session: NodeSession) -> str:
    """Compare with the database's clock, by which this worker's is judged too; with this worker's if it is away."""
    node_offset, whose = offset(session.clock), f"the clock of {session.node.name}"
    try:
        check_connection(ctx.db)
    except ImageSysError:
        return require_near(whose, node_offset, "this worker's")
    return require_near(whose, node_offset - database_offset(ctx.db), "the database's")
