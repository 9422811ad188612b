"""Cost of a sweep over the numbers of agents and objects: tables of seconds per sweep.

    python bench/community.py [--largest N] [--only TABLE]

All games have K = 10 signs, L = 12 latent dimensions and redrawn parameters. A row is the median of a few sweeps, in
seconds and as a ratio to the row above: a linear cost has the ratio of the sizes. Tables that compare two methods
print the ratio of their times, measured one after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import bench_game, ring
from bench.timing import median_seconds
from mhng.inference import batched
from mhng.inference.topology import Meetings, Together

K, L, REPEATS = 10, 12, 5
SIZES = [2, 4, 8, 16, 32, 64]


def seconds(M: int, N: int, meetings: Meetings, mode: str = "com") -> float:
    """Median seconds of a sweep."""
    return median_seconds(bench_game(N, K, L, M=M, meetings=meetings, mode=mode).sweep, repeats=REPEATS)


def table(title: str, rows: list[tuple[int, int, Meetings]]) -> None:
    """Print a table with one line per row."""
    print(f"\n{title}\n\n| agents | objects | seconds per sweep | ratio to the row above |\n| --- | --- | --- | --- |")
    before = None
    for M, N, meetings in rows:
        now = seconds(M, N, meetings)
        print(f"| {M} | {N:,} | {now:.4f} | {'' if before is None else f'{now / before:.2f}'} |", flush=True)
        before = now


def modes() -> None:
    """Print the cost of the modes gibbs and variational relative to com, all agents together."""
    print("\nAll agents together, 10,000 objects\n")
    print("| agents | seconds per sweep of com, os | gibbs / com | variational / com |\n| --- | --- | --- | --- |")
    for M in (2, 4, 8, 16):
        com, *others = (seconds(M, 10_000, Together(), mode) for mode in ("com", "gibbs", "variational"))
        print(f"| {M} | {com:.4f} | {' | '.join(f'{other / com:.2f}' for other in others)} |", flush=True)


def batched_encounters() -> None:
    """Print the speed-up of batched over sequential encounters on a ring of 64 agents."""
    print("\nRing of 64 agents\n")
    print("| objects | synchronous | seconds, batched | sequential / batched |\n| --- | --- | --- | --- |")
    for synchronous in (False, True):
        for N in (100, 300, 1000):
            fast = seconds(64, N, ring(64, synchronous))
            with mock.patch.dict(batched._BATCH_LIMIT, {"cpu": 0}):
                slow = seconds(64, N, ring(64, synchronous))
            print(f"| {N:,} | {synchronous} | {fast:.4f} | {slow / fast:.2f} |", flush=True)


def main() -> None:
    """Print all tables, or the selected one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--largest", type=int, default=1_000_000, help="number of objects in the last row (default: 1,000,000)"
    )
    objects: list[int] = []
    tables: dict[str, Callable[[], None]] = {
        "batched": batched_encounters,
        "modes": modes,
        "ring": lambda: table("Ring", [(M, 10_000, ring(M)) for M in SIZES]),
        "synchronous": lambda: table("Synchronous ring", [(M, 10_000, ring(M, True)) for M in SIZES]),
        "together": lambda: table("All agents together, recursion os", [(M, 10_000, Together()) for M in SIZES]),
        "objects": lambda: table("Two agents", [(2, N, Together()) for N in objects]),
        "objects-ring": lambda: table("Ring of eight agents", [(8, N, ring(8)) for N in objects]),
    }
    parser.add_argument("--only", choices=tables, help="table to print (default: all)")
    arguments = parser.parse_args()
    objects += [10**power for power in range(3, 7) if 10**power <= arguments.largest]
    print(f"{torch.get_num_threads()} threads")
    for name in [arguments.only] if arguments.only else tables:
        tables[name]()


if __name__ == "__main__":
    main()
