"""Scatter plot of a latent map in two dimensions: points coloured by group, group names at the medians."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import colormaps, halo, picture, to_rgb, truncate

# With more groups, names would cover the map.
_MAX_NAMES = 30
_UNMATCHED = (0.55, 0.55, 0.55, 1.0)


def plot_map(
    path: Path,
    points: NDArray[np.float64],
    groups: NDArray[np.int64],
    names: Sequence[str],
    colours: Sequence[int],
    axes_names: tuple[str, str],
) -> None:
    """Draw points (n, 2) coloured by group.

    groups (n,): indices of `names`. colours: for each group the number of its colour; -1 is grey.
    """
    with picture(path, 5, 4.6) as figure:
        axes = figure.subplots()
        table = palette(max(colours, default=0) + 1)
        group_colours = np.array([_UNMATCHED if colour < 0 else table[colour] for colour in colours])
        # Rasterised, because thousands of paths make an SVG slow and large.
        axes.scatter(
            points[:, 0],
            points[:, 1],
            c=group_colours[groups],
            s=9 if len(points) < 1500 else 4,
            linewidths=0,
            rasterized=True,
        )
        if len(names) <= _MAX_NAMES:
            for group, name in enumerate(truncate(names, 14)):
                members = points[groups == group]
                if len(members):
                    x, y = np.median(members, axis=0)
                    axes.text(
                        x, y, name, ha=_side(x, points[:, 0]), va="center", fontsize=11, fontweight="bold",
                        parse_math=False, path_effects=halo(2.5),
                    )  # fmt: skip
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        axes.set_aspect("equal", adjustable="datalim")


def _side(x: float, places: NDArray[np.float64]) -> str:
    """Horizontal alignment of a name at `x`: near an edge of the map it extends inwards."""
    share = (x - places.min()) / max(float(np.ptp(places)), 1e-12)
    return "left" if share < 0.15 else "right" if share > 0.85 else "center"


def palette(count: int) -> NDArray[np.float64]:
    """`count` colours (RGBA): from a qualitative palette up to 20, from a continuous colour map beyond.

    Grey is left to signs without a class.
    """
    for name, size, greys in (("tab10", 10, {7: "#000000"}), ("tab20", 20, {14: "#000000", 15: "#FFE119"})):
        if count <= size:
            colours = np.asarray(colormaps[name](np.arange(size)), dtype=np.float64)
            for place, colour in greys.items():
                colours[place, :3] = to_rgb(colour)
            return colours
    return np.asarray(colormaps["turbo"](np.linspace(0.05, 0.95, count)), dtype=np.float64)
