"""Initial sentences: words merged and split in a slot, while that raises the evidence; and players of single slots.

A chain of turns seldom leaves a vocabulary in which a word has two meanings and two words share one. A move merges two
words of a slot and splits a third one (or the merged one) into the free word; all agents then play a few sweeps. The
move is kept if the log evidence, summed over agents, is higher than before. Agents exchange the number of the slot,
the three words, one side for each object, and evidences.

`slot_players` makes each slot a game of single signs (`--start slots`): latents that are independent of those of other
slots, and a covariance for each word. The first agent sends its clusters of each slot, so that the other agents find
which of their subspaces belongs to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mhng.inference.game import init, play
from mhng.inference.spec import Game
from mhng.inference.types import Player, StartPlayer, Stream

# Sweeps after a move, before the evidences are compared.
_SETTLE = 3


class SlotPlayer(StartPlayer, Protocol):
    """A player of one slot, whose signs are words."""

    def explained(self, signs: Tensor) -> float:
        """The share of the variance of its latents that signs (N,) explain."""


class WordPlayer(Player, Protocol):
    """A player that can find and split words (`mhng.models.percepts.Percepts`)."""

    def slots(self, generator: Any) -> Sequence[SlotPlayer] | None:
        """A player for each slot, in any order; None if its latents have no independent subspaces."""

    def word_sides(self, signs: Tensor, group: Tensor) -> Tensor:
        """(C, N) bool: a split of the objects of `group` (C, N) by what their sentences (C, N) leave unexplained."""


def refine_words(
    game: Game, players: Sequence[WordPlayer], generators: Sequence[Stream], signs: Tensor, moves: int
) -> Tensor:
    """Apply `moves` moves to sentences (C, M, N) of all agents, and keep those that raise the evidence."""
    signs, evidence = _settled(game, players, generators, signs)
    for number in range(moves):
        proposer = number % len(players)
        candidate = _move(game, players[proposer], generators[0], signs, proposer)
        candidate, raised = _settled(game, players, generators, candidate)
        better = raised > evidence
        signs = torch.where(better[:, None, None], candidate, signs)
        evidence = torch.where(better, raised, evidence)
    return signs


def slot_players(
    players: Sequence[WordPlayer], generators: Sequence[Stream], count: int
) -> list[list[StartPlayer]] | None:
    """The players of each slot, in the same order for all agents; None if an agent has no subspaces.

    count: clusters of the first agent in each slot.
    """
    from scipy.optimize import linear_sum_assignment

    slots = [player.slots(generator) for player, generator in zip(players, generators, strict=True)]
    first = slots[0]
    if first is None:
        return None
    clusters = [slot.clusters(generators[0], 1, count)[0] for slot in first]
    ordered: list[list[StartPlayer]] = [[slot] for slot in first]
    for others in slots[1:]:
        if others is None:
            return None
        shares = np.array([[other.explained(words) for other in others] for words in clusters])
        for slot, number in zip(ordered, linear_sum_assignment(-shares)[1], strict=True):
            slot.append(others[number])
    return ordered


def _move(game: Game, player: WordPlayer, generator: Stream, signs: Tensor, proposer: int) -> Tensor:
    """Merge two random words of a random slot, and split a random word into the free one."""
    language = game.sentences
    assert language is not None
    V, C, device = language.vocabulary, len(signs), signs.device
    slot = int(torch.randint(language.words, (), generator=generator, device=device))
    order = torch.rand(C, V, generator=generator, device=device).argsort(1)
    free, kept = order[:, 0, None, None], order[:, 1, None, None]
    split = order.gather(1, 1 + torch.randint(V - 1, (C, 1), generator=generator, device=device)).unsqueeze(-1)
    word = language.word(signs, slot)
    word = torch.where(word == free, kept, word)
    signs = language.replace(signs, slot, word)
    sides = player.word_sides(signs[:, proposer], word[:, proposer] == split.squeeze(1)).unsqueeze(1)
    return language.replace(signs, slot, torch.where((word == split) & sides, free, word))


def _settled(
    game: Game, players: Sequence[WordPlayer], generators: Sequence[Stream], signs: Tensor
) -> tuple[Tensor, Tensor]:
    """The sentences after a short game, and the log evidence (C,) of its last sweep."""
    state = init(players, generators, signs, game.K, game.mode)
    state, trace = play(game, players, generators, state, _SETTLE, keep_means=False)
    return state.signs, trace.evidence[:, -1]
