"""The picture of a comparison: a dot a seed, and the mean of each row with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mhng.experiment.plots.style import COLOURS, GREY, MaxNLocator, picture, shortened

_HIGHEST = 60.0  # inches


class Dots(NamedTuple):
    """A row: the values that are known, their mean, and its interval, where there is one."""

    name: str
    values: Sequence[float]
    mean: float | None
    low: float | None
    high: float | None


def plot_dots(path: Path, rows: Sequence[Dots], label: str, base: float | None) -> None:
    """One metric, a line a row; base: the mean that others are held against, as a thin line through all rows."""
    with picture(path, 5, min(0.9 + 0.5 * len(rows), _HIGHEST)) as figure:
        axes = figure.subplots()
        if base is not None:
            axes.axvline(base, color=GREY, linewidth=0.8, zorder=1)
        for place, row in enumerate(rows):
            # Spread from top to bottom: equal scores are not one dot.
            spread = np.linspace(-0.12, 0.12, len(row.values)) if len(row.values) > 1 else np.zeros(len(row.values))
            heights = place - 0.12 + spread
            axes.plot(row.values, heights, "o", color=COLOURS[0], alpha=0.65, markersize=5, markeredgewidth=0)
            if row.mean is None:
                continue
            axes.plot([row.mean], [place + 0.22], "D", color="black", markersize=4)
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place + 0.22] * 2, color="black", linewidth=1.2)
        axes.set_yticks(range(len(rows)), shortened([row.name for row in rows], 24), parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(label)
