"""What a sweep costs, over the number of agents and of objects: python bench/community.py [--largest N].

Signs of K = 10, percepts of L = 12 dimensions, parameters redrawn. Each row is the median of a few sweeps, as seconds
and as a ratio to the row before it: a cost that is linear has the ratio of its sizes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inference.game import Game, init, sweep
from inference.meetings import Graph, Meetings, Together
from models.mixtures import NormalWishart
from models.percepts import Percepts
from models.randomness import stream

K, L, REPEATS = 10, 12, 5


def ring(M: int, synchronous: bool = False) -> Graph:
    """Each agent and the next."""
    pairs = {(min(m, (m + 1) % M), max(m, (m + 1) % M)) for m in range(M)}
    return Graph(tuple(sorted(pairs)), synchronous)


def seconds(M: int, N: int, meetings: Meetings) -> float:
    """The median time of a sweep."""
    generator = stream(0, "objects")
    classes = torch.randint(K, (N,), generator=generator)
    players = []
    for _ in range(M):
        centres = 3 * torch.randn(K, L, generator=generator, dtype=torch.float64)
        noise = torch.randn(N, L, generator=generator, dtype=torch.float64)
        players.append(Percepts(centres[classes] + noise, NormalWishart(L)))
    own = [stream(0, str(m)) for m in range(M)]
    game = Game(torch.zeros(K, dtype=torch.float64).log_softmax(0), meetings=meetings)
    state = init(players, own, classes.expand(1, M, N).clone(), K)
    times = []
    for number in range(REPEATS + 1):
        begun = time.perf_counter()
        state, _ = sweep(game, players, own, state, number)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def table(title: str, rows: list[tuple[int, int, Meetings]]) -> None:
    """One line a row."""
    print(f"\n{title}\n\n| agents | objects | seconds a sweep | ratio to the row above |\n| --- | --- | --- | --- |")
    before = None
    for M, N, meetings in rows:
        now = seconds(M, N, meetings)
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
    table("A ring, synchronous", [(M, 10_000, ring(M, True)) for M in sizes])
    table("Together, os", [(M, 10_000, Together()) for M in sizes])
    objects = [10**power for power in range(3, 7) if 10**power <= largest]
    table("Two agents", [(2, N, Together()) for N in objects])


if __name__ == "__main__":
    main()
