"""Plot of cross recall: images that the speaker sees, its signs, and images that the listener decodes from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import MAX_ROW, label_ticks, picture, truncate
from mhng.experiment.plots.training import alike, mosaic, show_mosaic

_CELL = 0.5  # inches
_MAX_SIDE = 40.0  # inches


class Direction(NamedTuple):
    """One panel: images (S, P, H, W[, 3]) in [0, 1], NaN if missing; a row per sign with P pairs of images."""

    speaker: str
    listener: str
    rows: Sequence[str]
    saw: NDArray[np.float32]
    imagined: NDArray[np.float32]


def _pair_columns(direction: Direction) -> tuple[NDArray[np.float32], int]:
    """Interleave seen and decoded images (S, 2 P, H, W[, 3]), padded to a common size; also returns W."""
    padded = alike([direction.saw, direction.imagined])
    S, P = padded.shape[1:3]
    return np.stack([*padded], axis=2).reshape(S, 2 * P, *padded.shape[3:]), padded.shape[4]


def plot_cross(path: Path, directions: Sequence[Direction]) -> None:
    """Draw one panel per direction, two in a row, with pairs of seen and decoded images."""
    S, P, H, W = directions[0].saw.shape[:4]
    across = min(len(directions), 2)
    down = -(-len(directions) // across)
    cell = min(_CELL, _MAX_SIDE / max(S * down, 2 * P * across))
    beside = 0.4 + 0.085 * max(len(name) for direction in directions for name in truncate(direction.rows, MAX_ROW))
    width, height = across * (2 * P * cell + beside), down * (S * cell * H / W + 0.8)
    with picture(path, max(width, 4.0), height) as figure:
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, direction in zip(panels, directions, strict=False):
            paired, W = _pair_columns(direction)
            gap = max(1, W // 14)
            tiles = mosaic(paired, gap, group=2, group_gap=3 * gap)
            axes.set_anchor("E")  # leaves free space to the row names
            show_mosaic(axes, tiles.grid)
            headings = ["seen", "decoded"] * P
            label_ticks(axes.xaxis, tiles.columns, headings, cell if cell > 0.42 else 0.05)
            label_ticks(axes.yaxis, tiles.rows, truncate(direction.rows, MAX_ROW), cell * H / W)
            axes.xaxis.tick_top()
            axes.tick_params(axis="x", labelsize=6.5)
            axes.set_title(
                f"{direction.speaker} speaks, {direction.listener} decodes",
                parse_math=False,
                loc="left",
                pad=8,
            )
            axes.set_xlabel(
                f"row labels: sign, most frequent class for {direction.speaker}, share of this class", fontsize=8
            )
        for axes in panels[len(directions) :]:
            axes.set_axis_off()
