"""Readiness: whether a node holds what it should, said where a load balancer can look.

What it lacks the database knows, unless its disk was lost, emptied or replaced meanwhile. The node itself remembers
the folders that it had; one that does not find them again is not ready until a check of the whole tree has told the
database what is there, and a repair has brought the rest.
"""

from __future__ import annotations

import logging

from imagesys_lib import changes, node_records
from imagesys_lib.context import Context
from imagesys_lib.nodes import NodeSession

log = logging.getLogger(__name__)


def recognise(ctx: Context, node: NodeSession) -> bool:
    """Say whether the database knows what this node holds; one that was never given anything is welcome."""
    if node.is_known(ctx.country):
        return True
    name = node.node.name
    if node_records.is_relied_on(ctx.db, name):
        log.warning(
            "%s %s: it was emptied or replaced: folders that it had are not there. It is not ready until a check of "
            "its whole tree and a repair. Remedy: none is needed, the next daily run does both; at once do `imagesys "
            "fs-check --country %s --node %s` and `imagesys repair --country %s --node %s`.",
            *(ctx.country.upper(), name, ctx.country, name, ctx.country, name),
        )
        return False
    node.set_known(ctx.country, True)
    return True


def is_behind(ctx: Context, node_name: str) -> bool:
    """Say whether a node has changes to apply, or lacks images that were let go or found missing."""
    return bool(changes.pending(ctx.db, node_name, 1)) or node_records.is_lacking(ctx.db, node_name)


def update_readiness(ctx: Context, node: NodeSession) -> bool:
    """Put the node's ready file there, or take it away; return whether it is ready."""
    ready = not is_behind(ctx, node.node.name) and node.is_known(ctx.country)
    if ready:
        node.set_known(ctx.country, True)  # with the folders that it has now
    node.set_behind(ctx.country, not ready)
    return ready
