"""The pictures of `diagnose`: chains and their ranks, acceptance, sizes of signs, co-assignment, agreement of chains.

Arrays in, one PNG file out, on the paper of `mhng.experiment.plots.style`. Shapes: C chains, D draws, M agents, N
objects,
K signs. Rank plots are those of Vehtari et al. (2021): if all chains sample one law, the ranks of each chain's draws
among all draws are uniform.
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
    bare,
    colormaps,
    legend,
    name_ticks,
    picture,
)

# More chains than this would be a tangle: the first are drawn, and the title says so.
MOST_LINES = 8
MOST_OBJECTS = 200
_MOST_NUMBERS = 8  # larger tables show colours without numbers
_WITH_MARKERS = 30


def plot_monitors(path: Path, monitors: Mapping[str, NDArray[Any]], draws: ArrayLike) -> None:
    """Each scalar (C, D) over its draws, and beside it the ranks of its draws, by chain."""
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
    """One scalar (C, D) over its draws and, of several chains, below it the ranks: for a column of a page."""
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
            figure.legend(handles, names, loc="outside lower center", ncols=MOST_LINES, title=title, handlelength=2)


def plot_acceptance(path: Path, acceptance: NDArray[Any], directions: Sequence[str], draws: ArrayLike) -> None:
    """The share of proposals accepted (C, D, directions) over the draws, a panel a direction."""
    with picture(path, 8, 2.2 * len(directions) + 0.4) as figure:
        axes = figure.subplots(len(directions), 1, squeeze=False, sharex=True)[:, 0]
        for d, (panel, name) in enumerate(zip(axes, directions, strict=True)):
            _chains(panel, np.asarray(draws), acceptance[:, :, d])
            panel.set_ylabel(f"{name}\n(share accepted)")
        axes[0].set_title("acceptance" + _only(len(acceptance)))
        axes[-1].set_xlabel("sweep of the last round")
        legend(axes[0], "chain")


def plot_components(path: Path, weight: NDArray[Any], names: Sequence[str], *, least: float = 6) -> None:
    """How large each relabelled sign is, (C, D, M, K): mean over draws and the range they cover, by chain.

    least: the width in inches; more where there are many signs and chains.
    """
    C, _, M, K = weight.shape
    shown = min(C, MOST_LINES)
    with picture(path, float(np.clip(2 + 0.12 * K * shown, least, 14)), 2.4 * M + 0.4) as figure:
        axes = figure.subplots(M, 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            for c, colour in zip(range(shown), cycle(COLOURS), strict=False):
                own = weight[c, :, m]
                middle = own.mean(0)
                span = np.stack([middle - own.min(0), own.max(0) - middle]).clip(0)  # a mean may round past its terms
                x = np.arange(K) + 0.7 * ((c + 0.5) / shown - 0.5)
                panel.errorbar(x, middle, span, fmt="o", color=colour, markersize=3, linewidth=1, label=str(c))
            panel.set_ylabel(f"agent {name}\n(share of objects)")
            panel.set_ylim(bottom=0)
            panel.set_xlim(-0.5, K - 0.5)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_title("size of each sign: mean and range of the draws" + _only(C))
        axes[-1].set_xlabel("relabelled sign")
        legend(axes[0], "chain")


def plot_co_assignment(
    path: Path, signs: NDArray[Any], permutation: NDArray[Any], names: Sequence[str], most: int = MOST_OBJECTS
) -> None:
    """How often two objects have one sign, over all draws of all chains: raw signs (C, D, M, N), a panel an agent.

    Objects stand in the order of the sign that they have most often, by the relabelling `permutation`; of more than
    `most` objects, so many are taken evenly. Blocks of one dark square each: the draws agree on the partition.
    """
    C, D, M, N = signs.shape
    objects = np.unique(np.linspace(0, N - 1, min(N, most)).round().astype(int))
    new = renumber(signs[..., objects], permutation).reshape(C * D, M, -1)
    new = new[np.unique(np.linspace(0, C * D - 1, min(C * D, 400)).round().astype(int))]
    some = f"{len(objects)} of {N} " if len(objects) < N else ""
    objects_label = f"{some}objects, sorted by sign"
    with picture(path, 3.7 * M + 0.9, 3.9) as figure:
        axes = figure.subplots(1, M, squeeze=False)[0]
        order = None
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            counts = np.stack([(new[:, m] == k).sum(0) for k in range(int(new.max()) + 1)])
            if order is None or permutation.ndim == 4:  # one code: one order, that of the first agent
                order = np.lexsort((-counts.max(0), counts.argmax(0)))
            own = new[:, m][:, order]
            together = np.mean([draw[:, None] == draw[None, :] for draw in own], axis=0)
            shown = panel.imshow(together, cmap=colormaps["Blues"], vmin=0, vmax=1, interpolation="nearest")
            panel.set_title(f"agent {name}", parse_math=False)
            panel.set_xlabel(objects_label)
            panel.set_xticks([])
            panel.set_yticks([])
            bare(panel)
        bar = figure.colorbar(shown, ax=axes.tolist(), shrink=0.8, pad=0.02)
        bar.set_label("share of draws in one sign")


def plot_agreement(path: Path, agreement: NDArray[Any], chains: Sequence[int], names: Sequence[str]) -> None:
    """The mean ARI between draws of each two chains (M, C, C), and within one on the diagonal; a panel an agent."""
    M, C, _ = agreement.shape
    side = float(np.clip(0.45 * C, 2.4, 5))
    with picture(path, M * (side + 0.5) + 1.2, side + 1.0) as figure:
        axes = figure.subplots(1, M, squeeze=False)[0]
        for m, (panel, name) in enumerate(zip(axes, names, strict=True)):
            shown = panel.imshow(agreement[m], cmap=colormaps["viridis"], vmin=0, vmax=1, interpolation="nearest")
            if C <= _MOST_NUMBERS:
                for (i, j), value in np.ndenumerate(agreement[m]):
                    colour = "black" if value > 0.6 else "white"
                    panel.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
            labels = [str(chain) for chain in chains]
            name_ticks(panel.xaxis, np.arange(C), labels, side / C)
            name_ticks(panel.yaxis, np.arange(C), labels, side / C)
            panel.set_title(f"agent {name}", parse_math=False)
            panel.set_xlabel("chain")
            bare(panel)
        axes[0].set_ylabel("chain")
        bar = figure.colorbar(shown, ax=axes.tolist(), shrink=0.8, pad=0.02)
        bar.set_label("ARI between draws")


# -- chains ----------------------------------------------------------------------------------------


def _chains(axes: Axes, draws: NDArray[Any], chains: NDArray[Any]) -> None:
    """Chains (C, D) as lines over their draws, the first `MOST_LINES` of them."""
    marker = "o" if len(draws) <= _WITH_MARKERS else ""
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for c, (own, (colour, line)) in enumerate(zip(chains[:MOST_LINES], styles, strict=False)):
        axes.plot(draws, own, color=colour, linestyle=line, marker=marker, markersize=2.5, linewidth=1, label=str(c))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if len(np.unique(chains[:MOST_LINES])) == 1:  # a zoom into rounding would look like a chain that moves
        middle = float(chains[0, 0])
        axes.set_ylim(middle - 0.1 * (abs(middle) or 1), middle + 0.1 * (abs(middle) or 1))


def _ranks(axes: Axes, chains: NDArray[Any]) -> None:
    """The ranks of each chain's draws among all, as a share of its draws; a constant scalar has none."""
    C, D = chains.shape
    if len(np.unique(chains)) == 1:
        axes.text(0.5, 0.5, "constant", color="0.4", transform=axes.transAxes, ha="center", va="center")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    # Equal draws take turns, sweep by sweep and chain by chain: shared ranks would pile up in one bin.
    ranks = np.empty((D, C))
    ranks.flat[np.argsort(chains.T, axis=None, kind="stable")] = np.arange(1, C * D + 1)
    ranks = ranks.T
    bins = int(np.clip(D // 5, 2, 20))
    edges = np.linspace(0.5, C * D + 0.5, bins + 1)
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for c, (own, (colour, line)) in enumerate(zip(ranks[:MOST_LINES], styles, strict=False)):
        counts = np.histogram(own, edges)[0] / D
        axes.stairs(counts, edges, color=colour, linestyle=line, linewidth=1.2, label=str(c))
    axes.axhline(1 / bins, color=GREY, linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of draws")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))


def _only(count: int) -> str:
    return f" (of {count} chains the first {MOST_LINES})" if count > MOST_LINES else ""
