"""The pictures of a run, as PNG files: arrays and rows of metrics in, one file out.

Agents are told apart by colour and by line style. `mhng.experiment.plots.style` says what all pictures have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhng.experiment.metrics import partitions
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
    shortened,
)

Row = Mapping[str, Any]
Lines = Mapping[str, Sequence[float | None]]

_WITH_MARKERS = 30  # lines of up to so many points, or in short pieces, show them: one point alone is no line
_MOST_LINES = 8  # of more agents than this, mean and range
_MANY_ROUNDS = 12  # more are parted by paler lines
_ROUND_NAME = 0.055  # the room for the name of a round, as a share of the axis
_MOST_NUMBERS = 30  # larger tables show colours without numbers


class Curves(NamedTuple):
    """One panel: named lines over 1, 2, 3..., all of one length and None for a gap; what to say if there are none."""

    label: str
    lines: Lines
    otherwise: str
    legend: str = ""  # what the names are; none is shown for ""
    share: bool = False  # of 1, which is the most
    rounds: Sequence[int] | None = None  # lines are broken where it changes


def training_curves(rows: Sequence[Row]) -> tuple[list[Curves], list[Row]]:
    """Loss, reconstruction and KL of each agent by epoch, from rows of metrics.jsonl; and the rows of one agent."""
    by_agent: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] == "epoch":
            by_agent.setdefault(row["agent"], []).append(row)
    panels = {
        "loss": "loss = −ELBO\n(nats per object)",
        "reconstruction": "reconstruction\nE log p(x|z) (nats per object)",
        "kl": "KL\n(nats per object)",
    }
    curves = [
        Curves(
            label,
            _few({agent: [row[name] for row in own] for agent, own in by_agent.items()}),
            "no network was trained",
            "agent",
        )
        for name, label in panels.items()
    ]
    return curves, max(by_agent.values(), key=len, default=[])


def game_curves(rows: Sequence[Row]) -> tuple[list[Curves], list[Row]]:
    """ARI, kappa, acceptance and log joint by sweep, from rows of metrics.jsonl; and the rows of sweeps."""
    rows = [row for row in rows if row["kind"] == "sweep"]
    rounds = [row["round"] for row in rows]
    agents = list(rows[0]["agents"]) if rows else []
    directions = list(rows[0]["acceptance"] or {}) if rows else []
    aris = _few({name: [row["agents"][name]["ari"] for row in rows] for name in agents})
    rates = _few({name: [row["acceptance"][name] for row in rows] for name in directions})
    # Groups are agents that nobody joined at the beginning of the run.
    pairs = {"kappa": "all", "kappa_within": "in a group", "kappa_between": "of two groups"}
    kappas = {name: [row[key] for row in rows] for key, name in pairs.items() if rows and key in rows[0]}
    joints = {"log joint": [row["log_joint"] for row in rows]}
    curves = [
        Curves("ARI", aris, "no ARI: the objects have no labels", "agent", True, rounds),
        Curves("kappa", kappas, "no kappa", "pairs of agents" if len(kappas) > 1 else "", True, rounds),
        Curves(
            "accepted\n(share of proposals)",
            _few(rates),
            "no proposals in this mode",
            "speaker->listener",
            True,
            rounds,
        ),
        Curves("log joint (nats)", joints, "no log joint", "", False, rounds),
    ]
    return curves, rows


def plot_training(path: Path, rows: Sequence[Row]) -> None:
    """Loss, reconstruction and KL (nats per object) of each agent over its epochs, round after round.

    rows: those of metrics.jsonl; the ones of kind "epoch" are drawn.
    """
    _plot_all(path, *training_curves(rows), "epoch, over all rounds", 7.5)


def plot_game(path: Path, rows: Sequence[Row]) -> None:
    """ARI of each agent, kappa, acceptance and log joint over the sweeps, round after round.

    rows: those of metrics.jsonl; the ones of kind "sweep" are drawn. Lines are broken between rounds: each
    round is a game of its own, on other percepts.
    """
    _plot_all(path, *game_curves(rows), "sweep, over all rounds", 9)


def plot_curves(path: Path, curves: Curves, rows: Sequence[Row], steps: str) -> None:
    """One panel of `training_curves` or `game_curves`, for a column of a page. steps: what is counted."""
    with picture(path, 5, 2.7) as figure:
        axes = figure.subplots()
        _draw_curves(axes, curves)
        _mark_rounds([axes], rows)
        axes.set_xlabel(steps)
        handles, names = axes.get_legend_handles_labels()
        if curves.legend and handles:
            figure.legend(handles, names, loc="outside lower center", ncols=4, handlelength=2.8)


def _plot_all(path: Path, curves: Sequence[Curves], rows: Sequence[Row], steps: str, height: float) -> None:
    """Panels below each other, over one axis of steps."""
    titled: set[str] = set()
    with picture(path, 8, height) as figure:
        panels = figure.subplots(len(curves), 1, sharex=True)
        for axes, one in zip(panels, curves, strict=True):
            _draw_curves(axes, one)
            if one.legend and one.legend not in titled:
                titled.add(one.legend)
                legend(axes, one.legend)
        _mark_rounds(panels, rows)
        panels[-1].set_xlabel(steps)


def plot_confusion(
    path: Path,
    signs: ArrayLike,
    labels: ArrayLike,
    agent_names: Sequence[str],
    class_names: Sequence[str],
    signs_count: int,
    *,
    bar: bool = True,
) -> None:
    """What each agent calls each class: its signs against the labels, one panel an agent.

    signs: (M, N), 0..signs_count - 1. labels: (N,), indices of class_names. bar: draw the scale of colours.

    A cell is the share of the class (its row) that got the sign (its column), in per
    cent; under half a per cent it shows no number. Columns are ordered so that a perfect naming is a
    diagonal, by the one-to-one matching of `scores.match`; signs that it leaves over stand at the right of a
    line.
    """
    signs, labels = np.asarray(signs), np.asarray(labels)
    classes, K = len(class_names), signs_count
    if signs.ndim != 2 or labels.shape != signs.shape[1:] or len(agent_names) != len(signs):
        raise ValueError(
            f"signs must be ({len(agent_names)} agents, N) and labels (N,); they are {signs.shape} and {labels.shape}"
        )
    across = min(len(signs), 3)
    down = -(-len(signs) // across)
    cell = _cell(classes, K)
    width, height = max(2.4, cell * K) + 0.9, max(2.0, cell * classes) + 0.9
    with picture(path, across * width + 0.9 * bar, down * height) as figure:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for panel, name, own in zip(axes, agent_names, signs, strict=False):
            table = np.zeros((classes, K), dtype=np.intp)
            np.add.at(table, (labels, own), 1)
            first_in_its_row = panel.get_subplotspec().is_first_col()
            names = shortened(class_names) if first_in_its_row else [""] * classes
            shown = _draw_confusion(panel, table, names)
            matched = table[partitions.match(table)].sum() / max(table.sum(), 1)
            panel.set_title(f"agent {name}: {matched:.0%} matched", parse_math=False)
            panel.set_xlabel("sign")
            if first_in_its_row:
                panel.set_ylabel("class")
        for panel in axes[len(signs) :]:
            panel.set_axis_off()
        if bar:
            scale = figure.colorbar(shown, ax=axes.tolist(), shrink=0.8, aspect=30, pad=0.02)
            scale.set_label("share of the class (%)")


def plot_images(path: Path, images: ArrayLike, row_names: Sequence[str], column_names: Sequence[str]) -> None:
    """Grey images (R, C, H, W) in [0, 1] as a grid of named rows and columns; NaN pixels stay pale blue."""
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 4 or images.shape[:2] != (len(row_names), len(column_names)) or 0 in images.shape:
        raise ValueError(
            f"images must be ({len(row_names)} rows, {len(column_names)} columns, H, W); their shape is {images.shape}"
        )
    R, C, H, W = images.shape
    tiles = mosaic(images, max(1, H // 14))
    rows, columns = shortened(row_names, 26), shortened(column_names)
    cell = float(np.clip(12 / max(R, C), 0.2, 1.2))  # inches
    sideways = max(map(len, columns)) * 0.085 > cell
    beside = 0.3 + 0.085 * max(map(len, rows))
    above = 0.3 + (0.085 * max(map(len, columns)) if sideways else 0)
    with picture(path, C * cell + beside, R * cell * H / W + above) as figure:
        axes = figure.subplots()
        axes.set_anchor("E")  # what room is left goes to the names of rows
        show_mosaic(axes, tiles.grid)
        name_ticks(axes.xaxis, tiles.columns, columns, cell, sideways=sideways)
        name_ticks(axes.yaxis, tiles.rows, rows, cell * H / W)
        axes.xaxis.tick_top()


# -- many images on one sheet ----------------------------------------------------------------------


class Mosaic(NamedTuple):
    """Images side by side: `grid` in pixels, NaN between them; where the middles of rows and columns are."""

    grid: NDArray[np.float64]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def mosaic(images: NDArray[Any], gap: int, *, every: int = 1, wider: int = 0) -> Mosaic:
    """Images (R, C, H, W) in a grid, `gap` pixels apart; after each `every` columns, `wider` more."""
    R, C, H, W = images.shape
    tops = gap + (H + gap) * np.arange(R)
    lefts = gap + (W + gap) * np.arange(C) + wider * (np.arange(C) // every)
    grid = np.full((tops[-1] + H + gap, lefts[-1] + W + gap), np.nan)
    for r, c in np.ndindex(R, C):
        grid[tops[r] : tops[r] + H, lefts[c] : lefts[c] + W] = images[r, c]
    return Mosaic(grid, tops + (H - 1) / 2, lefts + (W - 1) / 2)


def show_mosaic(axes: Axes, grid: NDArray[np.float64]) -> None:
    """Grey in [0, 1]; NaN is pale blue."""
    colours = colormaps["gray"].with_extremes(bad="#DCE6F0")
    axes.imshow(grid, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def _few(lines: Lines) -> Lines:
    """Named lines; of many their mean and the range that they cover, where they are known."""
    if len(lines) <= _MOST_LINES:
        return lines
    points = [[value for value in column if value is not None] for column in zip_longest(*lines.values())]
    return {
        "highest": [max(known, default=None) for known in points],
        "mean": [sum(known) / len(known) if known else None for known in points],
        "lowest": [min(known, default=None) for known in points],
    }


# -- lines over time -------------------------------------------------------------------------------


def _draw_curves(axes: Axes, curves: Curves) -> None:
    _draw_lines(axes, curves.lines, curves.label, curves.otherwise, curves.rounds)
    if curves.share:
        # From a little below what there is, at the next 0.1, so that little changes near 1 can be seen.
        low = axes.dataLim.y0 if np.isfinite(axes.dataLim.y0) else 0.0  # y0 is infinite in an empty panel
        low = np.floor((min(low, 0.9) - 0.02) * 10) / 10
        axes.set_ylim(low, 1 + 0.04 * (1 - low))


def _draw_lines(
    axes: Axes,
    lines: Lines,
    label: str,
    otherwise: str,
    rounds: Sequence[int] | None = None,
) -> None:
    """Named lines over 1, 2, 3...; None is a gap, as is a change of `rounds`. `otherwise` stands for none."""
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for (name, values), (colour, line) in zip(lines.items(), styles, strict=False):
        x = np.arange(1, len(values) + 1, dtype=np.float64)
        y = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        borders = np.flatnonzero(np.diff([] if rounds is None else rounds)) + 1
        x, y = np.insert(x, borders, np.nan), np.insert(y, borders, np.nan)
        marker = "o" if len(values) <= max(_WITH_MARKERS, 3 * len(borders)) else ""
        if np.isfinite(y).any():
            axes.plot(x, y, color=colour, linestyle=line, marker=marker, label=name)
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if not axes.lines:
        paper = {"facecolor": "white", "edgecolor": "none"}
        centre: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, otherwise, color="0.4", bbox=paper, **centre)
        axes.set_yticks([])


def _mark_rounds(axes: Sequence[Axes], rows: Sequence[Row]) -> None:
    """A thin line where a round ends, through all panels; the rounds are named above the first."""
    if not rows:
        return
    rounds = np.array([row["round"] for row in rows])
    edges = np.flatnonzero(np.diff(rounds)) + 1.5
    grey, width = (GREY, 0.8) if len(edges) <= _MANY_ROUNDS else ("0.82", 0.6)
    for panel in axes:
        panel.set_xlim(0.5, len(rows) + 0.5)
        for edge in edges:
            panel.axvline(edge, color=grey, linewidth=width, zorder=1)
    begins = np.array([0.5, *edges])
    middles = (begins + np.array([*edges, len(rows) + 0.5])) / 2
    style: dict[str, Any] = {"va": "bottom", "color": "0.35", "fontsize": 9, "textcoords": "offset points"}
    named = -np.inf
    for begin, middle in zip(begins, middles, strict=True):
        if middle - named < _ROUND_NAME * len(rows):
            continue
        named = middle
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "ha": "center"}
        axes[0].annotate(str(rounds[int(begin)]), (middle, 1), **place, **style)
    axes[0].annotate("round", (0, 1), xycoords="axes fraction", xytext=(-6, 3), ha="right", **style)


# -- confusion -------------------------------------------------------------------------------------


def _cell(classes: int, K: int) -> float:
    """The side of a cell in inches."""
    return float(np.clip(8 / max(classes, K), 0.1, 0.45))


def _draw_confusion(axes: Axes, table: NDArray[np.intp], class_names: Sequence[str]) -> Any:
    """Counts (classes, K) as shares of their row, columns in the order of the matching; returns the image."""
    classes, K = table.shape
    matched = partitions.match(table)[1]
    order = np.concatenate([matched, np.setdiff1d(np.arange(K), matched)])
    totals = table.sum(axis=1, keepdims=True)
    percent = np.where(totals > 0, 100 * table[:, order] / np.maximum(totals, 1), np.nan)
    colours = colormaps["Blues"].with_extremes(bad="0.9")  # a class without objects
    shown = axes.imshow(percent, cmap=colours, vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    if max(classes, K) <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(percent):
            if value >= 0.5:
                colour = "white" if value > 65 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    if len(matched) < K:
        axes.axvline(len(matched) - 0.5, color="0.3", linewidth=1)
    name_ticks(axes.xaxis, np.arange(K), [str(k) for k in order], _cell(classes, K))
    name_ticks(axes.yaxis, np.arange(classes), class_names, _cell(classes, K))
    bare(axes)
    return shown
