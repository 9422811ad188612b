"""What a sweep costs, over the number of agents and of objects: python bench/community.py [--largest N].

Signs of K = 10, percepts of L = 12 dimensions, parameters redrawn. Each row is the median of a few sweeps, as seconds
and as a ratio to the row before it: a cost that is linear has the ratio of its sizes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.games import ring, setting
from bench.timing import median_seconds
from inference.meetings import Meetings, Together

K, L, REPEATS = 10, 12, 5


def table(title: str, rows: list[tuple[int, int, Meetings]], mode: str = "com") -> None:
    """One line a row."""
    print(f"\n{title}\n\n| agents | objects | seconds a sweep | ratio to the row above |\n| --- | --- | --- | --- |")
    before = None
    for M, N, meetings in rows:
        now = median_seconds(setting(N, K, L, M=M, meetings=meetings, mode=mode).sweep, repeats=REPEATS)
        print(f"| {M} | {N:,} | {now:.4f} | {'' if before is None else f'{now / before:.2f}'} |", flush=True)
        before = now


def main() -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000, help="objects of the last row")
    largest = parser.parse_args().largest
    print(f"{torch.get_num_threads()} threads")
    sizes = [2, 4, 8, 16, 32, 64]
    table("A ring", [(M, 10_000, ring(M)) for M in sizes])
    table("A ring, few objects", [(M, 1000, ring(M)) for M in sizes])
    table("A ring, synchronous", [(M, 10_000, ring(M, True)) for M in sizes])
    table("Together, os", [(M, 10_000, Together()) for M in sizes])
    table("Together, gibbs", [(M, 10_000, Together()) for M in sizes], "gibbs")
    table("Together, variational", [(M, 10_000, Together()) for M in sizes], "variational")
    objects = [10**power for power in range(3, 7) if 10**power <= largest]
    table("Two agents", [(2, N, Together()) for N in objects])


if __name__ == "__main__":
    main()
