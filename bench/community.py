"""What a sweep costs, over the numbers of agents and objects: python bench/community.py [--largest N] [--only TABLE].

Signs of K = 10, percepts of L = 12 dimensions, parameters redrawn. Each row is the median of a few sweeps, as seconds
and as a ratio to the row before it: a cost that is linear has the ratio of its sizes. Where two ways are compared, the
ratio is that of the two, measured one after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import ring, setting
from bench.timing import median_seconds
from mhng.inference import batched
from mhng.inference.topology import Meetings, Together

K, L, REPEATS = 10, 12, 5
SIZES = [2, 4, 8, 16, 32, 64]


def seconds(M: int, N: int, meetings: Meetings, mode: str = "com") -> float:
    """Of one sweep."""
    return median_seconds(setting(N, K, L, M=M, meetings=meetings, mode=mode).sweep, repeats=REPEATS)


def table(title: str, rows: list[tuple[int, int, Meetings]]) -> None:
    """One line a row."""
    print(f"\n{title}\n\n| agents | objects | seconds a sweep | ratio to the row above |\n| --- | --- | --- | --- |")
    before = None
    for M, N, meetings in rows:
        now = seconds(M, N, meetings)
        print(f"| {M} | {N:,} | {now:.4f} | {'' if before is None else f'{now / before:.2f}'} |", flush=True)
        before = now


def modes() -> None:
    """Other games beside that of names, all together."""
    print("\nTogether, 10,000 objects\n\n| agents | com, os | gibbs / com | variational / com |")
    print("| --- | --- | --- | --- |")
    for M in (2, 4, 8, 16):
        com, *others = (seconds(M, 10_000, Together(), mode) for mode in ("com", "gibbs", "variational"))
        print(f"| {M} | {com:.4f} | {' | '.join(f'{other / com:.2f}' for other in others)} |", flush=True)


def at_once() -> None:
    """A ring of 64 whose encounters are played at once where they can be, and one by one."""
    print("\nA ring of 64\n\n| objects | synchronous | at once | one by one / at once |\n| --- | --- | --- | --- |")
    for synchronous in (False, True):
        for N in (100, 300, 1000):
            fast = seconds(64, N, ring(64, synchronous))
            with mock.patch.dict(batched._FEW, {"cpu": 0}):
                slow = seconds(64, N, ring(64, synchronous))
            print(f"| {N:,} | {synchronous} | {fast:.4f} | {slow / fast:.2f} |", flush=True)


def main() -> None:
    """All tables, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, help="objects of the last row")
    objects: list[int] = []
    tables: dict[str, Callable[[], None]] = {
        "at-once": at_once,
        "modes": modes,
        "ring": lambda: table("A ring", [(M, 10_000, ring(M)) for M in SIZES]),
        "synchronous": lambda: table("A ring, synchronous", [(M, 10_000, ring(M, True)) for M in SIZES]),
        "together": lambda: table("Together, os", [(M, 10_000, Together()) for M in SIZES]),
        "objects": lambda: table("Two agents", [(2, N, Together()) for N in objects]),
        "objects-ring": lambda: table("A ring of eight", [(8, N, ring(8)) for N in objects]),
    }
    parser.add_argument("--only", choices=tables)
    arguments = parser.parse_args()
    objects += [10**power for power in range(3, 7) if 10**power <= arguments.largest]
    print(f"{torch.get_num_threads()} threads")
    for name in [arguments.only] if arguments.only else tables:
        tables[name]()


if __name__ == "__main__":
    main()
