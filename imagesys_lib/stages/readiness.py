"""Readiness: whether a node holds what it should, said where a load balancer can look.

What it lacks the database knows, unless its disk was lost, emptied or replaced meanwhile. The node itself remembers
the folders that it had; one that does not find them again is not ready until a check of the whole tree has told the
database what is there, and a repair has brought the rest. That holds for each country on it: the first that finds its
folders gone says so for all.
"""

from __future__ import annotations

import logging
import re

from imagesys_lib import changes, node_records
from imagesys_lib.config import CountryConfig, load_config
from imagesys_lib.context import Context
from imagesys_lib.db.engine import probe
from imagesys_lib.errors import EnvironmentFault, NotMade
from imagesys_lib.nodes import Node, NodeSession

log = logging.getLogger(__name__)

_COUNTRY = re.compile("[a-z]{2}")


def recognise(ctx: Context, node: NodeSession) -> bool:
    """Say whether the database knows what this node holds; one that was never given anything is welcome.

    Of a node that has been brought up to date by another name it knows nothing: not what is lacking there.
    """
    name, is_known = node.node.name, node.is_known(ctx.country)
    if is_known and node_records.has_synced(ctx.db, name):
        return True
    if not is_known:
        doubt_others(ctx, node)
    if node_records.is_relied_on(ctx.db, name):
        why = "it is new by this name" if is_known else "it was emptied or replaced: folders that it had are not there"
        log.warning(
            "%s %s: %s. It is not ready until a check of its whole tree and a repair. Remedy: none is needed, the next "
            "daily run does both; at once do `imagesys fs-check --country %s --node %s` and `imagesys repair --country "
            "%s --node %s`.",
            *(ctx.country.upper(), name, why, ctx.country, name, ctx.country, name),
        )
        node.set_known(ctx.country, False)
        return False
    node.set_known(ctx.country, True)
    return True


def doubt_others(ctx: Context, node: NodeSession) -> None:
    """Note that all countries are behind that lack folders on a node, as one does: its disk may be another.

    Each takes that back itself, when its own run has brought what it lacks.
    """
    name = node.node.name
    for config in load_config().values():
        if config.country == ctx.country or name not in config.nodes:
            continue
        other = Context(config, ctx.resolver, ctx.stop)
        try:
            if other.node(name).root != node.node.root or node.is_known(other.country):
                continue
            if _is_relied_on(other, name):
                log.warning("%s %s: its folders are gone as well", other.country.upper(), name)
                node.set_behind(other.country, True)
        finally:
            other.close()


def _is_relied_on(other: Context, node_name: str) -> bool:
    """Say whether a node should hold files of another country; where its database cannot be asked, it should."""
    try:
        probe(other.db)
        return node_records.is_relied_on(other.db, node_name)
    except NotMade:
        return False
    except EnvironmentFault:
        return True


def is_behind(ctx: Context, node_name: str) -> bool:
    """Say whether a node has changes to apply, or lacks images that were not staged or found missing."""
    return bool(changes.pending(ctx.db, node_name, 1)) or node_records.is_lacking(ctx.db, node_name, ctx.config.nodes)


def update_readiness(ctx: Context, node: NodeSession) -> bool:
    """Put the node's ready file there, or take it away; return whether it is ready as far as this country goes."""
    ready = not is_behind(ctx, node.node.name) and node.is_known(ctx.country)
    if ready:
        node.set_known(ctx.country, True)  # with the folders that it has now
    node.set_behind(ctx.country, not ready)
    for country in filter(_COUNTRY.fullmatch, ownerless(ctx, node) if ready else ()):
        log.warning(
            "%s %s: its mark for %s is taken away: that country is not brought there",
            ctx.country.upper(),
            node.node.name,
            country,
        )
        node.set_behind(country, False)
    return ready


def ownerless(ctx: Context, node: NodeSession) -> list[str]:
    """Return for which countries a node is marked behind though it is none of theirs: nobody brings it up to date."""
    countries = load_config()
    return [mark for mark in node.marks() if mark not in countries or not _is_of(countries[mark], ctx, node.node)]


def _is_of(config: CountryConfig, ctx: Context, node: Node) -> bool:
    """Say whether a country is brought to a node, by this name or another; where that cannot be told, it is."""
    other = Context(config, ctx.resolver, ctx.stop)
    try:
        return node.name in config.nodes or any(_is_same(other.node(name), node) for name in config.nodes)
    except EnvironmentFault:
        return True
    finally:
        other.close()


def _is_same(one: Node, other: Node) -> bool:
    return (one.host, one.port, one.root) == (other.host, other.port, other.root)
