"""Plots of `diagnose`: chains and ranks, acceptance, sizes of signs, co-assignment, agreement between chains.

Each function takes arrays and writes one file. Shapes: C chains, D draws, M agents, N objects, K signs. Rank plots
follow Vehtari et al. (2021): if all chains sample the same distribution, the ranks of the draws of each chain among
all draws are uniform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhng.experiment.metrics.relabel import renumber
from mhng.experiment.plots.style import (
    COLOURS,
    GREY,
    LINES,
    Axes,
    MaxNLocator,
    ScalarFormatter,
    colormaps,
    hide_frame,
    label_ticks,
    legend,
    picture,
)

# Only the first chains are drawn. The title says so.
MAX_CHAINS = 8
MAX_OBJECTS = 200
_MAX_NUMBERS = 8  # chains; larger tables show colours without numbers
_MAX_MARKERS = 30  # draws; longer lines have no markers


def plot_monitors(path: Path, monitors: Mapping[str, NDArray[Any]], draws: ArrayLike) -> None:
    """Trace plot and rank plot of each scalar (C, D), by chain."""
    draws = np.asarray(draws)
    with picture(path, 9, 1.9 * len(monitors) + 0.5) as figure:
        axes = figure.subplots(len(monitors), 2, squeeze=False, width_ratios=[2, 1])
        for (trace, ranks), (name, chains) in zip(axes, monitors.items(), strict=True):
            chains = np.asarray(chains, dtype=np.float64)
            _chains(trace, draws, chains)
            trace.set_ylabel(name)
            _ranks(ranks, chains)
        axes[0, 0].set_title("draws" + _only(len(chains)))
        axes[0, 1].set_title("ranks (dashed: uniform)")
        axes[-1, 0].set_xlabel("sweep of the last round")
        axes[-1, 1].set_xlabel("rank among all draws")
        legend(axes[0, 1], "chain")


def plot_monitor(path: Path, name: str, chains: ArrayLike, draws: ArrayLike) -> None:
    """Trace plot of one scalar (C, D) and, with several chains, its rank plot below, for a column of a page."""
    chains = np.asarray(chains, dtype=np.float64)
    several = len(chains) > 1
    with picture(path, 5, 4.4 if several else 2.4) as figure:
        axes = figure.subplots(2 if several else 1, 1, squeeze=False)[:, 0]
        _chains(axes[0], np.asarray(draws), chains)
        axes[0].set_ylabel(name)
        axes[0].set_xlabel("sweep of the last round")
        if several:
            _ranks(axes[1], chains)
            axes[1].set_xlabel("rank among all draws (dashed: uniform)")
            handles, names = axes[0].get_legend_handles_labels()
            title = "chain" + _only(len(chains))
            figure.legend(handles, names, loc="outside lower center", ncols=MAX_CHAINS, title=title, handlelength=2)


def plot_acceptance(path: Path, acceptance: NDArray[Any], directions: Sequence[str], draws: ArrayLike) -> None:
    """Share of accepted proposals (C, D, directions) over the draws, one panel per direction."""
    with picture(path, 8, 2.2 * len(directions) + 0.4) as figure:
        axes = figure.subplots(len(directions), 1, squeeze=False, sharex=True)[:, 0]
        for d, (panel, name) in enumerate(zip(axes, directions, strict=True)):
            _chains(panel, np.asarray(draws), acceptance[:, :, d])
            panel.set_ylabel(f"{name}\n(share accepted)")
        axes[0].set_title("acceptance by direction" + _only(len(acceptance)))
        axes[-1].set_xlabel("sweep of the last round")
        legend(axes[0], "chain")


def plot_components(path: Path, weight: NDArray[Any], names: Sequence[str], *, min_width: float = 6) -> None:
    """Share of objects per relabelled sign (C, D, M, K): mean and range over draws, by chain.

    min_width: width in inches; many signs and chains need more.
    """
    C, _, M, K = weight.shape
    drawn = min(C, MAX_CHAINS)
    with picture(path, float(np.clip(2 + 0.12 * K * drawn, min_width, 14)), 2.4 * M + 0.4) as figure:
        axes = figure.subplots(M, 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            for c, colour in zip(range(drawn), cycle(COLOURS), strict=False):
                shares = weight[c, :, m]
                mean = shares.mean(0)
                span = np.stack([mean - shares.min(0), shares.max(0) - mean]).clip(0)  # negative by rounding only
                x = np.arange(K) + 0.7 * ((c + 0.5) / drawn - 0.5)
                panel.errorbar(x, mean, span, fmt="o", color=colour, markersize=3, linewidth=1, label=str(c))
            panel.set_ylabel(f"agent {name}\n(share of objects)")
            panel.set_ylim(bottom=0)
            panel.set_xlim(-0.5, K - 0.5)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_title("share of objects per sign: mean and range over draws" + _only(C))
        axes[-1].set_xlabel("relabelled sign")
        legend(axes[0], "chain")


def plot_co_assignment(
    path: Path, signs: NDArray[Any], permutation: NDArray[Any], names: Sequence[str], max_objects: int = MAX_OBJECTS
) -> None:
    """Share of draws that give two objects the same sign, from raw signs (C, D, M, N), one panel per agent.

    Objects are sorted by their most frequent sign after relabelling with `permutation`. At most `max_objects` objects
    are drawn, evenly spaced. Dark square blocks show that the draws agree on the partition.
    """
    C, D, M, N = signs.shape
    objects = np.unique(np.linspace(0, N - 1, min(N, max_objects)).round().astype(int))
    new = renumber(signs[..., objects], permutation).reshape(C * D, M, -1)
    new = new[np.unique(np.linspace(0, C * D - 1, min(C * D, 400)).round().astype(int))]
    selection = f" ({len(objects)} of {N})" if len(objects) < N else ""
    objects_label = f"objects sorted by sign{selection}"
    with picture(path, 3.7 * M + 0.9, 3.9) as figure:
        axes = figure.subplots(1, M, squeeze=False)[0]
        order = None
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            counts = np.stack([(new[:, m] == k).sum(0) for k in range(int(new.max()) + 1)])
            if order is None or permutation.ndim == 4:  # agents that share a code share the order of the first agent
                order = np.lexsort((-counts.max(0), counts.argmax(0)))
            signs_in_order = new[:, m][:, order]
            together = np.mean([draw[:, None] == draw[None, :] for draw in signs_in_order], axis=0)
            image = panel.imshow(together, cmap=colormaps["Blues"], vmin=0, vmax=1, interpolation="nearest")
            panel.set_title(f"agent {name}", parse_math=False)
            panel.set_xlabel(objects_label)
            panel.set_xticks([])
            panel.set_yticks([])
            hide_frame(panel)
        bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.8, pad=0.02)
        bar.set_label("share of draws with the same sign")


def plot_agreement(path: Path, agreement: NDArray[Any], chains: Sequence[int], names: Sequence[str]) -> None:
    """Mean ARI between draws of two chains (M, C, C), within a chain on the diagonal; one panel per agent."""
    M, C, _ = agreement.shape
    side = float(np.clip(0.45 * C, 2.4, 5))
    with picture(path, M * (side + 0.5) + 1.2, side + 1.0) as figure:
        axes = figure.subplots(1, M, squeeze=False)[0]
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            image = panel.imshow(agreement[m], cmap=colormaps["viridis"], vmin=0, vmax=1, interpolation="nearest")
            if C <= _MAX_NUMBERS:
                for (i, j), value in np.ndenumerate(agreement[m]):
                    colour = "black" if value > 0.6 else "white"
                    panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
            labels = [str(chain) for chain in chains]
            label_ticks(panel.xaxis, np.arange(C), labels, side / C)
            label_ticks(panel.yaxis, np.arange(C), labels, side / C)
            panel.set_title(f"agent {name}", parse_math=False)
            panel.set_xlabel("chain")
            hide_frame(panel)
        axes[0].set_ylabel("chain")
        bar = figure.colorbar(image, ax=axes.tolist(), shrink=0.8, pad=0.02)
        bar.set_label("mean ARI between draws")


# -- chains ----------------------------------------------------------------------------------------


def _chains(axes: Axes, draws: NDArray[Any], chains: NDArray[Any]) -> None:
    """Draw chains (C, D) as lines, at most the first `MAX_CHAINS`."""
    marker = "o" if len(draws) <= _MAX_MARKERS else ""
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for c, (chain, (colour, line)) in enumerate(zip(chains[:MAX_CHAINS], styles, strict=False)):
        axes.plot(draws, chain, color=colour, linestyle=line, marker=marker, markersize=2.5, linewidth=1, label=str(c))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if len(np.unique(chains[:MAX_CHAINS])) == 1:  # avoid a zoom into rounding errors
        value = float(chains[0, 0])
        axes.set_ylim(value - 0.1 * (abs(value) or 1), value + 0.1 * (abs(value) or 1))


def _ranks(axes: Axes, chains: NDArray[Any]) -> None:
    """Draw histograms of the ranks of each chain among all draws. A constant scalar has no ranks."""
    C, D = chains.shape
    if len(np.unique(chains)) == 1:
        axes.text(0.5, 0.5, "constant", color="0.4", transform=axes.transAxes, ha="center", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    # Ties are ranked by sweep, then by chain. Shared ranks would pile up in one bin.
    ranks = np.empty((D, C))
    ranks.flat[np.argsort(chains.T, axis=None, kind="stable")] = np.arange(1, C * D + 1)
    ranks = ranks.T
    bins = int(np.clip(D // 5, 2, 20))
    edges = np.linspace(0.5, C * D + 0.5, bins + 1)
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for c, (chain, (colour, line)) in enumerate(zip(ranks[:MAX_CHAINS], styles, strict=False)):
        counts = np.histogram(chain, edges)[0] / D
        axes.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.2, label=str(c))
    axes.axhline(1 / bins, color=GREY, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of draws")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def _only(count: int) -> str:
    return f" (first {MAX_CHAINS} of {count} chains)" if count > MAX_CHAINS else ""
