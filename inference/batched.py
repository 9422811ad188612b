"""Agents who do the same at the same time: found once for a game, and computed together where that is faster.

Encounters that share no agent may be played in any order, or at once: nothing of one enters the other, and every agent
draws from its own stream. `layers` finds which. Who listened in a layer redraws then; `redraw` makes one computation
of it for those whose percepts are of one size under one mixture. The numbers are the same to the last bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mhng.inference.proposals import Rule
from mhng.inference.remote import Stream, Table
from mhng.inference.topology import Encounter
from mhng.inference.types import Belief, Player, State
from mhng.models.mixtures.base import Conjugate
from mhng.models.percepts import Percepts

# Objects times chains of an agent, up to which many at once are faster than one by one: where starting a computation
# takes longer than the computation. Beyond it they would only take more memory.
_FEW = {"cpu": 1000, "cuda": 100_000}


def kinds(players: Sequence[Player]) -> list[int]:
    """Of each player the number of the first who can redraw together with it: its own, if nobody can."""
    found: list[int] = []
    for m, player in enumerate(players):
        others = sorted(set(found)) if _joins(player) else []
        found.append(next((k for k in others if _alike(players[k], player)), m))
    return found


def _joins(player: Player) -> bool:
    # Not what is made of Percepts, nor what others made of our mixtures: it may redraw otherwise, and one at a time.
    if type(player) is not Percepts or not isinstance(player.mixture, Conjugate):
        return False
    return player.mixture.exact_evidence and type(player.mixture).__module__.startswith("mhng.models.mixtures.")


def _alike(one: Player, other: Player) -> bool:
    return isinstance(one, Percepts) and isinstance(other, Percepts) and one.is_like(other)


def layers(encounters: Iterable[Encounter]) -> list[list[Encounter]]:
    """Encounters in rows, within which no agent is met twice; of each agent's encounters the order is kept."""
    found: list[list[Encounter]] = []
    reached: dict[int, int] = {}  # by agent: layers up to its last encounter
    for encounter in encounters:
        place = max(reached.get(m, 0) for m in encounter)
        if place == len(found):
            found.append([])
        found[place].append(encounter)
        reached.update(dict.fromkeys(encounter, place + 1))
    return found


def pairs(
    layer: Sequence[Encounter], rules: Sequence[Rule], state: State
) -> tuple[list[tuple[Rule, list[Encounter]]], list[Encounter]]:
    """Encounters of a layer that can be one computation, by the listeners' rule, and those that are played singly."""
    together: dict[Any, tuple[Rule, list[Encounter]]] = {}
    singly = []
    for encounter in layer:
        tables = [state.beliefs[m].table for m in encounter]
        if len(encounter) == 2 and _few(state.signs) and all(_is_usual(table) for table in tables):
            rule = rules[encounter[-1]]
            together.setdefault(id(rule), (rule, []))[1].append(encounter)
        else:
            singly.append(encounter)
    singly += [row[0] for _, row in together.values() if len(row) == 1]
    return [(rule, row) for rule, row in together.values() if len(row) > 1], singly


def _is_usual(table: Table) -> bool:
    """An agent's here, of numbers as all agents of this program have them."""
    return isinstance(table, Tensor) and table.dtype == torch.float64


def _few(signs: Tensor) -> bool:
    return signs[:, 0].numel() <= _FEW.get(signs.device.type, 0)


def redraw(
    players: Sequence[Player],
    generators: Sequence[Stream],
    signs: Tensor,
    K: int,
    beliefs: Sequence[Belief],
    who: Iterable[int],
    kind: Sequence[int] | None,
) -> list[Belief]:
    """The beliefs of all, where those of `who` are drawn anew given signs (C, M, N). kind: as `kinds`, or None."""
    found = list(beliefs)
    together: dict[int, list[int]] = {}
    few = _few(signs)
    for m in who:
        together.setdefault(m if kind is None or not few else kind[m], []).append(m)
    for members in together.values():
        if len(members) > 1:
            each = [one for one in (players[m] for m in members) if isinstance(one, Percepts)]
            drawn: Sequence[Belief] = Percepts.redraw_all(
                each, [generators[m] for m in members], [signs[:, m] for m in members], K
            )
        else:
            (m,) = members
            drawn = [players[m].redraw(generators[m], signs[:, m], K, found[m].parameters)]
        for m, belief in zip(members, drawn, strict=True):
            found[m] = belief
    return found
