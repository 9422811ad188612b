"""Small games whose answers can be enumerated: a skewed sign prior, agents that differ, K = 3 and no round number."""

from __future__ import annotations

import torch

from mhng.models.belief import Belief
from mhng.models.mixtures import NormalWishart
from mhng.models.percepts import Percepts
from mhng.models.rng import stream

K = 3
LOG_PRIOR = torch.tensor([0.62, 0.27, 0.11], dtype=torch.float64).log()

# log N(z_n; k) of two agents for four objects: they differ, and neither is a multiple of the other.
TABLE_A = torch.tensor(
    [[-1.0, -0.2, -2.1], [-0.3, -1.9, -0.8], [-2.2, -1.1, -0.4], [-0.6, -0.7, -0.9]], dtype=torch.float64
)
TABLE_B = torch.tensor(
    [[-0.4, -1.3, -0.9], [-1.7, -0.5, -1.2], [-0.8, -0.9, -1.6], [-2.0, -0.1, -1.0]], dtype=torch.float64
)
TABLE_C = torch.tensor(
    [[-1.2, -0.9, -0.1], [-0.2, -0.6, -1.4], [-1.9, -0.3, -0.9], [-0.5, -1.6, -0.2]], dtype=torch.float64
)


class TableAgent:
    """A player whose parameters never change: the game needs no more of an agent than this."""

    def __init__(self, table):
        self.table = table

    def redraw(self, generator, signs, K, previous=None):
        nothing = torch.zeros(len(signs), dtype=torch.float64)
        return Belief(self.table.expand(len(signs), *self.table.shape), None, nothing, nothing)


def tables():
    """Two agents with fixed parameters."""
    return [TableAgent(TABLE_A), TableAgent(TABLE_B)]


def three_tables():
    """Three agents with fixed parameters."""
    return [*tables(), TableAgent(TABLE_C)]


def mixtures(N=4, M=2):
    """M agents, at most five, with percepts of two dimensions, and priors that are not the identity."""
    scale = torch.tensor([[0.8, 0.2], [0.2, 0.5]], dtype=torch.float64)
    place = torch.tensor([[-1.0, 0.6], [-0.8, 0.1], [1.2, -0.3], [0.9, 0.4]], dtype=torch.float64)[:N]
    other = torch.tensor([[0.5, 1.1], [-0.7, -0.9], [0.6, 0.8], [-0.9, -1.2]], dtype=torch.float64)[:N]
    third = torch.tensor([[0.1, -1.0], [0.3, 0.9], [-0.2, 1.3], [1.1, -0.8]], dtype=torch.float64)[:N]
    return [
        Percepts(place, NormalWishart(2, m0=0.2, beta=0.7, nu=3.1, W=scale)),
        Percepts(other, NormalWishart(2, m0=-0.1, beta=1.3, nu=2.5, W=2 * scale)),
        Percepts(third, NormalWishart(2, m0=0.1, beta=0.9, nu=2.8, W=1.5 * scale)),
        Percepts(other.flip(1), NormalWishart(2, m0=0.3, beta=1.1, nu=2.4, W=scale)),
        Percepts(third - place, NormalWishart(2, m0=-0.2, beta=0.8, nu=3.3, W=0.7 * scale)),
    ][:M]


def generators(seed, M=2):
    return [stream(seed, f"{m}/play") for m in range(M)]


def random_signs(C, M=2, N=4, seed=0):
    return torch.randint(K, (C, M, N), generator=stream(seed, "signs"))
