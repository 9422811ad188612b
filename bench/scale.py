"""Growth of the time of a sweep with the sizes of the game: seconds per sweep and exponents.

    python bench/scale.py [--device cuda] [--out DIR] [--quick] [--compare FILE.json]

One size is varied at a time, from a base of N = 5,000 objects, K = 10 signs, L = 12 dimensions, C = 1 chain and M = 2
agents on a ring. A ring of M agents has M pairs; a ring of 2 has one pair. Parameters are redrawn after an encounter.
On a CUDA device, sweeps are replayed as a graph, as runs do not. A time is the median of several sweeps after
warm-up sweeps. An exponent is the slope of log time over log size, by least squares over the last decade of sizes: 1
is a linear cost.

Points that need more than MAX_SECONDS per sweep, predicted from the points before, or more than MAX_BYTES are reported
and skipped. DIR receives scale-<device>.json and scale-<device>.png. --compare adds the curves of another such file.
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

from bench.games import bench_game, ring
from bench.timing import machine, machine_text, median_seconds, seconds, write_json
from mhng.experiment.plots.style import COLOURS, GREY, picture

BASE = {"N": 5000, "K": 10, "L": 12, "C": 1, "M": 2}
LABELS = {"N": "objects N", "K": "signs K", "L": "dimensions L", "C": "chains C", "M": "agents M on a ring"}
SIZES = {
    "N": [1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    "K": [10, 30, 100, 300, 1000],
    "L": [2, 4, 8, 16, 32, 64, 128],
    "C": [1, 2, 4, 8, 16, 32, 64],
    "M": [2, 4, 8, 16, 32, 64],
}
QUICK = {"N": [1000, 10_000, 100_000], "K": [10, 100], "L": [2, 16, 64], "C": [1, 8], "M": [2, 16]}
MAX_SECONDS, MAX_BYTES = 20.0, 10 * 2**30
# Repeated sweeps of a point: for about this many seconds, within these limits.
REPEAT_SECONDS, MIN_REPEATS, MAX_REPEATS = 2.0, 3, 15

Point = dict[str, float]


def measure(name: str, sizes: list[int], device: str) -> list[Point]:
    """Measure the points of one curve."""
    points: list[Point] = []
    for size in sizes:
        at = BASE | {name: size}
        expected = predict_seconds(points, size)
        if expected > MAX_SECONDS or estimate_bytes(**at) > MAX_BYTES:
            print(f"| {name} = {size:,} | skipped: {expected:.0f} s, {estimate_bytes(**at) / 2**30:.1f} GiB |")
            break
        game = bench_game(at["N"], at["K"], at["L"], at["C"], at["M"], ring(at["M"]), device, graphs=device != "cpu")
        if device != "cpu":
            for _ in range(4):  # until the graph is captured
                game.sweep()
        repeats = min(MAX_REPEATS, max(MIN_REPEATS, round(REPEAT_SECONDS / max(seconds(game.sweep, device), 1e-6))))
        taken = median_seconds(game.sweep, device, repeats)
        points.append({"size": size, "seconds": taken, "sweeps": repeats})
        print(f"| {name} = {size:,} | {taken:.5f} |", flush=True)
    return points


def predict_seconds(points: list[Point], size: int) -> float:
    """Predicted seconds of a sweep at `size`, from the slope of the last two points; 0 without points."""
    if not points:
        return 0.0
    slope = max(1.0, exponent(points[-2:])) if len(points) > 1 else 1.0
    return points[-1]["seconds"] * (size / points[-1]["size"]) ** slope


def estimate_bytes(N: int, K: int, L: int, C: int, M: int) -> int:
    """Approximate memory in bytes: features and their input, likelihood tables and their intermediate results."""
    F = 1 + L + L * (L + 1) // 2
    return 8 * (N * F * (M + 2) + C * N * K * (M + 4) + 8 * C * M * K * L * L)


def exponent(points: list[Point]) -> float:
    """Slope of log seconds over log size, over the last decade of sizes."""
    last = [point for point in points if point["size"] >= points[-1]["size"] / 10]
    if len(last) < 2:
        return math.nan
    x, y = (np.log([point[name] for point in last]) for name in ("size", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def draw(path: Path, curves: list[tuple[str, dict[str, list[Point]]]]) -> None:
    """Plot one panel per size. Curves differ in line style and marker as well as in colour."""
    with picture(path, 13.5, 3.1) as figure:
        panels = figure.subplots(1, len(SIZES), sharey=True)
        for axes, name in zip(panels, SIZES, strict=True):
            for number, (label, curve) in enumerate(curves):
                points = curve.get(name, [])
                x, y = ([point[key] for point in points] for key in ("size", "seconds"))
                style: Any = [("-", "o", COLOURS[0]), ("--", "s", COLOURS[1])][number % 2]
                axes.plot(
                    x, y, style[0], marker=style[1], color=style[2], label=f"{label}: exponent {exponent(points):.2f}"
                )
                if number == 0 and points:
                    ends = np.array([x[0], x[-1]])
                    axes.plot(ends, y[-1] * ends / x[-1], ":", color=GREY, label="linear")
            axes.set_xscale("log")
            axes.set_yscale("log")
            if name != "N":  # fewer than three decades, so powers of ten would be too few ticks
                axes.set_xticks(SIZES[name], [str(size) for size in SIZES[name]], fontsize=8)
                axes.set_xticks([], minor=True)
            axes.set_xlabel(LABELS[name])
            axes.legend(fontsize=7, loc="upper left")
        panels[0].set_ylabel("seconds per sweep")


def main() -> None:
    """Print the tables, write the JSON file and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/scale"), metavar="DIR", help="output folder (default: runs/scale)"
    )
    parser.add_argument("--quick", action="store_true", help="measure only a few small points")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE.json", help="curves of another device to add to the plot"
    )
    options = parser.parse_args()
    print(f"{machine_text(options.device)}; base {', '.join(f'{name} = {size:,}' for name, size in BASE.items())}")
    curves = {}
    for name, sizes in (QUICK if options.quick else SIZES).items():
        print(f"\n| {LABELS[name]} | seconds per sweep |\n| --- | --- |")
        curves[name] = measure(name, sizes, options.device)
    exponents = {name: exponent(points) for name, points in curves.items()}
    print("\nExponents over the last decade: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    host = machine(options.device)
    write_json(
        options.out / f"scale-{options.device}.json", machine=host, base=BASE, exponents=exponents, curves=curves
    )
    drawn = [(machine_label(host), curves)]
    if options.compare is not None:
        other = json.loads(options.compare.read_text(encoding="utf-8"))
        drawn.append((machine_label(other["machine"]), other["curves"]))
    draw(options.out / f"scale-{options.device}.png", drawn)


def machine_label(host: dict[str, Any]) -> str:
    """Name of the GPU, or the number of CPU threads."""
    threads = f"CPU, {host['threads']} thread{'s' if host['threads'] > 1 else ''}"
    return threads if host["device"] == "cpu" else str(host["device"])


if __name__ == "__main__":
    main()
