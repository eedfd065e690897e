"""What a contender of the image benchmark did."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common.outcome import Cost


@dataclass(frozen=True)
class Done:
    """What a contender did: its cost, photos made, failures by reason, and when the last file was written (epoch)."""

    cost: Cost
    made: int
    failed: dict[str, int]
    last_file: float
