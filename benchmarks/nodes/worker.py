"""What runs in a process of its own, as a task does: REPORT, then what to do and its arguments."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common.processes import machine_seconds
from imagesys_lib.context import Context, open_context
from imagesys_lib.db.engine import CHUNK
from imagesys_lib.stages.check import check, scrub
from imagesys_lib.stages.repair.repair import repair
from imagesys_lib.stages.sync import sync

from .settings import COUNTRY

Result = dict[str, Any]

_PAGE = (
    "SELECT image_hash, thumbs FROM lis_images WHERE desired = 'present' AND image_hash > %s "
    "ORDER BY image_hash LIMIT %s"
)


def main() -> None:
    """Do it, and write down what came of it and what it cost, from an open connection to the database on."""
    report, name, *arguments = sys.argv[1:]
    ctx = open_context(COUNTRY)
    try:
        ctx.db.connect().close()
        machine, used, began = machine_seconds(), time.process_time(), time.perf_counter()
        result = _WORK[name](ctx, *arguments)
        wall, cpu, machine = time.perf_counter() - began, time.process_time() - used, machine_seconds() - machine
    finally:
        ctx.close()
    Path(report).write_text(json.dumps({"wall": wall, "cpu": cpu, "machine": machine, "result": result}))


def _sync(ctx: Context, node: str) -> Result:
    return asdict(sync(ctx, node))


def _repair(ctx: Context, node: str) -> Result:
    return asdict(repair(ctx, node))


def _check(ctx: Context, node: str) -> Result:
    checked = check(ctx, node)
    return {"files": checked.files, "findings": dict(checked.findings)}


def _scrub(ctx: Context, node: str, files: str) -> Result:
    checked = scrub(ctx, node, files=int(files))
    return {"files": checked.files, "findings": dict(checked.findings)}


def _read(ctx: Context) -> Result:
    """Read what a check must read, page by page in its order, with the plain driver and to nowhere."""
    images, after = 0, ""
    connection = ctx.db.raw_connection()
    try:
        cursor = connection.cursor()
        while cursor.execute(_PAGE, (after, CHUNK)):
            rows = cursor.fetchall()
            images, after = images + len(rows), rows[-1][0]
    finally:
        connection.close()
    return {"images": images}


def _merge(_ctx: Context, one: str, other: str) -> Result:
    """Compare two sorted lists line by line: the loop that somebody would write."""
    only = [0, 0]
    lines = 0
    with Path(one).open("rb") as first, Path(other).open("rb") as second:
        left, right = next(first, b""), next(second, b"")
        while left or right:
            lines += 1
            if left == right:
                left, right = next(first, b""), next(second, b"")
            elif left and (not right or left < right):
                only[0] += 1
                left = next(first, b"")
            else:
                only[1] += 1
                right = next(second, b"")
    return {"files": lines, "only": only}


_WORK: dict[str, Callable[..., Result]] = {
    "sync": _sync,
    "check": _check,
    "repair": _repair,
    "scrub": _scrub,
    "read": _read,
    "merge": _merge,
}

if __name__ == "__main__":
    main()
