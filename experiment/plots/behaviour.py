"""Plots of `behaviour fit`: acceptance by ratio, calibration, the group's bias and temperature, participants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.plots.style import COLOURS, GREY, LINES, Axes, legend, picture, truncate

_MAX_PEOPLE = 100  # drawn; the title says so


def plot_acceptance(path: Path, rows: Sequence[Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Observed acceptance by ratio, and the acceptance that each rule predicts. rows: deciles of r (`calibration`)."""
    with picture(path, 7, 4) as figure:
        axes = figure.subplots()
        x = np.array([row["mean_log_r"] for row in rows])
        for rule, colour, line in _styles(rules):
            axes.plot(x, [row["predicted"][rule] for row in rows], line, color=colour, label=rule)
        _observed(axes, x, rows)
        axes.axvline(0, color=GREY, linewidth=0.8)
        ticks = np.log([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100])
        ticks = ticks[(ticks > x.min() - 0.5) & (ticks < x.max() + 0.5)]
        axes.set_xticks(ticks, [f"{np.exp(tick):g}" for tick in ticks])
        axes.set_xlabel("r, ratio of the offered to the current sign (mean of a decile)")
        axes.set_ylabel("share of offers taken")
        axes.set_ylim(-0.02, 1.02)
        axes.set_title("dots: observed, with 95% intervals; lines: fitted rules", loc="left")
        legend(axes, "rule")


def plot_calibration(path: Path, rows: Sequence[Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Predicted against observed acceptance by decile of r, a panel for each rule."""
    columns = min(3, len(rules))
    height = -(-len(rules) // columns)
    with picture(path, 2.6 * columns, 2.5 * height + 0.3) as figure:
        panels = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True)
        for panel in panels.flat[len(rules) :]:
            panel.set_visible(False)
        for panel, (rule, colour, _) in zip(panels.flat, _styles(rules), strict=False):
            panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
            x = np.array([row["predicted"][rule] for row in rows])
            _observed(panel, x, rows, colour)
            panel.set_title(rule, loc="left")
            panel.set_xlim(-0.03, 1.03)
            panel.set_ylim(-0.03, 1.03)
            panel.set_aspect("equal")
        for panel in panels[-1]:
            panel.set_xlabel("predicted")
        for panel in panels[:, 0]:
            panel.set_ylabel("observed")


def plot_group(path: Path, bias: NDArray[Any], log_temperature: NDArray[Any]) -> None:
    """Posterior draws of the group's mean bias and temperature. MH is the point a = 0, T = 1."""
    bias, temperature = bias.ravel(), np.exp(log_temperature.ravel())
    with picture(path, 4.6, 4.2) as figure:
        axes = figure.subplots()
        axes.plot(bias, temperature, ".", color=COLOURS[0], markersize=2, alpha=0.35)
        axes.axvline(0, color=GREY, linewidth=0.8)
        axes.axhline(1, color=GREY, linewidth=0.8)
        axes.plot([0], [1], "*", color=COLOURS[1], markersize=13, label="MH: a = 0, T = 1")
        axes.set_xlabel("mean bias a (above 0: takes more than MH)")
        axes.set_ylabel("median temperature T (below 1: sharper)")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)


def plot_people(path: Path, people: Mapping[str, Mapping[str, Any]], rules: Sequence[str]) -> None:
    """Bias and temperature of each participant with 90% intervals, and the probability of each rule."""
    names = sorted(people, key=lambda name: people[name]["bias"]["median"])[:_MAX_PEOPLE]
    place = np.arange(len(names))
    with picture(path, 9.5, 1.4 + 0.17 * len(names)) as figure:
        bias, temperature, chosen = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1, 1.1])
        for axes, key, change, rest in ((bias, "bias", np.asarray, 0), (temperature, "log_temperature", np.exp, 1)):
            middle, low, high = (change([people[n][key][end] for n in names]) for end in ("median", "low", "high"))
            axes.errorbar(middle, place, xerr=[middle - low, high - middle], fmt="o", color=COLOURS[0], linewidth=1)
            axes.axvline(rest, color=GREY, linewidth=0.8)
            axes.grid(axis="y", visible=False)
        bias.set_xlabel("bias a, 90% interval")
        temperature.set_xlabel("temperature T, 90% interval")
        temperature.set_xscale("log")
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if _within(tick, temperature.get_xlim())]
        temperature.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        temperature.minorticks_off()
        left = np.zeros(len(names))
        for rule, colour, _ in _styles(rules):
            share = np.array([people[name]["probability"][rule] for name in names])
            chosen.barh(place, share, left=left, color=colour, height=0.8, label=rule)
            left += share
        chosen.set_xlim(0, 1)
        chosen.set_xlabel("probability of each rule")
        chosen.grid(False)
        bias.set_yticks(place, truncate(names), parse_math=False, fontsize=7)
        bias.set_ylim(-0.7, len(names) - 0.3)
        first = f"first {_MAX_PEOPLE} of {len(people)} " if len(people) > _MAX_PEOPLE else ""
        bias.set_title(f"{first}participants", loc="left")
        legend(chosen, "rule")


def _styles(rules: Sequence[str]) -> list[tuple[str, str, str]]:
    return list(zip(rules, cycle(COLOURS), cycle(LINES)))


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _observed(axes: Axes, x: NDArray[Any], rows: Sequence[Mapping[str, Any]], colour: str = "black") -> None:
    """Dots of the observed shares with their intervals."""
    observed, low, high = (np.array([row[key] for row in rows]) for key in ("observed", "low", "high"))
    error = [(observed - low).clip(0), (high - observed).clip(0)]
    axes.errorbar(x, observed, error, fmt="o", color=colour, markersize=4, linewidth=1)
