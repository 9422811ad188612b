"""Games to measure: agents that perceive synthetic classes, each by itself, and begin at the true names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mhng.experiment.training.graphs import graph_edges
from mhng.inference.batched import kinds
from mhng.inference.cuda_graphs import Chain
from mhng.inference.game import Game, init, sweep
from mhng.inference.topology import Graph, Meetings, Together
from mhng.inference.types import Info, State
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream


@dataclass
class Setting:
    """A game with its players, ready for a sweep."""

    game: Game
    players: list[Percepts]
    generators: list[torch.Generator]
    state: State
    step: Callable[[State, int], tuple[State, Info]]

    def sweep(self, number: int = 0) -> None:
        """Sweep `number`, and keep where it ended."""
        self.state, _ = self.step(self.state, number)


def ring(M: int, synchronous: bool = False) -> Graph:
    """Each agent and the next, as a run has it."""
    return Graph(graph_edges("ring", M, 0), synchronous)


def setting(
    N: int,
    K: int,
    L: int,
    C: int = 1,
    M: int = 2,
    meetings: Meetings | None = None,
    device: str = "cpu",
    graphs: bool = False,
    mode: str = "com",
) -> Setting:
    """N objects of K classes that M agents perceive in L dimensions, and C chains with K signs.

    graphs: sweeps are replayed as a CUDA graph, as those of long games are.
    """
    classes = torch.randint(K, (N,), generator=stream(0, "objects", device), device=device)
    players = [Percepts(seen(classes, K, L, m), NormalWishart(L, device=device)) for m in range(M)]
    generators = [stream(0, f"play/{m}", device) for m in range(M)]
    log_prior = torch.zeros(K, dtype=torch.float64, device=device).log_softmax(0)
    game = Game(log_prior, mode, meetings=Together() if meetings is None else meetings)
    step: Callable[[State, int], tuple[State, Info]] = partial(sweep, game, players, generators, kind=kinds(players))
    state = init(players, generators, classes.expand(C, M, N).clone(), K, mode)
    return Setting(game, players, generators, state, Chain(step, generators) if graphs else step)


def seen(classes: Tensor, K: int, L: int, m: int) -> Tensor:
    """Agent m's percepts (N, L) of objects of `classes`: K centres of its own, 3 apart or so, and unit noise."""
    generator = stream(0, f"percepts/{m}", classes.device)
    real: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": classes.device}
    centres = 3 * torch.randn(K, L, **real)
    return centres[classes] + torch.randn(len(classes), L, **real)
