"""The section of curves: what changed by epoch and by sweep, one panel a quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mhng.experiment.plots.training import Curves, game_curves, plot_curves, training_curves
from mhng.experiment.report.drawing import Studio
from mhng.experiment.report.page import Picture, Section, number


def curves(studio: Studio, rows: Sequence[Mapping[str, Any]]) -> Section:
    """Of the rows of metrics.jsonl. A quantity that the run has not is left out."""
    pictures: list[list[Picture]] = []
    absent: list[str] = []
    for found, steps in ((game_curves(rows), "sweep"), (training_curves(rows), "epoch")):
        panels, own = found
        pictures.append([])
        for one in panels:
            if any(value is not None for line in one.lines.values() for value in line):
                pictures[-1].append(_panel(studio, one, own, steps))
            elif one.otherwise not in absent:
                absent.append(one.otherwise)
    words = [
        "Grey lines part the rounds; in between the agents learn, so that each round is a game on other percepts. "
        "Lines are of chain 0."
    ]
    if absent:
        words.append("Not here: " + "; ".join(absent) + ".")
    return Section("curves", "Curves", words, pictures=pictures)


def _panel(studio: Studio, one: Curves, rows: Sequence[Mapping[str, Any]], steps: str) -> Picture:
    label = " ".join(one.label.split())
    ends = []
    for name, line in one.lines.items():
        known = [value for value in line if value is not None]
        if known:
            ends.append(f"{name} from {number(known[0])} to {number(known[-1])}")
    rounds = len({row["round"] for row in rows})
    alt = f"{label} by {steps}: {', '.join(ends)}; {len(rows)} {steps}s in {rounds} rounds."
    return studio.chart(lambda path: plot_curves(path, one, rows, f"{steps}, over all rounds"), alt)
