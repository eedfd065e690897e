"""A node's web server, where ``node_urls`` names it: does it give what lies on the node?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa

from imagesys_lib.context import Context
from imagesys_lib.db.engine import check_connection, read
from imagesys_lib.db.schema import lis_live_images
from imagesys_lib.errors import EnvironmentFault, ImageSysError
from imagesys_lib.fetch.http.jobs import Fetched
from imagesys_lib.fetch.http.web_servers import web_server_fetcher
from imagesys_lib.images.reasons import ImageFault
from imagesys_lib.nodes import Entry, NodeSession
from imagesys_lib.stages.check import stat_images

_LOOKED_FOR = 20  # live images, of which the node should have one
_ROOT_IS_THERE = frozenset({"http_401", "http_403", "redirect_loop", "not_an_image"})  # a folder is asked for


def check_web_server(ctx: Context, session: NodeSession, url: str) -> str:
    """Ask for a thumbnail that is on the node; for the root itself where there is none yet."""
    name = session.node.name
    entry = _any_thumbnail(ctx, session)
    asked = f"{url}/{ctx.country}/{entry.path}" if entry else f"{url}/"
    remedy = (
        f"look at the web server of {name}, at what stands before it, and whether node_urls of {ctx.country} names the "
        f"root {session.node.root}."
    )
    with (
        tempfile.TemporaryDirectory(prefix="imagesys-doctor-") as folder,
        web_server_fetcher(ctx.config.fetch, ctx.stop) as fetcher,
    ):
        try:
            got = fetcher.fetch(asked, Path(folder) / "served")
        except ImageFault as fault:
            if entry is None and fault.reason.code in _ROOT_IS_THERE:
                return f"{url}: answers; no thumbnail is on {name} yet to be asked for"
            raise EnvironmentFault(f"{asked}: {fault}.".replace("..", "."), remedy=remedy) from None
    size = got.size if isinstance(got, Fetched) else 0
    if entry is not None and size != entry.size:
        raise EnvironmentFault(f"{asked} has {size} bytes, the file on {name} has {entry.size}.", remedy=remedy)
    return f"{asked}: {size} bytes, as on the node" if entry else f"{url}: answers"


def _any_thumbnail(ctx: Context, session: NodeSession) -> Entry | None:
    try:
        check_connection(ctx.db)
        shown = read(ctx.db, sa.select(lis_live_images.c.image_hash).limit(_LOOKED_FOR))
    except ImageSysError:
        return None  # which is a finding of its own
    there = stat_images(session, ctx.country, [row.image_hash for row in shown])
    return there[0] if there else None
