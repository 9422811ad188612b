"""Who meets whom in a sweep of the game, and in which order.

An encounter is a row of agents: all but the last make a proposal, as in `mhng.inference.recursive`, and the last one
listens. Agents meet either all together, each listening once to all the others, or in pairs along the edges of a
graph, each edge once in both directions. Of two agents both are A speaks to B, then B to A.

Encounters follow one another, and whoever listened learns from it before the next; or, where they are `synchronous`,
all speak out of what they believed before the sweep, and learn once, when it is over.

Who meets whom may change: `Stages` are graphs that follow one another, as where a newcomer joins or a bridge opens.
Agents whom no path joins when a game begins have no beginning in common either (`groups`), and an agent that meets
nobody names objects by itself, as in mode no-com (`lonely`).

Pairs know nothing of the others' percepts but what their words have taken up of them: no chain of a graph with
more than two agents has the joint posterior of all as its law. Its language spreads from neighbour to neighbour.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from mhng.models.rng import stream

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


@dataclass(frozen=True)
class Stages:
    """Meetings that change: from sweep `stages[i][0]` on, the first 0, those of `stages[i][1]`."""

    stages: tuple[tuple[int, Together | Graph | RandomPairs], ...]
    synchronous: bool = False

    def at(self, sweep: int) -> Together | Graph | RandomPairs:
        """The meetings of that sweep."""
        return next(meetings for begins, meetings in reversed(self.stages) if begins <= sweep)

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """Of sweep number `sweep`, from 0."""
        return self.at(sweep).encounters(M, sweep)


Meetings = Together | Graph | RandomPairs | Stages


def of_sweep(meetings: Meetings, sweep: int) -> Together | Graph | RandomPairs:
    """Those of one sweep."""
    return meetings.at(sweep) if isinstance(meetings, Stages) else meetings


def lonely(meetings: Meetings, M: int, sweep: int) -> list[int]:
    """Agents that no edge of the graph of that sweep reaches."""
    now = of_sweep(meetings, sweep)
    if not isinstance(now, Graph):
        return []
    met = {m for edge in now.edges for m in edge}
    return [m for m in range(M) if m not in met]


def newcomers(meetings: Meetings, M: int, sweep: int) -> list[int]:
    """Agents that meet somebody in that sweep for the first time, of those that are lonely when a game begins."""
    if not sweep:
        return []
    before = list(_sweeps_to_look_at(meetings, sweep))
    return [
        m
        for m in lonely(meetings, M, 0)
        if _meets(meetings, M, sweep, m) and not any(_meets(meetings, M, earlier, m) for earlier in before)
    ]


def _meets(meetings: Meetings, M: int, sweep: int, m: int) -> bool:
    return any(m in encounter for encounter in meetings.encounters(M, sweep))


def _sweeps_to_look_at(meetings: Meetings, end: int) -> Iterator[int]:
    """Sweeps before `end` in which others may meet than in the one before: of a graph the first alone."""
    stages = meetings.stages if isinstance(meetings, Stages) else ((0, meetings),)
    ends = [*(begins for begins, _ in stages[1:]), end]
    for (begins, now), after in zip(stages, ends, strict=True):
        last = min(after, end)
        yield from range(begins, last if isinstance(now, RandomPairs) else min(begins + 1, last))


def groups(meetings: Meetings, M: int) -> list[list[int]]:
    """Agents that a path joins in the first sweep, in their order; the group of the first agent first."""
    now = of_sweep(meetings, 0)
    if not isinstance(now, Graph):
        return [list(range(M))]
    group = list(range(M))  # of each agent, by its first member
    for a, b in now.edges:
        low, high = sorted((group[a], group[b]))
        group = [low if own == high else own for own in group]
    return [[m for m in range(M) if group[m] == first] for first in sorted(set(group))]


def among(meetings: Meetings, members: Sequence[int]) -> Meetings:
    """The meetings of the first sweep that members have with each other, who are numbered from 0: those of one of its
    `groups`, or of an agent alone, who has none.
    """
    now = of_sweep(meetings, 0)
    if not isinstance(now, Graph):
        return now
    place = {m: number for number, m in enumerate(members)}
    inside = tuple((place[a], place[b]) for a, b in now.edges if a in place and b in place)
    return Graph(inside, now.synchronous)
