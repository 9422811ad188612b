"""The sheet that pictures are drawn on: style, file, and what every axis may need.

The only importer of matplotlib: what others need of it they import from here. Figures are made by hand on the Agg
canvas: no pyplot, so no display, no global figure and no say for MPLBACKEND or the user's matplotlibrc. Nothing
here draws a random number.

Lines are told apart by colour and by line style, in the palette of Okabe and Ito, which the colour-blind can tell
apart too.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.process import environment

with environment(MPLBACKEND=None):  # the name of a backend that no longer exists would fail the import
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

__all__ = [
    "COLOURS",
    "GREY",
    "LINES",
    "Axes",
    "Figure",
    "MaxNLocator",
    "ScalarFormatter",
    "bare",
    "colormaps",
    "halo",
    "legend",
    "name_ticks",
    "picture",
    "shortened",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
GREY = "0.6"
_LONGEST_NAME = 18

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure (inches) in our style; written to `path` when the block ends.

    PNG, but SVG if `path` ends so: without a background, for a page that has its own, and with text as text.
    """
    form = "svg" if path.suffix == ".svg" else "png"
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(("backend", "toolbar"))}
    # Ids within an SVG are hashes: of the name, so that the same picture is the same file, and no two share them.
    style: Any = plain | _STYLE | {"svg.fonttype": "none", "svg.hashsalt": path.name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font lacks
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with atomic_path(path) as beside:
            extra: dict[str, Any] = {"transparent": True, "metadata": {"Date": None}} if form == "svg" else {}
            figure.savefig(beside, format=form, **extra)


def shortened(names: Sequence[str], longest: int = _LONGEST_NAME) -> list[str]:
    """Names of `longest` letters at most."""
    return [name if len(name) <= longest else name[: longest - 1] + "…" for name in map(str, names)]


def halo(width: float) -> list[Any]:
    """For text on a picture: a white edge, `width` points."""
    return [withStroke(linewidth=width, foreground="white")]


def bare(axes: Axes) -> None:
    """An image needs no grid, no frame and no tick marks."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def name_ticks(
    axis: Any,
    places: Sequence[float] | NDArray[Any],
    names: Sequence[str],
    room: float,
    *,
    sideways: bool = False,
) -> None:
    """Names at places that are `room` inches apart: every second, third... where they would touch."""
    step = max(1, int(np.ceil(0.17 / room)))
    axis.set_ticks(places[::step], names[::step], parse_math=False, rotation=90 if sideways else 0)


def legend(axes: Axes, title: str) -> None:
    """What the lines are, at the right of the panel, where it covers none of them."""
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), title=title, handlelength=2.8)
        legend.set_alignment("left")
        for text in legend.get_texts():
            text.set_parse_math(False)
