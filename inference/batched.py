"""Batches of independent encounters and redraws.

Encounters without a common agent do not affect each other, and every agent has its own generator, so they may be
played in any order or at once. `layers` finds such encounters; `split_layer` finds the pairs that can be stacked.
After each layer the listeners redraw; `redraw` makes one computation for players with equal `batch_key`. On a CPU the
results are those of single calls, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import Tensor

from mhng.inference.proposals import Rule
from mhng.inference.topology import Encounter
from mhng.inference.types import Belief, Player, State, Stream

# Objects times chains per agent up to which a batch is faster than single calls, by device type. Beyond it, a batch
# only takes more memory.
_BATCH_LIMIT = {"cpu": 1000, "cuda": 100_000}


def batch_groups(players: Sequence[Player]) -> list[int]:
    """For each player, the number of the first player with an equal `batch_key`; its own number without a key."""
    keys = [getattr(player, "batch_key", None) for player in players]
    return [m if key is None else keys.index(key) for m, key in enumerate(keys)]


def layers(encounters: Iterable[Encounter]) -> list[list[Encounter]]:
    """Group encounters into layers of disjoint agents. The order of each agent's encounters is kept."""
    result: list[list[Encounter]] = []
    depth: dict[int, int] = {}  # by agent: layers up to its last encounter
    for encounter in encounters:
        place = max(depth.get(m, 0) for m in encounter)
        if place == len(result):
            result.append([])
        result[place].append(encounter)
        depth.update(dict.fromkeys(encounter, place + 1))
    return result


def split_layer(
    layer: Sequence[Encounter], rules: Sequence[Rule], state: State
) -> tuple[list[tuple[Rule, list[Encounter]]], list[Encounter]]:
    """Split a layer into batches of pairs whose listeners have one rule, and single encounters."""
    batches: dict[int, tuple[Rule, list[Encounter]]] = {}
    singles = []
    for encounter in layer:
        stackable = all(state.beliefs[m].stackable for m in encounter)
        if len(encounter) == 2 and _is_small(state.signs) and stackable:
            rule = rules[encounter[-1]]
            batches.setdefault(id(rule), (rule, []))[1].append(encounter)
        else:
            singles.append(encounter)
    singles += [pairs[0] for _, pairs in batches.values() if len(pairs) == 1]
    return [(rule, pairs) for rule, pairs in batches.values() if len(pairs) > 1], singles


def redraw(
    players: Sequence[Player],
    generators: Sequence[Stream],
    signs: Tensor,
    K: int,
    beliefs: Sequence[Belief],
    agents: Iterable[int],
    groups: Sequence[int] | None,
) -> list[Belief]:
    """The beliefs of all agents, after a redraw of some `agents` given signs (C, M, N).

    groups: as `batch_groups` returns it; None for single calls.
    """
    result = list(beliefs)
    batches: dict[int, list[int]] = {}
    single = groups is None or not _is_small(signs)
    for m in agents:
        batches.setdefault(m if single or groups is None else groups[m], []).append(m)
    for batch in batches.values():
        if len(batch) > 1:
            drawn: Sequence[Belief] = cast(Any, type(players[batch[0]])).redraw_batch(
                [players[m] for m in batch], [generators[m] for m in batch], [signs[:, m] for m in batch], K
            )
        else:
            (m,) = batch
            drawn = [players[m].redraw(generators[m], signs[:, m], K, result[m])]
        for m, belief in zip(batch, drawn, strict=True):
            result[m] = belief
    return result


def _is_small(signs: Tensor) -> bool:
    return signs[:, 0].numel() <= _BATCH_LIMIT.get(signs.device.type, 0)
