"""Plots for a community of agents: kappa between all pairs of agents, and agreement by distance in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import (
    COLOURS,
    GREY,
    LINES,
    MaxNLocator,
    colormaps,
    hide_frame,
    label_ticks,
    legend,
    picture,
)

_MAX_NUMBERS = 16  # agents; larger matrices show colours without numbers
_MAX_MARKERS = 30  # sweeps; longer lines have no markers


def plot_community(path: Path, kappa: NDArray[np.float64], agent_names: Sequence[str]) -> None:
    """Kappa between all pairs of M >= 3 agents (M, M), ordered by hierarchical clustering.

    The dendrogram uses average linkage of 1 - kappa (SciPy). Two branches meet at their mean distance.
    """
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    M = len(kappa)
    distances = np.clip(1 - (kappa + kappa.T) / 2, 0, None)
    np.fill_diagonal(distances, 0)
    tree = dendrogram(linkage(squareform(distances, checks=False), "average"), no_plot=True)
    order = tree["leaves"]
    side = float(np.clip(0.42 * M, 2.8, 7))
    names = [agent_names[m] for m in order]
    with picture(path, side * 1.45 + 1.6, side + 0.9) as figure:
        branches, matrix = figure.subplots(1, 2, gridspec_kw={"width_ratios": [0.45, 1]})
        for along, height in zip(tree["icoord"], tree["dcoord"], strict=True):
            # SciPy places leaf i at 10 i + 5.
            branches.plot(height, (np.array(along) - 5) / 10, color=GREY, linewidth=1.5)
        branches.set_ylim(M - 0.5, -0.5)
        branches.set_xlim(max(0.05, 1.05 * distances.max()), 0)
        branches.set_xlabel("1 − kappa")
        branches.spines["left"].set_visible(False)
        label_ticks(branches.yaxis, np.arange(M), names, side / M)
        branches.yaxis.tick_right()
        branches.tick_params(axis="y", length=0)
        branches.grid(False, axis="y")
        image = matrix.imshow(
            kappa[np.ix_(order, order)], cmap=colormaps["viridis"], vmin=min(0.0, float(kappa.min())), vmax=1,
            interpolation="nearest",
        )  # fmt: skip
        if M <= _MAX_NUMBERS:
            for (i, j), value in np.ndenumerate(kappa[np.ix_(order, order)]):
                colour = "black" if value > 0.6 else "white"
                matrix.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
        label_ticks(matrix.xaxis, np.arange(M), names, side / M)
        matrix.set_yticks([])
        hide_frame(matrix)
        figure.colorbar(image, ax=matrix, shrink=0.8, pad=0.02).set_label("kappa")


def plot_distance(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """1 - kappa over the sweeps of a run, by distance in the graph: 1, 2, 4, 8, ... edges, and the largest distance.

    rows: rows of metrics.jsonl; only kind "sweep" is used. Distances follow a change of the graph.
    """
    rows = [row for row in rows if row["kind"] == "sweep"]
    lengths = sorted({int(length) for row in rows for length in row.get("kappa_by_distance", {})})
    drawn = [length for length in lengths if length & (length - 1) == 0 or length == lengths[-1]]
    sweeps = np.arange(1, len(rows) + 1)
    with picture(path, 8, 3.6) as figure:
        axes = figure.subplots()
        for length, colour, line in zip(drawn, cycle(COLOURS), cycle(LINES), strict=False):
            kappas = [row.get("kappa_by_distance", {}).get(str(length)) for row in rows]
            distances = np.array([np.nan if kappa is None else 1 - kappa for kappa in kappas])
            marker = "." if len(rows) <= _MAX_MARKERS else ""
            axes.plot(sweeps, distances, color=colour, linestyle=line, marker=marker, label=str(length))
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("sweep, over all rounds")
        axes.set_ylabel("disagreement, 1 − kappa")
        legend(axes, "distance (edges)")
