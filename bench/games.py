"""Games for benchmarks: agents with fixed latents of synthetic classes, initialised at the true signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.replayed_sweeps import ReplayedChain
from mhng.experiment.training.graphs import graph_edges
from mhng.inference.batched import batch_groups
from mhng.inference.game import Game, init, sweep
from mhng.inference.topology import Graph, Meetings, Together
from mhng.inference.types import Info, State
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream


@dataclass
class BenchGame:
    """A game with its players and state."""

    game: Game
    players: list[Percepts]
    generators: list[torch.Generator]
    state: State
    step: Callable[[State, int], tuple[State, Info]]

    def sweep(self, number: int = 0) -> None:
        """Play sweep `number` and update the state."""
        self.state, _ = self.step(self.state, number)


def ring(M: int, synchronous: bool = False) -> Graph:
    """Ring graph of M agents."""
    return Graph(graph_edges("ring", M, 0), synchronous)


def bench_game(
    N: int,
    K: int,
    L: int,
    C: int = 1,
    M: int = 2,
    meetings: Meetings | None = None,
    device: str = "cpu",
    graphs: bool = False,
    mode: str = "com",
) -> BenchGame:
    """A game of M agents on N objects of K classes, with L latent dimensions, K signs and C chains.

    graphs: replay the sweeps as a CUDA graph (`bench.replayed_sweeps`); runs do not.
    """
    classes = torch.randint(K, (N,), generator=stream(0, "objects", device), device=device)
    players = [Percepts(sample_latents(classes, K, L, m), NormalWishart(L, device=device)) for m in range(M)]
    generators = [stream(0, f"play/{m}", device) for m in range(M)]
    log_prior = torch.zeros(K, dtype=torch.float64, device=device).log_softmax(0)
    game = Game(log_prior, mode, meetings=Together() if meetings is None else meetings)
    groups = batch_groups(players)
    step: Callable[[State, int], tuple[State, Info]] = partial(sweep, game, players, generators, groups=groups)
    state = init(players, generators, classes.expand(C, M, N).clone(), K, mode)
    return BenchGame(game, players, generators, state, ReplayedChain(step, generators) if graphs else step)


def sample_latents(classes: Tensor, K: int, L: int, m: int) -> Tensor:
    """Sample latents (N, L) of agent m: K class centres with standard deviation 3, and unit noise."""
    generator = stream(0, f"percepts/{m}", classes.device)
    real: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": classes.device}
    centres = 3 * torch.randn(K, L, **real)
    return centres[classes] + torch.randn(len(classes), L, **real)
