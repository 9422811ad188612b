"""Pictures of a training run: curves, confusion of signs and classes, agreement of a community."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.models.languages import MOST_TABLE


def run_pictures(
    rows: Sequence[Mapping[str, Any]],
    signs: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64] | None,
    class_names: Callable[[], Sequence[str]],
    K: int,
    kappa_matrix: Sequence[Sequence[float]] | None,
) -> dict[str, Callable[[Path], object]]:
    """Functions that draw the pictures of a run into a file, by file name. A picture without content is left out.

    rows: rows of metrics.jsonl. signs: final signs of each agent (N,). labels: (N,), None without labels.
    class_names: returns the names of classes; called when their picture is drawn. kappa_matrix: of summary.json.
    matplotlib is imported when a picture is drawn.
    """
    names = list(signs)
    plots: dict[str, tuple[str, str, tuple[Any, ...]]] = {
        "game.png": ("training", "plot_game", (rows,)),
    }
    if any(row["kind"] == "epoch" for row in rows):
        plots["training.png"] = ("training", "plot_training", (rows,))
    if labels is not None and K <= MOST_TABLE:
        table = np.stack(list(signs.values()))
        plots["confusion.png"] = ("training", "plot_confusion", (table, labels, names, class_names, K))
    if len(names) > 2:
        plots["community.png"] = ("community", "plot_community", (np.array(kappa_matrix), names))
    if any(len(row.get("kappa_by_distance", ())) > 1 for row in rows):
        plots["distance.png"] = ("community", "plot_distance", (rows,))
    return {name: partial(_draw, *plot) for name, plot in plots.items()}


def _draw(module: str, function: str, arguments: tuple[Any, ...], path: Path) -> None:
    known = [argument() if callable(argument) else argument for argument in arguments]
    getattr(import_module(f"mhng.experiment.plots.{module}"), function)(path, *known)
