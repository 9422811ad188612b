"""The picture of cross recall: what one agent saw, the sign that it said, and what the other imagined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import name_ticks, picture, shortened
from mhng.experiment.plots.training import mosaic, show_mosaic

_CELL = 0.5  # inches
_LARGEST = 40.0  # inches, of a side


class Direction(NamedTuple):
    """One panel: images (S, P, H, W) in [0, 1], NaN where there is none; one row a sign, P pairs in it."""

    speaker: str
    listener: str
    rows: Sequence[str]
    saw: NDArray[np.float32]
    imagined: NDArray[np.float32]


def _side_by_side(one: Direction) -> tuple[NDArray[np.float32], int]:
    """Pairs (S, 2 P, H, W) of what was seen and what was imagined, the smaller on a larger ground; and W."""
    S, P = one.saw.shape[:2]
    H, W = (max(sizes) for sizes in zip(one.saw.shape[2:], one.imagined.shape[2:], strict=True))
    grounds = np.full((2, S, P, H, W), np.nan, dtype=np.float32)
    for ground, images in zip(grounds, (one.saw, one.imagined), strict=True):
        h, w = images.shape[2:]
        top, left = (H - h) // 2, (W - w) // 2
        ground[:, :, top : top + h, left : left + w] = images
    return np.stack([*grounds], axis=2).reshape(S, 2 * P, H, W), W


def plot_cross(path: Path, directions: Sequence[Direction]) -> None:
    """A panel for each direction, two beside each other; in it pairs of images: what was seen, what was imagined."""
    S, P, H, W = directions[0].saw.shape
    across = min(len(directions), 2)
    down = -(-len(directions) // across)
    cell = min(_CELL, _LARGEST / max(S * down, 2 * P * across))
    beside = 0.4 + 0.085 * max(len(name) for one in directions for name in shortened(one.rows, 26))
    width, height = across * (2 * P * cell + beside), down * (S * cell * H / W + 0.8)
    with picture(path, max(width, 4.0), height) as figure:
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, one in zip(panels, directions, strict=False):
            paired, W = _side_by_side(one)
            gap = max(1, W // 14)
            tiles = mosaic(paired, gap, every=2, wider=3 * gap)
            show_mosaic(axes, tiles.grid)
            heads = ["saw", "imagined"] * P
            name_ticks(axes.xaxis, tiles.columns, heads, cell if cell > 0.42 else 0.05)
            name_ticks(axes.yaxis, tiles.rows, shortened(one.rows, 26), cell * H / W)
            axes.xaxis.tick_top()
            axes.tick_params(axis="x", labelsize=6.5)
            axes.set_title(
                f"{one.speaker} sees and says the sign, {one.listener} imagines", parse_math=False, loc="left", pad=8
            )
            axes.set_xlabel(
                f"beside each sign: the class that {one.speaker} names most by it, and its share", fontsize=8
            )
        for axes in panels[len(directions) :]:
            axes.set_axis_off()
