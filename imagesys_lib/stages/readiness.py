"""Readiness: whether a node holds what it should, as the database knows it, said where a load balancer can look."""

from __future__ import annotations

from imagesys_lib import changes, node_records
from imagesys_lib.context import Context
from imagesys_lib.nodes import NodeSession


def is_behind(ctx: Context, node_name: str) -> bool:
    """Say whether a node has changes to apply, or lacks images that were let go or found missing."""
    return bool(changes.pending(ctx.db, node_name, 1)) or node_records.is_lacking(ctx.db, node_name)


def update_readiness(ctx: Context, node: NodeSession) -> bool:
    """Put the node's ready file there, or take it away, as the database says; return whether it is ready."""
    ready = not is_behind(ctx, node.node.name)
    node.set_behind(ctx.country, not ready)
    return ready
