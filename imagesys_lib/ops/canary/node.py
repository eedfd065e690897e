"""What a canary does at one node: bring the thumbnails, sweep older ones away, read them back over ssh and HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imagesys_lib.context import Context
from imagesys_lib.fetch.http.jobs import Fetched
from imagesys_lib.fetch.http.web_servers import web_server_fetcher
from imagesys_lib.images.hash_and_path import canary_folder, parse_thumbnail_path
from imagesys_lib.nodes import Node, NodeSession
from imagesys_lib.ops.canary.timed_steps import Limit, Step, Wrong
from imagesys_lib.stages.sync import require_space


@dataclass(frozen=True)
class Files:
    """Thumbnails to bring: ``sums`` has the SHA-1 of each by its path below ``out``, which is that below a root."""

    out: Path
    sums: dict[str, str]


def bring_to_node(ctx: Context, node: Node, files: Files, limit: Limit, step: Step) -> None:
    """Do all steps at one node. Raises Wrong, NodeFault or ImageFault in the step that fails."""
    with ExitStack() as stack:
        with step("push"):
            session = stack.enter_context(NodeSession(node, limit))
            require_space(ctx, node.name, session.prepare())
            session.push(files.out, list(files.sums))
        with step("sweep"):
            session.delete(_older(ctx, session, files))
        with step("read"):
            _compare(files, _sums(ctx, session, files))
    if url := ctx.config.node_urls.get(node.name):
        with step("http"):
            _compare(files, _served(ctx, node.name, url, files, limit))


def _older(ctx: Context, session: NodeSession, files: Files) -> list[str]:
    """Return the files of earlier canaries, also of those that were killed."""
    folder = canary_folder(ctx.country)
    with session.listing(folder) as stream:
        names = [record.partition(b"\t")[0].decode() for record in stream.read().split(b"\0")[:-1]]
    paths = [f"{folder}/{name}" for name in names if parse_thumbnail_path(name)]
    return [path for path in paths if path not in files.sums]


def _sums(ctx: Context, session: NodeSession, files: Files) -> dict[str, str]:
    folder = canary_folder(ctx.country)
    there = session.sums(folder, [path.removeprefix(f"{folder}/") for path in files.sums])
    return {f"{folder}/{name}": sha1 for name, sha1 in there.items()}


def _served(ctx: Context, node: str, url: str, files: Files, limit: Limit) -> dict[str, str]:
    """Return the SHA-1 of what the node's web server gives."""
    served = {}
    with web_server_fetcher(ctx.config.fetch, limit) as fetcher:
        for path in files.sums:
            got = fetcher.fetch(f"{url}/{path}", files.out.parent / f"served-{node}")
            assert isinstance(got, Fetched)
            served[path] = got.sha1
    return served


def _compare(files: Files, there: Mapping[str, str]) -> None:
    wrong = [
        f"{path} has other bytes (SHA-1 {there[path]}, not {sha1})" if path in there else f"{path} is not there"
        for path, sha1 in files.sums.items()
        if there.get(path) != sha1
    ]
    if wrong:
        raise Wrong(", ".join(wrong))
