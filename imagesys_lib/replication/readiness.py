"""Readiness: whether a node holds what it should, in a file that a load balancer can read.

What it lacks the database knows, unless its disk was lost, emptied or replaced meanwhile. So a disk bears a UUID, and
each country remembers that of the disk whose files it knows. A node with another one, or none, is not ready until a
check of the whole tree has found what is there, and a repair has brought the rest. That holds for each country on
it: the first that finds another disk marks it for all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

from imagesys_lib.config import load_config
from imagesys_lib.context import Context
from imagesys_lib.db.engine import check_connection
from imagesys_lib.errors import EnvironmentFault, NotMade
from imagesys_lib.nodes import Node, NodeSession
from imagesys_lib.replication import change_log, node_records

log = logging.getLogger(__name__)


def is_known(ctx: Context, node: NodeSession) -> bool:
    """Say whether a node has the disk whose files the database knows."""
    return node.identity() == node_records.identity_of(ctx.db, node.node.name)


def recognise(ctx: Context, node: NodeSession) -> bool:
    """Say whether the database knows what this node holds; one that was never given anything is welcome."""
    name, identity = node.node.name, node.identity(make=True)
    if identity == node_records.identity_of(ctx.db, name):
        return True
    doubt_others(ctx, node, identity)
    if node_records.is_strange(ctx.db, name, identity):
        log.warning(
            "%s %s: it was emptied or replaced, or is new by this name: nobody knows what it holds. It is not ready "
            "until a check of its whole tree and a repair. Remedy: none is needed, the next daily run does both; at "
            "once do `imagesys fs-check %s --node %s` and `imagesys repair %s --node %s`.",
            *(ctx.country.upper(), name, ctx.country, name, ctx.country, name),
        )
        return False
    node_records.set_identity(ctx.db, name, identity)
    return True


def doubt_others(ctx: Context, node: NodeSession, identity: str) -> None:
    """Note that all other countries are behind on a node to which its disk is strange, too.

    The mark of each goes when its run has brought what the node lacks.
    """
    for other, name in _others(ctx, node.node):
        if _is_strange(other, name, identity):
            log.warning("%s %s: its disk is another for this country as well", other.country.upper(), name)
            node.set_behind(other.country, True)


def _is_strange(other: Context, node_name: str, identity: str) -> bool:
    """Say whether a disk is strange to another country; where its database cannot be asked, it is."""
    try:
        check_connection(other.db)
        return node_records.is_strange(other.db, node_name, identity)
    except NotMade:
        return False
    except EnvironmentFault:
        return True


def _others(ctx: Context, node: Node) -> Iterator[tuple[Context, str]]:
    """Yield the other countries that are brought to a node, and by which name."""
    for config in load_config().values():
        if config.country == ctx.country:
            continue
        with closing(Context(config, ctx.resolver, ctx.stop)) as other:
            yield from ((other, name) for name in config.nodes if _is_at(other, name, node))


def _is_at(other: Context, name: str, node: Node) -> bool:
    """Say whether a country's node is in the place of this one; where that is not known, it is."""
    try:
        there = other.node(name)
    except EnvironmentFault:
        return True
    return (there.host, there.port, there.root) == (node.host, node.port, node.root)


def is_behind(ctx: Context, node_name: str) -> bool:
    """Say whether a node has changes to apply, or lacks images that were not staged or found missing."""
    return bool(change_log.pending(ctx.db, node_name, 1)) or node_records.is_lacking(
        ctx.db, node_name, ctx.config.nodes
    )


def update_readiness(ctx: Context, node: NodeSession) -> bool:
    """Put the node's ready file there, or take it away; return whether it is ready as far as this country goes."""
    ready = not is_behind(ctx, node.node.name) and is_known(ctx, node)
    node.set_behind(ctx.country, not ready)
    if ready and (marks := node.marks()):
        for country in set(marks) - {other.country for other, _ in _others(ctx, node.node)}:
            log.warning("%s: its mark for %s is taken away: nothing brings that there", node.node.name, country)
            node.set_behind(country, False)
    return ready
