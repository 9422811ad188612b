"""Grammar `markov`: a word depends on the word before it.

    pi ~ Dirichlet(alpha),   A_v ~ Dirichlet(alpha) for each word v
    w_1 ~ pi,   w_s ~ A[w_(s-1)]

It is a prior of the K = V^S sentences, as the priors of `mhng.models.sign_prior` are of signs. Given the sentences, pi
and A depend on the counts of first words and of pairs of successive words only. Shapes: C chains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import pyro
import torch
from torch import Tensor

from mhng.models.distributions import SparseDirichlet
from mhng.models.languages import Sentences
from mhng.models.rng import log_dirichlet


@dataclass(frozen=True)
class Markov:
    """First words and transitions, each with a Dirichlet prior. It implements `mhng.models.sign_prior.SignPrior`."""

    sentences: Sentences
    alpha: float = 1.0
    sparse: bool = False

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """Draw pi and A given the number of objects of every sentence, counts (C, K); returns log p(w) (C, K)."""
        return self._sentence_log_prob(log_dirichlet(generator, self.alpha + self._word_counts(counts), self.alpha))

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(pi, A) of log p(w): (..., K) -> (...,)."""
        V = self.sentences.vocabulary
        pairs = log_pi.unflatten(-1, (V, V, -1)).logsumexp(-1)  # the first two words
        first = pairs.logsumexp(-1, keepdim=True)
        rows = torch.cat([first.mT, pairs - first], dim=-2)  # pi, then A: (..., 1 + V, V)
        constant = math.lgamma(V * self.alpha) - V * math.lgamma(self.alpha)
        return ((self.alpha - 1) * rows.sum(-1) + constant).sum(-1)

    def log_evidence(self, counts: Tensor) -> Tensor:
        """log p(sentences) with pi and A integrated out: counts (..., K) -> (...,)."""
        rows, alpha, V = self._word_counts(counts), self.alpha, self.sentences.vocabulary
        terms = (torch.lgamma(alpha + rows) - math.lgamma(alpha)).sum(-1)
        return (terms + math.lgamma(V * alpha) - torch.lgamma(V * alpha + rows.sum(-1))).sum(-1)

    merge_evidence = log_evidence

    def site(self, K: int, like: Tensor) -> Tensor:
        """Site "grammar" (1 + V, V): pi, then the rows of A."""
        V = self.sentences.vocabulary
        rows: Tensor = pyro.sample("grammar", SparseDirichlet(like.new_full((1 + V, V), self.alpha)).to_event(1))
        return self._sentence_log_prob(rows.log())

    def _word_counts(self, counts: Tensor) -> Tensor:
        """Counts of first words and of successive words: (..., K) -> (..., 1 + V, V)."""
        V = self.sentences.vocabulary
        return (counts.double() @ _transitions(self.sentences).to(counts.device)).unflatten(-1, (1 + V, V))

    def _sentence_log_prob(self, rows: Tensor) -> Tensor:
        """log p(w) of all sentences from log pi and log A (..., 1 + V, V): (..., K)."""
        return rows.flatten(-2) @ _transitions(self.sentences).mT.to(rows.device)


@cache
def _transitions(sentences: Sentences) -> Tensor:
    """For each sentence, how often it uses an entry of pi and of A: (K, (1 + V) V)."""
    V = sentences.vocabulary
    words = sentences.split(torch.arange(sentences.count))
    uses = [words[:, 0], *(V * (1 + a) + b for a, b in zip(words.T[:-1], words.T[1:], strict=True))]
    return torch.stack([torch.nn.functional.one_hot(use, (1 + V) * V) for use in uses]).sum(0).double()
