"""Plots of a training run: learning curves, scores of the games, confusion of signs and classes, grids of images.

Agents differ in colour and in line style.
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
    MAX_ROW,
    Axes,
    MaxNLocator,
    ScalarFormatter,
    colormaps,
    hide_frame,
    label_ticks,
    legend,
    picture,
    to_rgb,
    truncate,
)

Row = Mapping[str, Any]
Lines = Mapping[str, Sequence[float | None]]

_MAX_MARKERS = 30  # points; longer lines have no markers, unless their pieces are short
_MAX_LINES = 8  # agents; with more, the mean and the range are drawn
_MANY_ROUNDS = 12  # more rounds are separated by paler lines
_ROUND_NAME = 0.055  # space for the number of a round, as a share of the axis
_MAX_NUMBERS = 30  # rows or columns; larger tables show colours without numbers


class Curves(NamedTuple):
    """Content of one panel: named lines of equal length over 1, 2, 3, ...; None is a gap."""

    label: str
    lines: Lines
    otherwise: str  # text for a panel without lines
    legend: str = ""  # title of the legend; no legend if empty
    share: bool = False  # values are at most 1
    rounds: Sequence[int] | None = None  # lines break where the round changes


def training_curves(rows: Sequence[Row]) -> tuple[list[Curves], list[Row]]:
    """Curves of loss, reconstruction and KL by epoch, from rows of metrics.jsonl; also the rows of one agent."""
    by_agent: dict[str, list[Row]] = {}
    for row in rows:
        if row["kind"] == "epoch":
            by_agent.setdefault(row["agent"], []).append(row)
    panels = {
        "loss": "loss = −ELBO\n(nats per object)",
        "reconstruction": "reconstruction\n(nats per object)",
        "kl": "KL\n(nats per object)",
    }
    curves = [
        Curves(
            label,
            _summarise({agent: [row[name] for row in epochs] for agent, epochs in by_agent.items()}),
            "no network to train",
            "agent",
        )
        for name, label in panels.items()
    ]
    return curves, max(by_agent.values(), key=len, default=[])


def game_curves(rows: Sequence[Row]) -> tuple[list[Curves], list[Row]]:
    """Curves of ARI, kappa, acceptance and log joint by sweep, from rows of metrics.jsonl; also the rows of sweeps."""
    rows = [row for row in rows if row["kind"] == "sweep"]
    rounds = [row["round"] for row in rows]
    agents = list(rows[0]["agents"]) if rows else []
    directions = list(rows[0]["acceptance"] or {}) if rows else []
    aris = _summarise({name: [row["agents"][name]["ari"] for row in rows] for name in agents})
    rates = _summarise({name: [row["acceptance"][name] for row in rows] for name in directions})
    # Groups are the connected components of the encounter graph at the start of the run.
    pairs = {"kappa": "all", "kappa_within": "within groups", "kappa_between": "between groups"}
    kappas = {name: [row[key] for row in rows] for key, name in pairs.items() if rows and key in rows[0]}
    joints = {"log joint": [row["log_joint"] for row in rows]}
    curves = [
        Curves("ARI", aris, "no ARI: the objects have no labels", "agent", True, rounds),
        Curves("kappa", kappas, "no kappa", "pairs of agents" if len(kappas) > 1 else "", True, rounds),
        Curves(
            "acceptance\n(share of proposals)",
            _summarise(rates),
            "no proposals in this mode",
            "speaker->listener",
            True,
            rounds,
        ),
        Curves("log joint (nats)", joints, "no log joint", "", False, rounds),
    ]
    return curves, rows


def plot_training(path: Path, rows: Sequence[Row]) -> None:
    """Plot loss, reconstruction and KL (nats per object) of each agent over the epochs of all rounds.

    rows: rows of metrics.jsonl; only kind "epoch" is used.
    """
    _plot_all(path, *training_curves(rows), "epoch, over all rounds", 7.5)


def plot_game(path: Path, rows: Sequence[Row]) -> None:
    """Plot ARI of each agent, kappa, acceptance and log joint over the sweeps of all rounds.

    rows: rows of metrics.jsonl; only kind "sweep" is used. Lines break between rounds, because each round is a
    separate game on new latents.
    """
    _plot_all(path, *game_curves(rows), "sweep, over all rounds", 9)


def plot_curves(path: Path, curves: Curves, rows: Sequence[Row], steps: str) -> None:
    """Plot one panel of `training_curves` or `game_curves` for a column of a page. steps: label of the x axis."""
    with picture(path, 5, 2.7) as figure:
        axes = figure.subplots()
        _draw_curves(axes, curves)
        _mark_rounds([axes], rows)
        axes.set_xlabel(steps)
        handles, names = axes.get_legend_handles_labels()
        if curves.legend and handles:
            columns = max(1, min(4, 360 // (56 + 6 * max(map(len, names)))))  # of 360 points
            figure.legend(handles, names, loc="outside lower center", ncols=columns, handlelength=2.8)


def _plot_all(path: Path, curves: Sequence[Curves], rows: Sequence[Row], steps: str, height: float) -> None:
    """Plot panels below each other with a common x axis."""
    titled: set[str] = set()
    with picture(path, 8, height) as figure:
        panels = figure.subplots(len(curves), 1, sharex=True)
        for axes, panel in zip(panels, curves, strict=True):
            _draw_curves(axes, panel)
            if panel.legend and panel.legend not in titled:
                titled.add(panel.legend)
                legend(axes, panel.legend)
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
    order: ArrayLike | None = None,
    min_width: float = 2.4,
) -> None:
    """Plot signs against classes, one panel per agent.

    signs: (M, N), 0..signs_count - 1. labels: (N,), indices of class_names. bar: draw the colour bar. order: signs
    (M', N) that decide the order of the columns (default: those that are drawn). min_width: of a panel, in inches.

    A cell is the share of a class (row) that has the sign (column), in per cent, without a number below 0.5. Columns
    are ordered by the one-to-one matching of `partitions.match` with the signs of all agents. So all panels have one
    order, and a dialect stands out. Unmatched signs are to the right of a vertical line.
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
    pooled = np.zeros((classes, K), dtype=np.intp)
    deciding = signs if order is None else np.asarray(order)
    np.add.at(pooled, (np.broadcast_to(labels, deciding.shape), deciding), 1)
    matching = partitions.match(pooled)[1]
    width, height = max(min_width, cell * K) + 0.9, max(2.0, cell * classes) + 0.9
    with picture(path, across * width + 0.9 * bar, down * height) as figure:
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for panel, name, agent_signs in zip(axes, agent_names, signs, strict=False):
            table = np.zeros((classes, K), dtype=np.intp)
            np.add.at(table, (labels, agent_signs), 1)
            first_column = panel.get_subplotspec().is_first_col()
            names = truncate(class_names) if first_column else [""] * classes
            image = _draw_confusion(panel, table, names, matching)
            matched = table[partitions.match(table)].sum() / max(table.sum(), 1)
            panel.set_title(f"agent {name}: {matched:.0%} matched", parse_math=False)
            panel.set_xlabel("sign")
            if first_column:
                panel.set_ylabel("class")
        for panel in axes[len(signs) :]:
            panel.set_axis_off()
        if bar:
            scale = figure.colorbar(image, ax=axes.tolist(), shrink=0.8, aspect=30, pad=0.02)
            scale.set_label("share of the class (%)")


def plot_images(path: Path, images: ArrayLike, row_names: Sequence[str], column_names: Sequence[str]) -> None:
    """Plot images (R, C, H, W), or (R, C, H, W, 3) in colour, in a grid with named rows and columns.

    Pixels are in [0, 1]; NaN is pale blue.
    """
    images = np.asarray(images, dtype=np.float64)
    if (
        images.shape[4:] not in ((), (3,))
        or images.shape[:2] != (len(row_names), len(column_names))
        or 0 in images.shape
    ):
        raise ValueError(
            f"images must be ({len(row_names)} rows, {len(column_names)} columns, H, W); their shape is {images.shape}"
        )
    R, C, H, W = images.shape[:4]
    tiles = mosaic(images, max(1, H // 14))
    rows, columns = truncate(row_names, MAX_ROW), truncate(column_names)
    cell = float(np.clip(12 / max(R, C), 0.2, 1.2))  # inches
    sideways = max(map(len, columns)) * 0.085 > cell
    beside = 0.3 + 0.085 * max(map(len, rows))
    above = 0.3 + (0.085 * max(map(len, columns)) if sideways else 0)
    with picture(path, C * cell + beside, R * cell * H / W + above) as figure:
        axes = figure.subplots()
        axes.set_anchor("E")  # leaves free space to the row names
        show_mosaic(axes, tiles.grid)
        label_ticks(axes.xaxis, tiles.columns, columns, cell, sideways=sideways)
        label_ticks(axes.yaxis, tiles.rows, rows, cell * H / W)
        axes.xaxis.tick_top()


# -- mosaics of images -----------------------------------------------------------------------------


_ABSENT = "#DCE6F0"


class Mosaic(NamedTuple):
    """A grid of images in pixels, NaN between them, and the centres of its rows and columns."""

    grid: NDArray[np.float64]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def mosaic(images: NDArray[Any], gap: int, *, group: int = 1, group_gap: int = 0) -> Mosaic:
    """Arrange images (R, C, H, W[, 3]) `gap` pixels apart, with `group_gap` more after every `group` columns."""
    R, C, H, W = images.shape[:4]
    tops = gap + (H + gap) * np.arange(R)
    lefts = gap + (W + gap) * np.arange(C) + group_gap * (np.arange(C) // group)
    grid = np.full((tops[-1] + H + gap, lefts[-1] + W + gap, *images.shape[4:]), np.nan)
    for r, c in np.ndindex(R, C):
        grid[tops[r] : tops[r] + H, lefts[c] : lefts[c] + W] = images[r, c]
    return Mosaic(grid, tops + (H - 1) / 2, lefts + (W - 1) / 2)


def alike(grids: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack grids of images (R, C, H, W[, 3]): small images are centred, grey ones get channels if any has colour."""
    H, W = (max(grid.shape[axis] for grid in grids) for axis in (2, 3))
    colour = (3,) if any(grid.ndim == 5 for grid in grids) else ()
    stacked = np.full((len(grids), *grids[0].shape[:2], H, W, *colour), np.nan, dtype=np.float32)
    for target, grid in zip(stacked, grids, strict=True):
        h, w = grid.shape[2:4]
        top, left = (H - h) // 2, (W - w) // 2
        target[:, :, top : top + h, left : left + w] = grid[..., None] if colour and grid.ndim == 4 else grid
    return stacked


def show_mosaic(axes: Axes, grid: NDArray[np.float64]) -> None:
    """Draw a mosaic in grey or colour; NaN is pale blue."""
    colours = colormaps["gray"].with_extremes(bad=_ABSENT)
    if grid.ndim == 3:
        grid = np.where(np.isnan(grid), to_rgb(_ABSENT), grid)
    axes.imshow(grid, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    hide_frame(axes)


def _summarise(lines: Lines) -> Lines:
    """Replace many lines by their maximum, mean and minimum."""
    if len(lines) <= _MAX_LINES:
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
        # Start at the multiple of 0.1 below the data, so that small changes near 1 are visible.
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
    """Draw named lines over 1, 2, 3, ...; None and a change of `rounds` are gaps. Without lines, write `otherwise`."""
    styles = zip(cycle(COLOURS), cycle(LINES), strict=False)
    for (name, values), (colour, line) in zip(lines.items(), styles, strict=False):
        x = np.arange(1, len(values) + 1, dtype=np.float64)
        y = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        borders = np.flatnonzero(np.diff([] if rounds is None else rounds)) + 1
        x, y = np.insert(x, borders, np.nan), np.insert(y, borders, np.nan)
        marker = "o" if len(values) <= max(_MAX_MARKERS, 3 * len(borders)) else ""
        if np.isfinite(y).any():
            axes.plot(x, y, color=colour, linestyle=line, marker=marker, label=name)
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    if not axes.lines:
        background = {"facecolor": "white", "edgecolor": "none"}
        centre: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, otherwise, color="0.4", bbox=background, **centre)
        axes.set_yticks([])


def _mark_rounds(axes: Sequence[Axes], rows: Sequence[Row]) -> None:
    """Draw a thin line between rounds in all panels, and number the rounds above the first panel."""
    if not rows:
        return
    rounds = np.array([row["round"] for row in rows])
    edges = np.flatnonzero(np.diff(rounds)) + 1.5
    grey, width = (GREY, 0.8) if len(edges) <= _MANY_ROUNDS else ("0.82", 0.6)
    for panel in axes:
        panel.set_xlim(0.5, len(rows) + 0.5)
        for edge in edges:
            panel.axvline(edge, color=grey, linewidth=width, zorder=1)
    starts = np.array([0.5, *edges])
    middles = (starts + np.array([*edges, len(rows) + 0.5])) / 2
    style: dict[str, Any] = {"va": "bottom", "color": "0.35", "fontsize": 9, "textcoords": "offset points"}
    last = -np.inf
    for start, middle in zip(starts, middles, strict=True):
        if middle - last < _ROUND_NAME * len(rows):
            continue
        last = middle
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (0, 3), "ha": "center"}
        axes[0].annotate(str(rounds[int(start)]), (middle, 1), **place, **style)
    axes[0].annotate("round", (0, 1), xycoords="axes fraction", xytext=(-6, 3), ha="right", **style)


# -- confusion -------------------------------------------------------------------------------------


def _cell(classes: int, K: int) -> float:
    """Side of a cell in inches."""
    return float(np.clip(8 / max(classes, K), 0.1, 0.45))


def _draw_confusion(axes: Axes, table: NDArray[np.intp], class_names: Sequence[str], matched: NDArray[np.intp]) -> Any:
    """Draw counts (classes, K) as shares of their row, first the columns `matched`, then the others; the image."""
    classes, K = table.shape
    order = np.concatenate([matched, np.setdiff1d(np.arange(K), matched)])
    totals = table.sum(axis=1, keepdims=True)
    percent = np.where(totals > 0, 100 * table[:, order] / np.maximum(totals, 1), np.nan)
    colours = colormaps["Blues"].with_extremes(bad="0.9")  # classes without objects
    image = axes.imshow(percent, cmap=colours, vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    if max(classes, K) <= _MAX_NUMBERS:
        for (i, j), value in np.ndenumerate(percent):
            if value >= 0.5:
                colour = "white" if value > 65 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    if len(matched) < K:
        axes.axvline(len(matched) - 0.5, color="0.3", linewidth=1)
    label_ticks(axes.xaxis, np.arange(K), [str(k) for k in order], _cell(classes, K))
    label_ticks(axes.yaxis, np.arange(classes), class_names, _cell(classes, K))
    hide_frame(axes)
    return image
