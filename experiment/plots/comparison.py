"""Plots of a comparison of runs: dots for the seeds of each row, their mean and its confidence interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mhng.experiment.plots.style import COLOURS, GREY, LINES, Axes, MaxNLocator, legend, picture, truncate

_PANELS = {
    "ari": ("ARI, final draw", "no ARI: the objects have no labels"),
    "kappa": ("kappa, final draw", "no finished runs"),
}
# Limits in inches. Row names overlap if a figure needs more.
_MAX_HEIGHT = 100.0
_MAX_PANEL_HEIGHT = 60.0


class Dots(NamedTuple):
    """One row of `plot_dots`: values of the seeds, their mean, and its interval if known."""

    name: str
    values: Sequence[float]
    mean: float | None
    low: float | None
    high: float | None


def plot_quality(path: Path, summary: Mapping[str, Any]) -> None:
    """Plot ARI (left) and kappa (right) of each row: dots for seeds, below them the mean and its 95% interval.

    summary: the result of `mhng.experiment.comparison.statistics.summarise`. A vertical line marks the baseline's
    mean.
    """
    rows = summary["rows"]
    with picture(path, 9, min(1.3 + 0.5 * len(rows), _MAX_HEIGHT)) as figure:
        axes = figure.subplots(1, len(_PANELS), sharey=True)
        for panel, (metric, (label, no_values)) in zip(axes, _PANELS.items(), strict=True):
            for place, row in enumerate(rows):
                _draw_row(panel, place, row, metric)
                if row["row"] == summary["baseline"] and row["statistics"][metric]["count"]:
                    panel.axvline(row["statistics"][metric]["mean"], color=GREY, linewidth=0.8, zorder=1)
            panel.set_xlabel(label)
            panel.grid(axis="y", visible=False)
            if not any(row["statistics"][metric]["count"] for row in rows):
                done = any(row["statistics"]["seconds"]["count"] for row in rows)
                text = no_values if done else "no finished runs"
                panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", va="center", color="0.4")
                panel.set_xticks([])
        names = truncate([_row_label(row) for row in rows], 40)
        axes[0].set_yticks(range(len(rows)), names, parse_math=False)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        axes[0].set_title("dot: seed; diamond: mean with 95% interval", loc="left")
        if summary["baseline"] is not None:
            (short,) = truncate([summary["baseline"]], 40)
            axes[1].set_title(f"vertical line: mean of {short}", loc="left", parse_math=False)


def plot_learning(path: Path, curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]) -> None:
    """Plot ARI and kappa by sweep, over all rounds: a line for the mean of each row, a band for its range over seeds.

    curves: for each row, the rows of metrics.jsonl of kind "sweep" of each run. ARI is the mean of the agents.
    """
    with picture(path, 8, 5.4) as figure:
        panels = figure.subplots(2, 1, sharex=True)
        for panel, (label, value) in zip(panels, _CURVES.items(), strict=True):
            for (name, runs), colour, line in zip(curves.items(), cycle(COLOURS), cycle(LINES), strict=False):
                length = min((len(run) for run in runs), default=0)
                values = np.array([[value(row) for row in run[:length]] for run in runs], dtype=np.float64)
                if not length or not np.isfinite(values).any():
                    continue
                sweeps = np.arange(1, length + 1)
                panel.fill_between(sweeps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
                panel.plot(sweeps, values.mean(0), color=colour, linestyle=line, label=truncate([name], 24)[0])
            panel.set_ylabel(label)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_title("line: mean over seeds; band: range over seeds", loc="left")
        panels[-1].set_xlabel("sweep, over all rounds")
        legend(panels[-1], "")


def _mean_ari(row: Mapping[str, Any]) -> float:
    aris = [scores["ari"] for scores in row["agents"].values()]
    return float("nan") if None in aris else float(np.mean(aris))


_CURVES: dict[str, Callable[[Mapping[str, Any]], float]] = {"ARI": _mean_ari, "kappa": lambda row: float(row["kappa"])}


def _draw_row(panel: Axes, place: int, row: Mapping[str, Any], metric: str) -> None:
    values = [(run["numbers"] or {}).get(metric) for run in row["runs"]]
    known = [value for value in values if value is not None]
    statistics = row["statistics"][metric]
    if not known:
        return
    # Seeds are spread from top to bottom, so that equal scores do not hide each other.
    step = 0.3 / max(len(values) - 1, 1)
    heights = [place - 0.25 + step * i for i, value in enumerate(values) if value is not None]
    panel.plot(known, heights, "o", color=COLOURS[0], alpha=0.6, markersize=4.5, markeredgewidth=0)
    panel.plot([statistics["mean"]], [place + 0.25], "D", color="black", markersize=4)
    if statistics["low"] is not None:
        panel.plot([statistics["low"], statistics["high"]], [place + 0.25] * 2, color="black", linewidth=1.2)


def _row_label(row: Mapping[str, Any]) -> str:
    done = sum(run["status"] == "done" for run in row["runs"])
    return row["row"] if done == len(row["runs"]) else f"{row['row']} ({done} of {len(row['runs'])})"


def plot_dots(path: Path, rows: Sequence[Dots], label: str, base: float | None) -> None:
    """Plot one metric of all rows, for the report page. base: mean of the baseline, drawn as a vertical line."""
    with picture(path, 5, min(0.9 + 0.5 * len(rows), _MAX_PANEL_HEIGHT)) as figure:
        axes = figure.subplots()
        if base is not None:
            axes.axvline(base, color=GREY, linewidth=0.8, zorder=1)
        for place, row in enumerate(rows):
            # Seeds are spread from top to bottom, so that equal scores do not hide each other.
            spread = np.linspace(-0.12, 0.12, len(row.values)) if len(row.values) > 1 else np.zeros(len(row.values))
            heights = place - 0.12 + spread
            axes.plot(row.values, heights, "o", color=COLOURS[0], alpha=0.65, markersize=5, markeredgewidth=0)
            if row.mean is None:
                continue
            axes.plot([row.mean], [place + 0.22], "D", color="black", markersize=4)
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place + 0.22] * 2, color="black", linewidth=1.2)
        axes.set_yticks(range(len(rows)), truncate([row.name for row in rows], 24), parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(label)
