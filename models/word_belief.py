"""The belief of an agent about sentences whose words add up.

    log p(z_n | w, phi) = -|y_n - sum_s u_s[w_s]|^2 / 2 + constant

y_n is the latent and u_s[v] the contribution of word v in slot s, both times the inverse factor of the covariance. So
the V variants of a sentence in one slot need V products for each object, and no table of all sentences.

Shapes: C chains, N objects, S slots, V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mhng.models.belief import Offer, Response, Rule, answer, proposal_logits
from mhng.models.languages import Sentences
from mhng.models.rng import categorical

# Rounds of coordinate ascent: each lets every word be the best one given the others.
_ROUNDS = 20


@dataclass(frozen=True, eq=False)
class WordBelief:
    """The belief about sentences after a redraw of phi. It implements `mhng.inference.types.Belief`."""

    sentences: Sentences
    whitened: Tensor  # (C, N, L) y
    parts: Tensor  # (C, S, V, L) u
    constant: Tensor  # (C,) log density at distance 0
    parameters: Any  # phi
    log_density: Tensor  # (C,) log p(phi)
    evidence: Tensor  # (C,) log p(z | sentences), phi integrated out

    stackable = False

    def word_table(self, signs: Tensor, slot: int) -> Tensor:
        """log p(z_n | w, phi) of sentences (C, N) with every word in a slot: (C, N, V)."""
        rest = self.whitened - self._sum(signs, without=slot)
        return self._slot_table(rest, slot) - (rest.square().sum(-1) / 2 - self.constant.unsqueeze(-1)).unsqueeze(-1)

    def pointwise(self, signs: Tensor) -> Tensor:
        """log p(z_n | w_n, phi) of every object: signs (C, N) -> (C, N)."""
        return self.constant.unsqueeze(-1) - (self.whitened - self._sum(signs)).square().sum(-1) / 2

    def log_likelihood(self, signs: Tensor) -> Tensor:
        """log p(z | signs, phi), summed over objects: signs (C, N) -> (C,)."""
        return self.pointwise(signs).sum(-1)

    @cached_property
    def table(self) -> Tensor:
        """(C, N, K) log p(z_n | w, phi) of all sentences. Raises ValueError above `languages.MOST_TABLE` sentences."""
        if not self.sentences.fits_table:
            raise ValueError(f"{self.sentences.count} sentences are too many for a table; pass --turns word")
        S, V = self.sentences.words, self.sentences.vocabulary
        u = self.parts[:, 0]
        for slot in range(1, S):
            u = (u.unsqueeze(2) + self.parts[:, slot].unsqueeze(1)).flatten(1, 2)
        squares = self.whitened.square().sum(-1).unsqueeze(-1) + u.square().sum(-1).unsqueeze(-2)
        table: Tensor = self.whitened @ u.mT - squares / 2 + self.constant[:, None, None]
        assert table.shape[-1] == V**S
        return table

    def propose(self, generator: Any, log_prior: Tensor) -> Tensor:
        """Draw a sentence for every object from p(w) p(z | w, phi): (C, N)."""
        return categorical(generator, proposal_logits(log_prior, self.table))

    def respond(self, generator: Any, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        """Accept sentences `proposed` (C, N) by the acceptance rule, or keep `current` (C, N)."""
        ratio = self.pointwise(proposed) - self.pointwise(current)
        return answer(generator, Offer(ratio, lambda: self.table, proposed, current), rule)

    def best(self, log_prior: Tensor) -> Tensor:
        """The most probable sentence of every object, (C, N); by `climb` where a table is too large."""
        if self.sentences.fits_table:
            return proposal_logits(log_prior, self.table).argmax(-1)
        return climb(self.sentences, [self])

    def prefix_table(self, slot: int, words: Tensor) -> Tensor:
        """The table of a slot; slots before it have words (C, N, slot), those after it their mean contribution."""
        mean = self.parts.mean(2)  # (C, S, L)
        rest = self.whitened - mean[:, slot + 1 :].sum(1).unsqueeze(1)
        for before in range(slot):
            rest = rest - self._part(before, words[..., before])
        return self._slot_table(rest, slot)

    def _slot_table(self, rest: Tensor, slot: int) -> Tensor:
        u = self.parts[:, slot]
        table: Tensor = rest @ u.mT - u.square().sum(-1).unsqueeze(-2) / 2
        return table

    def _part(self, slot: int, word: Tensor) -> Tensor:
        """u of words (C, N) in a slot: (C, N, L)."""
        u = self.parts[:, slot]
        return u.gather(1, word.unsqueeze(-1).expand(-1, -1, u.shape[-1]))

    def _sum(self, signs: Tensor, without: int | None = None) -> Tensor:
        slots = [slot for slot in range(self.sentences.words) if slot != without]
        total = self.whitened.new_zeros(())
        for slot in slots:
            total = total + self._part(slot, self.sentences.word(signs, slot))
        return total


def climb(
    sentences: Sentences, beliefs: Sequence[WordBelief], signs: Tensor | None = None, rounds: int = _ROUNDS
) -> Tensor:
    """The sentences (C, N) that are most probable to all agents together, by coordinate ascent with a uniform prior.

    From `signs`, or slot after slot, while the slots to come have their mean contribution. Then each word in turn
    becomes the best one given the others. The result is a maximum with respect to every single word.
    """
    if signs is None:
        words: list[Tensor] = []
        for slot in range(sentences.words):
            before = torch.stack(words, dim=-1) if words else torch.empty(0)
            words.append(torch.stack([belief.prefix_table(slot, before) for belief in beliefs]).sum(0).argmax(-1))
        signs = sentences.join(torch.stack(words, dim=-1))
    for _ in range(rounds):
        before = signs
        for slot in range(sentences.words):
            table = torch.stack([belief.word_table(signs, slot) for belief in beliefs]).sum(0)
            signs = sentences.replace(signs, slot, table.argmax(-1))
        if torch.equal(signs, before):
            break
    return signs


def most_probable(sentences: Sentences, beliefs: Sequence[Any], log_prior: Tensor) -> Tensor:
    """The sentences (N,) that are most probable to all agents together, in chain 0.

    log_prior: (K,); uniform where `climb` replaces a table.
    """
    if not sentences.fits_table:
        return climb(sentences, beliefs)[0]
    return (torch.stack([belief.table[0] for belief in beliefs]).sum(0) + log_prior).argmax(-1)
