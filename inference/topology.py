"""Topology: which agents meet in a sweep, and in which order.

An encounter is a tuple of agents: the last agent listens, the others make the proposal (`mhng.inference.recursive`).
An encounter of two agents (A, B) is: A speaks, B listens.

    Together     each agent listens once per sweep, to all the others
    Graph        pairs along the edges of a graph, in both directions
    RandomPairs  random pairs, drawn for each sweep
    Stages       one of these after another, at given sweeps

Encounters of a sweep are sequential: a listener redraws before the next encounter. If `synchronous`, all agents speak
with the beliefs from before the sweep and redraw once at its end.

An agent without an edge draws its own signs, as in mode no-com (`isolated_agents`). Components that no path connects
in the first sweep start separately (`connected_components`).

`Together` samples the joint posterior of all agents. Graphs of more than two agents do not: a pair knows its own two
latents only.
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
    """M encounters of all agents: agent m + M - 1 (mod M) listens to agents m, m + 1, ..., for each m."""

    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """The encounters of a sweep of M agents."""
        return [tuple((m + place) % M for place in range(M)) for m in range(M)]


@dataclass(frozen=True)
class Graph:
    """Pairs along `edges`, in their order; for an edge (a, b), a speaks first."""

    edges: tuple[Edge, ...]
    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """The encounters of a sweep; the same ones in every sweep."""
        return [pair for a, b in self.edges for pair in ((a, b), (b, a))]


@dataclass(frozen=True)
class RandomPairs:
    """Random disjoint pairs for each sweep; with an odd number of agents, one agent has no pair.

    The pairs depend on the seed and the number of the sweep only, so a resumed run has the same pairs.
    """

    seed: int
    synchronous: bool = False

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """The encounters of sweep number `sweep`, from 0."""
        order = torch.randperm(M, generator=stream(self.seed, f"meet/{sweep}")).tolist()
        return Graph(tuple(zip(order[0 : M - 1 : 2], order[1:M:2], strict=True))).encounters(M, sweep)


@dataclass(frozen=True)
class Stages:
    """Meetings that change: `stages[i][1]` from sweep `stages[i][0]` on; the first stage starts at sweep 0."""

    stages: tuple[tuple[int, Together | Graph | RandomPairs], ...]
    synchronous: bool = False

    def at(self, sweep: int) -> Together | Graph | RandomPairs:
        """The meetings in a sweep."""
        return next(meetings for start, meetings in reversed(self.stages) if start <= sweep)

    def encounters(self, M: int, sweep: int) -> Sequence[Encounter]:
        """The encounters of sweep number `sweep`, from 0."""
        return self.at(sweep).encounters(M, sweep)


Meetings = Together | Graph | RandomPairs | Stages


def meetings_at(meetings: Meetings, sweep: int) -> Together | Graph | RandomPairs:
    """The meetings in a sweep."""
    return meetings.at(sweep) if isinstance(meetings, Stages) else meetings


def isolated_agents(meetings: Meetings, M: int, sweep: int) -> list[int]:
    """Agents without an edge in a sweep."""
    current = meetings_at(meetings, sweep)
    if not isinstance(current, Graph):
        return []
    connected = {m for edge in current.edges for m in edge}
    return [m for m in range(M) if m not in connected]


def newcomers(meetings: Meetings, M: int, sweep: int) -> list[int]:
    """Agents that are isolated in sweep 0 and have their first encounter in this sweep."""
    if not sweep:
        return []
    earlier = list(_representative_sweeps(meetings, sweep))
    return [
        m
        for m in isolated_agents(meetings, M, 0)
        if _has_encounter(meetings, M, sweep, m) and not any(_has_encounter(meetings, M, t, m) for t in earlier)
    ]


def _has_encounter(meetings: Meetings, M: int, sweep: int, m: int) -> bool:
    return any(m in encounter for encounter in meetings.encounters(M, sweep))


def _representative_sweeps(meetings: Meetings, end: int) -> Iterator[int]:
    """Sweeps before `end` that have all encounters there were: the first sweep of a graph, all of random pairs."""
    stages = meetings.stages if isinstance(meetings, Stages) else ((0, meetings),)
    ends = [*(start for start, _ in stages[1:]), end]
    for (start, current), following in zip(stages, ends, strict=True):
        last = min(following, end)
        yield from range(start, last if isinstance(current, RandomPairs) else min(start + 1, last))


def connected_components(meetings: Meetings, M: int) -> list[list[int]]:
    """The connected components of the first sweep's graph, each sorted; the component of agent 0 first."""
    current = meetings_at(meetings, 0)
    if not isinstance(current, Graph):
        return [list(range(M))]
    label = list(range(M))  # for each agent, the first member of its component
    for a, b in current.edges:
        low, high = sorted((label[a], label[b]))
        label = [low if component == high else component for component in label]
    return [[m for m in range(M) if label[m] == first] for first in sorted(set(label))]


def restrict(meetings: Meetings, members: Sequence[int]) -> Meetings:
    """The meetings of the first sweep among `members`, renumbered from 0."""
    current = meetings_at(meetings, 0)
    if not isinstance(current, Graph):
        return current
    number = {m: place for place, m in enumerate(members)}
    inside = tuple((number[a], number[b]) for a, b in current.edges if a in number and b in number)
    return Graph(inside, current.synchronous)
