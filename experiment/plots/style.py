"""Style of all plots: figures, files, axes and legends. With `fonts`, the only importer of matplotlib.

Figures are drawn on the Agg canvas without pyplot. Displays, MPLBACKEND, the user's matplotlibrc and global figures
have no effect. No function here draws a random number.

Lines differ in colour and in line style. The palette by Okabe and Ito is safe for colour-blind readers.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.fonts import draw_letters
from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.process import quiet_imports

with quiet_imports():
    import matplotlib
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

__all__ = [
    "COLOURS",
    "GREY",
    "LINES",
    "MAX_ROW",
    "Axes",
    "Figure",
    "MaxNLocator",
    "ScalarFormatter",
    "Shown",
    "colormaps",
    "figure_of",
    "halo",
    "hide_frame",
    "label_ticks",
    "legend",
    "picture",
    "rectangle",
    "to_rgb",
    "truncate",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
GREY = "0.6"
_MAX_NAME = 18  # characters

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


class Shown(Figure):
    """A figure that notebooks display, also without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        draw_letters(self, lambda: self.savefig(buffer, format="png"), is_text=False)
        return buffer.getvalue()


# Where `figure_of` collects figures; None outside of it.
_shown: ContextVar[list[Figure] | None] = ContextVar("shown", default=None)


def figure_of(draw: Callable[[Path], object]) -> Figure:
    """The figure that `draw` makes for a path, in place of the file."""
    figures: list[Figure] = []
    token = _shown.set(figures)
    try:
        draw(Path("figure.png"))
    finally:
        _shown.reset(token)
    (figure,) = figures
    return figure


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of `width` x `height` inches; write it to `path` when the block ends.

    The format is PNG, or SVG for a path with that suffix. SVG has no background, and keeps text as text.
    """
    form = "svg" if path.suffix == ".svg" else "png"
    plain = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(("backend", "toolbar"))}
    # The file name is the salt for ids in an SVG: reproducible, and different between the plots of a page.
    style: Any = plain | _STYLE | {"svg.fonttype": "none", "svg.hashsalt": path.name}
    with matplotlib.rc_context(style):
        shown = _shown.get()
        figure = (Figure if shown is None else Shown)(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        if shown is not None:
            shown.append(figure)
            return
        with atomic_path(path) as beside:
            extra: dict[str, Any] = {"transparent": True, "metadata": {"Date": None}} if form == "svg" else {}
            draw_letters(figure, lambda: figure.savefig(beside, format=form, **extra), is_text=form == "svg")


# Characters of a row label: a sign, its most frequent class and the share of it
MAX_ROW = 36


def truncate(names: Sequence[str], longest: int = _MAX_NAME) -> list[str]:
    """Cut names to at most `longest` characters."""
    return [name if len(name) <= longest else name[: longest - 1] + "…" for name in map(str, names)]


def halo(width: float) -> list[Any]:
    """White outline of `width` points for text on an image."""
    return [withStroke(linewidth=width, foreground="white")]


def rectangle(corner: tuple[float, float], width: float, height: float, colour: str) -> Any:
    """A frame on an image; corner: the smallest coordinates."""
    return Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=1.4)


def hide_frame(axes: Axes) -> None:
    """Remove grid, frame and tick marks from axes with an image."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def label_ticks(
    axis: Any,
    places: Sequence[float] | NDArray[Any],
    names: Sequence[str],
    room: float,
    *,
    sideways: bool = False,
) -> None:
    """Label ticks at places `room` inches apart; skip labels that would overlap."""
    step = max(1, int(np.ceil(0.17 / room)))
    axis.set_ticks(places[::step], names[::step], parse_math=False, rotation=90 if sideways else 0)


def legend(axes: Axes, title: str) -> None:
    """Draw a legend of the lines to the right of the axes."""
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.03), title=title, handlelength=2.8)
        legend.set_alignment("left")
        for text in legend.get_texts():
            text.set_parse_math(False)
