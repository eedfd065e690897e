"""What a check of one node found, and its row in ``lis_node_checks``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from imagesys_lib.context import Context
from imagesys_lib.db.engine import NOW, write
from imagesys_lib.db.schema import lis_node_checks
from imagesys_lib.replication.node_records import CHECK_FIGURES, absent_files
from imagesys_lib.runs import runs


@dataclass
class Checked:
    """What a check of one node found. ``files`` and ``bytes`` count what lies there, or for a scrub what was read.

    ``kind``: ``full`` (the whole tree), ``part`` (a day's share of it), ``scrub`` (checksums of some files) or
    ``db_scan`` (rows of the live table, which is no node's); ``part`` names which. ``findings`` counts by kind:
    ``acked_absent`` and ``missing`` (not there; the node has acknowledged it, or never has), ``wrong_size``, ``extra``,
    ``not_a_file`` (a folder, a link or the like of a thumbnail's name), ``impossible_name``, ``leftover``, ``damaged``
    (other bytes; by scrubs alone), each a file; and ``live_unacknowledged``, each an image. What a scan of the live
    table finds, :func:`db_scan` says.
    """

    node: str
    kind: str = "full"
    part: str = "all"
    files: int = 0
    bytes: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether files and database agree."""
        return not self.findings

    @property
    def absent(self) -> int:
        """How many files are not there that should be, acknowledged or not."""
        return absent_files(self.findings)

    def count(self, kind: str, path: str, most: int) -> None:
        """Count one finding and keep its path if there are fewer than ``most`` samples of its kind."""
        self.findings[kind] += 1
        samples = self.samples.setdefault(kind, [])
        if len(samples) < most:
            samples.append(path)


def keep_result(ctx: Context, result: Checked, run_id: str | None) -> None:
    """Keep a result in ``lis_node_checks``, and what was found among the figures of its run.

    There it stays, whatever a later check of the same run finds, so that the report shows what repair put right.
    """
    row = {
        "node": result.node,
        "run_id": run_id,
        "checked_at": NOW,
        "kind": result.kind,
        "part": result.part,
        "files": result.files,
        "bytes": result.bytes,
        "findings": dict(result.findings),
        "samples": result.samples,
    }
    found = {f"{CHECK_FIGURES}{result.node}.{kind}": count for kind, count in result.findings.items()}

    def work(connection: Connection) -> None:
        connection.execute(sa.insert(lis_node_checks).values(row))
        if run_id is not None:
            runs.raise_figures(connection, run_id, found)

    write(ctx.db, work)
