"""The picture of a latent map: points in a plane, coloured by group, each group named where its middle is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import colormaps, halo, picture, shortened

# More groups than this are not named on the map: the names would cover it.
_MOST_NAMES = 30
_LEFT_OVER = (0.55, 0.55, 0.55, 1.0)


def plot_map(
    path: Path,
    points: NDArray[np.float64],
    groups: NDArray[np.int64],
    names: Sequence[str],
    colours: Sequence[int],
    axes_names: tuple[str, str],
) -> None:
    """points (n, 2); groups (n,) indices of `names`; colours: for each group the number of its colour, -1 is grey."""
    with picture(path, 5, 4.6) as figure:
        axes = figure.subplots()
        table = palette(max(colours, default=0) + 1)
        of_group = np.array([_LEFT_OVER if colour < 0 else table[colour] for colour in colours])
        # Points are pixels, also in an SVG: as paths, thousands of them would make it slow and large.
        axes.scatter(
            points[:, 0],
            points[:, 1],
            c=of_group[groups],
            s=9 if len(points) < 1500 else 4,
            linewidths=0,
            rasterized=True,
        )
        if len(names) <= _MOST_NAMES:
            for group, name in enumerate(shortened(names, 14)):
                own = points[groups == group]
                if len(own):
                    x, y = np.median(own, axis=0)
                    axes.text(
                        x, y, name, ha="center", va="center", fontsize=11, fontweight="bold", parse_math=False,
                        path_effects=halo(2.5),
                    )  # fmt: skip
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])
        axes.set_aspect("equal", adjustable="datalim")


def palette(count: int) -> NDArray[np.float64]:
    """`count` colours, RGBA: of a list made to be told apart where that is long enough."""
    for name, most in (("tab10", 10), ("tab20", 20)):
        if count <= most:
            return np.asarray(colormaps[name](np.arange(most)), dtype=np.float64)
    return np.asarray(colormaps["turbo"](np.linspace(0.05, 0.95, count)), dtype=np.float64)
