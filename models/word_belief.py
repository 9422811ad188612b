"""The belief of an agent about sentences whose words add up.

    log p(z_n | w, phi) = -|y_n - sum_s u_s[w_s]|^2 / 2 + constant

y_n is the latent and u_s[v] the contribution of word v in slot s, both times the inverse factor of the covariance. So
the products y_n u_s[v] and u_s[v] u_t[v'] give every difference of log densities, without a table of all sentences.

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
from mhng.models.rng import categorical, uniform

# Smallest total weight of an object's sentences that keeps all digits: what underflows is smaller by 100 orders.
_LEAST_WEIGHT = 1e-200

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

    @cached_property
    def _alone(self) -> list[Tensor]:
        """y_n u_s[v] - |u_s[v]|^2 / 2 for every slot: (C, N, V) each."""
        return [self._slot_table(self.whitened, slot) for slot in range(self.sentences.words)]

    @cached_property
    def _together(self) -> list[list[Tensor]]:
        """u_s[v] u_t[v'] for all pairs of slots: (C, V, V) each."""
        slots = range(self.sentences.words)
        return [[self.parts[:, s] @ self.parts[:, t].mT for t in slots] for s in slots]

    def word_table(self, signs: Tensor, slot: int) -> Tensor:
        """log p(z_n | w, phi) of sentences (C, N) with every word in a slot, up to a constant of n: (C, N, V)."""
        table = self._alone[slot]
        for other in range(self.sentences.words):
            if other != slot:
                table = table - rows(self._together[other][slot], self.sentences.word(signs, other))
        return table

    def scores(self, signs: Tensor) -> Tensor:
        """log p(z_n | w_n, phi) of sentences (C, N), up to a constant of n: (C, N)."""
        words = [self.sentences.word(signs, slot) for slot in range(self.sentences.words)]
        total, V = torch.zeros_like(self.whitened[..., 0]), self.sentences.vocabulary
        for slot, word in enumerate(words):
            total = total + self._alone[slot].gather(-1, word.unsqueeze(-1)).squeeze(-1)
            for other in range(slot):
                total = total - self._together[other][slot].flatten(1).gather(1, words[other] * V + word)
        return total

    def pointwise(self, signs: Tensor) -> Tensor:
        """log p(z_n | w_n, phi) of every object: signs (C, N) -> (C, N)."""
        return self.constant.unsqueeze(-1) - self.unexplained(signs).square().sum(-1) / 2

    def unexplained(self, signs: Tensor) -> Tensor:
        """Whitened distance of each object from the mean of its sentence: signs (C, N) -> (C, N, L)."""
        rest: Tensor = self.whitened - self._sum(signs)
        return rest

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
        return draw_sentences(generator, [self], log_prior)

    def separate(self) -> tuple[list[Tensor], Tensor]:
        """log p(z_n | w, phi) = sum_s a_s[n, w_s] + b[w] + constant of n: all a_s (C, N, V), and b (C, K).

        b holds the products of words, which no object changes. Words are measured from the mean of their slot.
        """
        mean = self.parts.mean(2)  # (C, S, L)
        d = self.parts - mean.unsqueeze(2)
        change = (self.parts.square() - d.square()).sum(-1) / 2 - (d @ mean.sum(1)[:, None, :, None]).squeeze(-1)
        alone = [table + change[:, slot].unsqueeze(1) for slot, table in enumerate(self._alone)]
        total, products = d[:, 0], d.new_zeros(len(d), self.sentences.vocabulary)
        for slot in range(1, self.sentences.words):
            products = (products.unsqueeze(2) - total @ d[:, slot].mT).flatten(1)
            total = (total.unsqueeze(2) + d[:, slot].unsqueeze(1)).flatten(1, 2)
        return alone, products

    def respond(self, generator: Any, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        """Accept sentences `proposed` (C, N) by the acceptance rule, or keep `current` (C, N)."""
        ratio = self.scores(proposed) - self.scores(current)
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
        return rows(self.parts[:, slot], word)

    def _sum(self, signs: Tensor) -> Tensor:
        """Sums of the parts of sentences (C, N): (C, N, L)."""
        return sum_of([self._part(slot, self.sentences.word(signs, slot)) for slot in range(self.sentences.words)])


def rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each chain: values (C, R, L), index (C, N) -> (C, N, L)."""
    C, R, L = values.shape
    place = index + R * torch.arange(C, device=index.device).unsqueeze(1)
    return values.reshape(C * R, L).index_select(0, place.flatten()).view(C, -1, L)


def draw_sentences(generator: Any, beliefs: Sequence[WordBelief], log_prior: Tensor) -> Tensor:
    """Draw a sentence for every object from p(w) prod_m p(z^m | w, phi^m): log_prior (K,) or (C, 1, K) -> (C, N).

    exp(b) is one matrix of the first words by the last words for all objects (`WordBelief.separate`). So the first
    words, with the last ones summed out, need a matrix product instead of an exponential for every sentence. Then the
    last words are drawn given the first.
    """
    sentences, C = beliefs[0].sentences, len(beliefs[0].whitened)
    S = sentences.words
    if S == 1 or beliefs[0].whitened.device.type != "cpu":
        return categorical(generator, proposal_logits(log_prior, sum_of([belief.table for belief in beliefs])))
    terms = [belief.separate() for belief in beliefs]
    products = sum_of([b for _, b in terms]) + log_prior.view(-1, sentences.count)
    matrix = (products - products.amax(-1, keepdim=True)).exp()
    alone = [sum_of([a[slot] for a, _ in terms]) for slot in range(S)]
    alone = [(a - a.amax(-1, keepdim=True)).exp() for a in alone]
    half = (S + 1) // 2
    last = _outer(alone[half:])
    matrix = matrix.view(C, -1, last.shape[-1])
    head, total = _draw_words(generator, alone[:half], last @ matrix.mT)
    tail, _ = _draw_words(generator, alone[half:], rows(matrix, head))
    signs = head * last.shape[-1] + tail
    # Where the factors underflow or are not numbers, the exact logits decide.
    lost = ~(total > _LEAST_WEIGHT)
    if lost.any():
        chain, n = lost.nonzero(as_tuple=True)
        logits = sum_of([b for _, b in terms])[chain]
        for slot in range(S):
            word = sentences.word(torch.arange(sentences.count), slot)
            logits = logits + sum_of([a[slot][chain, n] for a, _ in terms])[:, word]
        prior = log_prior.view(-1, sentences.count).expand(C, -1)[chain]
        signs[chain, n] = categorical(generator, proposal_logits(prior.unsqueeze(1), logits.unsqueeze(1))).squeeze(1)
    return signs


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """The sum of tensors."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _outer(factors: Sequence[Tensor]) -> Tensor:
    """Products of the entries of factors (C, N, V) of successive slots: (C, N, V^slots)."""
    total = factors[0]
    for factor in factors[1:]:
        total = (total.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
    return total


def _draw_words(generator: Any, factors: Sequence[Tensor], joint: Tensor) -> tuple[Tensor, Tensor]:
    """Draw words with weights joint[w] prod_s factors[s][w_s]: their code (C, N), and the total weight (C, N).

    factors: (C, N, V) for each slot. joint: (C, N, V^slots), which is overwritten. The words of later slots are summed
    out, so that every draw is among V words.
    """
    V = factors[0].shape[-1]
    left = [joint.unflatten(-1, (-1, V)).mul_(factors[-1].unsqueeze(-2))]
    for factor in reversed(factors[:-1]):
        left.append(left[-1].sum(-1).unflatten(-1, (-1, V)).mul_(factor.unsqueeze(-2)))
    code = torch.zeros(joint.shape[:-1], dtype=torch.int64, device=joint.device)
    total = left[-1].sum((-2, -1))
    for weights in reversed(left):
        prefixes = weights.shape[-2]
        place = code.flatten() + prefixes * torch.arange(code.numel(), device=code.device)
        chosen = weights.reshape(-1, V).index_select(0, place).view(*code.shape, V)
        cumulated = chosen.cumsum(-1)
        level = uniform(generator, total) * (1 - torch.finfo(total.dtype).eps) * cumulated[..., -1]
        word = (cumulated <= level.unsqueeze(-1)).sum(-1).clamp_max(V - 1)
        code = code * V + word
    return code, total


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
            words.append(sum_of([belief.prefix_table(slot, before) for belief in beliefs]).argmax(-1))
        signs = sentences.join(torch.stack(words, dim=-1))
    for _ in range(rounds):
        before = signs
        for slot in range(sentences.words):
            table = sum_of([belief.word_table(signs, slot) for belief in beliefs])
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
    return proposal_logits(log_prior, sum_of([belief.table[:1] for belief in beliefs])).argmax(-1)[0]
