"""A run's summary as tests of the report begin with it."""

from __future__ import annotations

from imagesys_lib.stages.report import NodeState, Summary


def a_summary(**values: object) -> Summary:
    """Return the summary of a small good run with other ``values`` in it."""
    fields = {
        "country": "uk",
        "run_id": "r1",
        "kind": "scheduled",
        "interval": "A/B",
        "images": 10,
        "states": {"live": 8, "rejected": 2},
        "reasons": {"rejected": {"http_404": 2}},
        "batches": 1,
        "unfinished": {},
        "nodes": {"n1": NodeState("n1", 0, 0, 0), "n2": NodeState("n2", 0, 0, 0)},
        "lost": [],
    }
    return Summary(**{**fields, **values})
