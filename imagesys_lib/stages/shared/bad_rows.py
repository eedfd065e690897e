"""Rows of the ETL that a stage could not take as they are: counted, a few of them named, kept with the run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from imagesys_lib.context import Context
from imagesys_lib.etl.listings import BadRow
from imagesys_lib.runs import runs
from imagesys_lib.runs.runs import Run

log = logging.getLogger(__name__)

_MOST_SAMPLES = 10


@dataclass
class BadRows:
    """How many rows were skipped and how many cut; ``samples`` name some listings and what is wrong in their rows."""

    skipped: int = 0
    cut: int = 0
    samples: list[str] = field(default_factory=list)

    def add(self, bad: Sequence[BadRow]) -> None:
        """Count more bad rows."""
        self.cut += sum(row.kept for row in bad)
        self.skipped += sum(not row.kept for row in bad)
        self.samples += map(str, bad[: _MOST_SAMPLES - len(self.samples)])

    def keep(self, ctx: Context, run: Run | None, stage: str) -> None:
        """Log the bad rows, if any, and keep them with the run, if there is one."""
        if self.samples:
            log.warning("%s: %s", ctx.country.upper(), self)
        if self.samples and run is not None:
            runs.keep_bad_rows(ctx.db, run, stage, asdict(self))

    def __str__(self) -> str:
        return f"{self.skipped} rows of the ETL skipped, {self.cut} cut: {'; '.join(self.samples)}"
