"""Charts of results.json, drawn in an environment that has matplotlib. Arguments: RESULTS, FOLDER; prints the files."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

_OURS, _OTHERS = "#1f6f8b", "#b8b8b8"


def main() -> None:
    """Draw what there are results for."""
    parts, folder = json.loads(Path(sys.argv[1]).read_text())["parts"], Path(sys.argv[2])
    plt.rcParams.update({"figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False})
    for name, draw in _CHARTS.items():
        if name in parts:
            figure = draw(parts[name])
            target = folder / f"{name}.png"
            figure.savefig(target, dpi=110)
            plt.close(figure)
            sys.stdout.write(f"{target}\n")


def end_to_end(data: dict[str, Any]) -> plt.Figure:
    """Draw photos per second by contender, with and without delay."""
    scenes = {label: scene for label, scene in data.items() if label != "targets"}
    figure, axes = plt.subplots(1, len(scenes), figsize=(9, 3.2))
    for axis, (label, scene) in zip(axes, scenes.items(), strict=True):
        rates = {name: [one["rate"] for one in figures] for name, figures in scene["figures"].items()}
        _bars(axis, rates)
        axis.set_title(label)
        axis.set_xlabel("photos per second (bar: median, line: least to most)")
    return figure


def cpu(data: dict[str, Any]) -> plt.Figure:
    """Draw CPU milliseconds per photo by contender."""
    figure, axis = plt.subplots(figsize=(9, 3.2))
    _bars(axis, {name: [1000 * one for one in values] for name, values in data["seconds_per_photo"].items() if values})
    axis.set_xlabel("CPU ms per photo, two thumbnails (bar: median, line: least to most)")
    return figure


def leanness(data: dict[str, Any]) -> plt.Figure:
    """Draw bytes at equal quality by encoder and size."""
    sizes = {label: shares for label, shares in data.items() if label != "targets"}
    measures = list(next(iter(next(iter(sizes.values())).values())))
    figure, axes = plt.subplots(1, len(measures), figsize=(13, 3.6), sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        for shift, (label, shares) in enumerate(sizes.items()):
            places = [place + 0.27 * shift for place in range(len(shares))]
            axis.barh(places, [one[measure] or 0 for one in shares.values()], 0.25, label=label)
        axis.set_yticks([place + 0.27 for place in range(len(shares))], list(shares))
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set_title(f"at equal {measure}")
        axis.set_xlabel("bytes, Pillow's default = 1")
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(sizes))
    return figure


def fidelity(data: dict[str, Any]) -> plt.Figure:
    """Draw the spread of the scores by way of scaling."""
    ways = {name: values for name, values in data.items() if name != "targets"}
    measures = list(next(iter(ways.values())))
    figure, axes = plt.subplots(1, len(measures), figsize=(13, 3.6), sharey=True)
    for axis, measure in zip(axes, measures, strict=True):
        axis.boxplot([values[measure] for values in ways.values()], vert=False, whis=(0, 100), tick_labels=list(ways))
        axis.set_title(measure)
    axes[0].invert_yaxis()
    return figure


def memory(data: dict[str, Any]) -> plt.Figure:
    """Draw the sum of PSS over time."""
    runs = {label: run for label, run in data.items() if label != "targets"}
    figure, axes = plt.subplots(len(runs), 1, figsize=(9, 5.5))
    for axis, (label, run) in zip(axes, runs.items(), strict=True):
        axis.plot([one[0] for one in run["samples"]], [one[1] for one in run["samples"]], color=_OURS)
        axis.axvline(run["fetched"], color="black", linewidth=0.8, linestyle=":")
        axis.text(run["fetched"], axis.get_ylim()[1], " thumbnails", va="top")
        axis.set_ylim(bottom=0)
        axis.set_title(f"{label}: sum of PSS of one task and its children, MB", fontsize=10)
    axes[-1].set_xlabel("seconds")
    return figure


def _bars(axis: plt.Axes, values: dict[str, list[float]]) -> None:
    for place, (name, some) in enumerate(values.items()):
        ours = name in ("fast", "lean") or name.startswith("ImageSys")
        axis.barh(place, statistics.median(some), color=_OURS if ours else _OTHERS)
        axis.plot([min(some), max(some)], [place, place], color="black", linewidth=1.5)
        axis.text(0, place, f" {statistics.median(some):.3g}", va="center", color="white" if ours else "black")
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()


_CHARTS: dict[str, Callable[[dict[str, Any]], plt.Figure]] = {
    "end-to-end": end_to_end,
    "cpu": cpu,
    "leanness": leanness,
    "fidelity": fidelity,
    "memory": memory,
}


if __name__ == "__main__":
    main()
