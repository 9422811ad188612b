"""Plots of sentences: images as words change, the vocabulary as a table of meanings, evidence by meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import (
    COLOURS,
    Axes,
    colormaps,
    hide_frame,
    label_ticks,
    picture,
    rectangle,
    truncate,
)
from mhng.experiment.plots.training import mosaic, show_mosaic

_UNSAID = COLOURS[1]
_SMALLEST = 8  # pixels; lower images are enlarged, so that gaps between them stay small
_MAX_NUMBERS = 16  # words or values; larger tables show colours without numbers


class Words(NamedTuple):
    """W words of a slot. shares (W, values): of the objects with a word, those that have a value of the attribute."""

    slot: int
    names: Sequence[str]
    attribute: int
    values: Sequence[str]
    shares: NDArray[np.float64]


class Imagined(NamedTuple):
    """Images (R, C, H, W[, 3]) of sentences with a word for each row and column; unsaid (R, C): no object has it."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    images: NDArray[np.float32]
    unsaid: NDArray[np.bool_]
    row_label: str
    column_label: str


def plot_imagined(path: Path, grid: Imagined) -> None:
    """Draw the images in a grid; sentences that no object has are framed."""
    larger = -(-_SMALLEST // grid.images.shape[2])
    images = grid.images.repeat(larger, axis=2).repeat(larger, axis=3)
    R, C, H, W = images.shape[:4]
    tiles = mosaic(images, gap := max(2, H // 7))
    cell = float(np.clip(9 / max(R, C * W / H), 0.1, 1.2))  # inches, of a row
    rows, columns = truncate(grid.rows, 14), truncate(grid.columns, 14)
    wide = cell * W / H
    sideways = max(map(len, columns)) * 0.09 > wide
    beside, above = 0.6 + 0.085 * max(map(len, rows)), 0.8 + 0.085 * max(map(len, columns)) * sideways
    with picture(path, max(C * wide + beside, 3.6), R * cell + above + 0.3) as figure:
        axes = figure.subplots()
        show_mosaic(axes, tiles.grid)
        label_ticks(axes.xaxis, tiles.columns, columns, wide, sideways=sideways)
        label_ticks(axes.yaxis, tiles.rows, rows, cell)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(grid.column_label)
        axes.set_ylabel(grid.row_label)
        for r, c in zip(*np.nonzero(grid.unsaid), strict=True):
            low = tiles.columns[c] - W / 2 - gap / 2, tiles.rows[r] - H / 2 - gap / 2
            axes.add_patch(rectangle(low, W + gap - 0.5, H + gap - 0.5, _UNSAID))
        note = "framed: sentences that no object has" if grid.unsaid.any() else ""
        axes.set_title(f"{grid.title}\n{note}".strip(), loc="left", parse_math=False)


def plot_vocabulary(path: Path, agents: Mapping[str, Sequence[Words]]) -> None:
    """Draw a row of panels for each agent and a panel for each slot: words against values of their attribute."""
    down, across = len(agents), max(map(len, agents.values()))
    most = max(max(words.shares.shape) for slots in agents.values() for words in slots)
    cell = float(np.clip(5 / most, 0.06, 0.36))
    width = across * (cell * most + 0.9) + 0.8
    with picture(path, max(width, 5.0), down * (cell * most + 0.8) + 0.2) as figure:
        panels = figure.subplots(down, across, squeeze=False)
        for row, (name, slots) in zip(panels, agents.items(), strict=True):
            for axes, words in zip(row, slots, strict=False):
                image = _draw_words(axes, words, cell)
                axes.set_title(f"agent {name}, word {words.slot + 1}", parse_math=False)
            for axes in row[len(slots) :]:
                axes.set_axis_off()
        bar = figure.colorbar(image, ax=panels.ravel().tolist(), shrink=0.8, aspect=30, pad=0.02)
        bar.set_label("share of the word's objects (%)")


def _draw_words(axes: Axes, words: Words, cell: float) -> Any:
    """Draw shares in per cent; returns the image."""
    percent = 100 * words.shares
    image = axes.imshow(percent, cmap=colormaps["Blues"], vmin=0, vmax=100, interpolation="nearest", aspect="auto")
    if max(percent.shape) <= _MAX_NUMBERS:
        for (i, j), value in np.ndenumerate(percent):
            if value >= 0.5:
                colour = "white" if value > 65 else "black"
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
    label_ticks(axes.xaxis, np.arange(len(words.values)), truncate(words.values), cell)
    label_ticks(axes.yaxis, np.arange(len(words.names)), truncate(words.names), cell)
    axes.set_xlabel(f"value of attribute {words.attribute + 1}")
    axes.set_ylabel("word")
    hide_frame(axes)
    return image


def plot_evidence(path: Path, agents: Mapping[str, Mapping[str, float]], base: str) -> None:
    """Draw the log evidence (nats) of each agent's sentences under each meaning, as the gain over meaning `base`."""
    meanings = [meaning for meaning in next(iter(agents.values())) if meaning != base]
    with picture(path, 7, 0.7 + 0.32 * len(meanings) * len(agents) + 0.2 * len(agents)) as figure:
        axes = figure.subplots()
        ticks, places = [], []
        place = 0.0
        for name, nats in agents.items():
            for meaning, colour in zip(meanings, COLOURS, strict=False):
                gain = nats[meaning] - nats[base]
                axes.barh(place, gain, height=0.8, color=colour)
                beside = 4 if gain >= 0 else -4
                axes.annotate(
                    f"{gain:+,.0f}".replace("-", "−"), (gain, place), xytext=(beside, 0), textcoords="offset points",
                    ha="left" if gain >= 0 else "right", va="center", fontsize=9,
                )  # fmt: skip
                ticks.append(f"{name}: {meaning}")
                places.append(place)
                place += 1
            place += 0.6
        axes.axvline(0, color="black", linewidth=0.8)
        axes.margins(x=0.16)  # room for the numbers
        axes.set_yticks(places, ticks, parse_math=False)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"log evidence above that of {base} (nats)")
