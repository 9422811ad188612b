"""How the time of a sweep grows: python bench/scale.py [--device cuda] [--out DIR] [--quick] [--compare FILE.json].

One size at a time goes up from a base of N = 5,000 objects, K = 10 signs, L = 12 dimensions, C = 1 chain and M = 2
agents, who meet along a ring; a ring of M has M pairs, and one of 2 has one. Parameters are redrawn after each
encounter; on a CUDA device sweeps are replayed as one graph, as in long games. A time is the median of several sweeps
after a few that do not count. The exponent of a size is the slope of log time over log size, by least squares over its
last decade: 1 is a cost that is linear.

What would take more than MOST_SECONDS a sweep, judging by the points before it, or more than MOST_BYTES, is left out,
and said. DIR receives scale-<device>.json and scale-<device>.png; --compare draws the curves of another such file too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import ring, setting
from bench.timing import described, machine, median_seconds, seconds, write_json
from mhng.experiment.plots.style import COLOURS, GREY, picture

BASE = {"N": 5000, "K": 10, "L": 12, "C": 1, "M": 2}
MEANING = {"N": "objects N", "K": "signs K", "L": "dimensions L", "C": "chains C", "M": "agents M, in a ring"}
SIZES = {
    "N": [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "K": [10, 30, 100, 300, 1000],
    "L": [2, 4, 8, 16, 32, 64, 128],
    "C": [1, 2, 4, 8, 16, 32, 64],
    "M": [2, 4, 8, 16, 32, 64],
}
QUICK = {"N": [1000, 10_000, 100_000], "K": [10, 100], "L": [2, 16, 64], "C": [1, 8], "M": [2, 16]}
MOST_SECONDS, MOST_BYTES = 20.0, 10 * 2**30
# Of a point: about this long is spent on repeating it, but never fewer or more sweeps than these.
SPENT, FEWEST, MOST = 2.0, 3, 15

Point = dict[str, float]


def measure(name: str, sizes: list[int], device: str) -> list[Point]:
    """The points of one curve."""
    points: list[Point] = []
    for size in sizes:
        at = BASE | {name: size}
        expected = foretold(points, size)
        if expected > MOST_SECONDS or bytes_of(**at) > MOST_BYTES:
            print(f"| {name} = {size:,} | left out: {expected:.0f} s, {bytes_of(**at) / 2**30:.1f} GiB |")
            break
        game = setting(at["N"], at["K"], at["L"], at["C"], at["M"], ring(at["M"]), device, graphs=device != "cpu")
        if device != "cpu":
            for _ in range(4):  # until they are captured
                game.sweep()
        repeats = min(MOST, max(FEWEST, round(SPENT / max(seconds(game.sweep, device), 1e-6))))
        taken = median_seconds(game.sweep, device, repeats)
        points.append({"size": size, "seconds": taken, "sweeps": repeats})
        print(f"| {name} = {size:,} | {taken:.5f} |", flush=True)
    return points


def foretold(points: list[Point], size: int) -> float:
    """Seconds of a sweep at `size`, by the slope of the last two points; 0 where there is none."""
    if not points:
        return 0.0
    slope = max(1.0, exponent(points[-2:])) if len(points) > 1 else 1.0
    return points[-1]["seconds"] * (size / points[-1]["size"]) ** slope


def bytes_of(N: int, K: int, L: int, C: int, M: int) -> int:
    """What lies in memory, about: features and once more what they are made of, tables and what is made of them."""
    F = 1 + L + L * (L + 1) // 2
    return 8 * (N * F * (M + 2) + C * N * K * (M + 4) + 8 * C * M * K * L * L)


def exponent(points: list[Point]) -> float:
    """The slope of log seconds over log size, over the last decade of sizes."""
    last = [one for one in points if one["size"] >= points[-1]["size"] / 10]
    if len(last) < 2:
        return math.nan
    x, y = (np.log([one[name] for one in last]) for name in ("size", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def draw(path: Path, curves: list[tuple[str, dict[str, list[Point]]]]) -> None:
    """A panel for each size; curves are told apart by line and marker as well as by colour."""
    with picture(path, 13.5, 3.1) as figure:
        panels = figure.subplots(1, len(SIZES), sharey=True)
        for axes, name in zip(panels, SIZES, strict=True):
            for number, (label, curve) in enumerate(curves):
                points = curve.get(name, [])
                x, y = ([one[what] for one in points] for what in ("size", "seconds"))
                style: Any = [("-", "o", COLOURS[0]), ("--", "s", COLOURS[1])][number % 2]
                axes.plot(
                    x, y, style[0], marker=style[1], color=style[2], label=f"{label}: exponent {exponent(points):.2f}"
                )
                if number == 0 and points:
                    ends = np.array([x[0], x[-1]])
                    axes.plot(ends, y[-1] * ends / x[-1], ":", color=GREY, label="linear")
            axes.set_xscale("log")
            axes.set_yscale("log")
            if name != "N":  # fewer than three decades: powers of ten would be too few marks
                axes.set_xticks(SIZES[name], [str(size) for size in SIZES[name]], fontsize=8)
                axes.set_xticks([], minor=True)
            axes.set_xlabel(MEANING[name])
            axes.legend(fontsize=7, loc="upper left")
        panels[0].set_ylabel("seconds a sweep")


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/scale"), metavar="DIR", help="(default: runs/scale)")
    parser.add_argument("--quick", action="store_true", help="few points, none of them large")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE.json", help="another device's curves, to draw beside these"
    )
    options = parser.parse_args()
    print(f"{described(options.device)}; base {', '.join(f'{name} = {size:,}' for name, size in BASE.items())}")
    curves = {}
    for name, sizes in (QUICK if options.quick else SIZES).items():
        print(f"\n| {MEANING[name]} | seconds a sweep |\n| --- | --- |")
        curves[name] = measure(name, sizes, options.device)
    exponents = {name: exponent(points) for name, points in curves.items()}
    print("\nExponents over the last decade: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    where = machine(options.device)
    write_json(
        options.out / f"scale-{options.device}.json", machine=where, base=BASE, exponents=exponents, curves=curves
    )
    drawn = [(label_of(where), curves)]
    if options.compare is not None:
        other = json.loads(options.compare.read_text(encoding="utf-8"))
        drawn.append((label_of(other["machine"]), other["curves"]))
    draw(options.out / f"scale-{options.device}.png", drawn)


def label_of(where: dict[str, Any]) -> str:
    """The device, and of a processor the threads."""
    threads = f"CPU, {where['threads']} thread{'s' if where['threads'] > 1 else ''}"
    return threads if where["device"] == "cpu" else str(where["device"])


if __name__ == "__main__":
    main()
