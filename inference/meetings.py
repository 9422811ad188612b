"""Who meets whom in a sweep of the game, and in which order.

An encounter is a row of agents: all but the last make a proposal, as in `inference.recursion`, and the last one
listens. Agents meet either all together, each listening once to all the others, or in pairs along the edges of a
graph, each edge once in both directions. Of two agents both are A speaks to B, then B to A.

Encounters follow one another, and whoever listened learns from it before the next; or, where they are `synchronous`,
all speak out of what they believed before the sweep, and learn once, when it is over.

Pairs know nothing of the others' percepts but what their words have taken up of them: no chain of a graph with
more than two agents has the joint posterior of all as its law. Its language spreads from neighbour to neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.randomness import stream

Encounter = tuple[int, ...]  # agents; the last one listens
Edge = tuple[int, int]


@dataclass(frozen=True)
class Together:
    """Everyone meets everyone at once: agent m + M - 1 (mod M) hears what m, m + 1, ... propose, for each m."""

    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """Of one sweep of M agents."""
        return [tuple((m + place) % M for place in range(M)) for m in range(M)]


@dataclass(frozen=True)
class Graph:
    """Pairs along `edges`, in their order; both directions of an edge, the first one speaking first."""

    edges: tuple[Edge, ...]
    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """Of one sweep: the same ones in each."""
        return [pair for a, b in self.edges for pair in ((a, b), (b, a))]


@dataclass(frozen=True)
class RandomPairs:
    """Every sweep deals the agents out in pairs, anew; of an odd number one stays at home.

    Which ones follows from seed and number of the sweep alone, and so a run that goes on deals as it would have.
    """

    seed: int
    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """Of sweep number `sweep`, from 0."""
        dealt = torch.randperm(M, generator=stream(self.seed, f"meet/{sweep}")).tolist()
        return Graph(tuple(zip(dealt[0 : M - 1 : 2], dealt[1:M:2], strict=True))).encounters(M, sweep)


Meetings = Together | Graph | RandomPairs
