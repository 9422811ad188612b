"""Priors of pi, the probabilities of the K signs.

    uniform           pi_k = 1 / K, known
    dirichlet:ALPHA   pi ~ Dirichlet(ALPHA, ..., ALPHA)
    sticks:ALPHA      pi_k = v_k prod_{j<k} (1 - v_j),  v_k ~ Beta(1, ALPHA),  v_K = 1: stick-breaking with K - 1
                      breaks (Sethuraman 1994; truncation and redraw as in Ishwaran and James 2001)

With `sticks`, K is the maximum number of signs. The weights of unused signs are small, and mergers that raise the
evidence remove signs (`mhng.inference.initialization`). So the agents infer the number of signs. The evidence of signs
depends on their numbers, because early sticks are longer. Mergers compare partitions instead, by the evidence of
infinitely many sticks, which ignores the numbers (Ewens 1972).

Given the signs, pi depends on the number of objects of every sign only. Shapes: C chains, K signs, N objects.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.distributions import SparseDirichlet
from mhng.models.registry import WEIGHTS
from mhng.models.rng import log_dirichlet, log_gamma

# Lower bound for pi and for the rest of a stick; log pi must be finite.
_TINY = torch.finfo(torch.float64).tiny


class SignPrior(Protocol):
    """Interface of a prior of pi."""

    @property
    def sparse(self) -> bool:
        """Whether unused signs are free, so that fewer than K may be used."""

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """Draw log pi (C, K) given the number of objects of every sign, counts (C, K)."""

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(pi): (..., K) -> (...,)."""

    def log_evidence(self, counts: Tensor) -> Tensor:
        """log p(signs) with pi integrated out: counts (..., K) -> (...,)."""

    def merge_evidence(self, counts: Tensor) -> Tensor:
        """log p by which mergers are compared; independent of the order of the signs: counts (..., K) -> (...,)."""

    def site(self, K: int, like: Tensor) -> Tensor:
        """Sample log pi (K,) at Pyro sample sites."""


@dataclass(frozen=True)
class Dirichlet:
    """pi ~ Dirichlet(alpha, ..., alpha)."""

    alpha: float
    sparse: bool = False

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """Draw log pi from Dirichlet(alpha + counts)."""
        return log_dirichlet(generator, self.alpha + counts.double(), self.alpha)

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(pi): (..., K) -> (...,)."""
        K, alpha = log_pi.shape[-1], self.alpha
        return (alpha - 1) * log_pi.sum(-1) + math.lgamma(K * alpha) - K * math.lgamma(alpha)

    def log_evidence(self, counts: Tensor) -> Tensor:
        """log p of the sequence of signs with pi integrated out: counts (..., K) -> (...,)."""
        K, counts = counts.shape[-1], counts.double()
        terms = torch.lgamma(self.alpha + counts) - math.lgamma(self.alpha)
        return terms.sum(-1) + math.lgamma(K * self.alpha) - torch.lgamma(K * self.alpha + counts.sum(-1))

    merge_evidence = log_evidence

    def site(self, K: int, like: Tensor) -> Tensor:
        """Site "pi"."""
        pi: Tensor = pyro.sample("pi", SparseDirichlet(like.new_full((K,), self.alpha)))
        return pi.log()


@dataclass(frozen=True)
class Sticks:
    """Stick-breaking prior of pi. On average a break leaves alpha / (1 + alpha) of the stick."""

    alpha: float
    sparse: bool = True

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """Draw v_k ~ Beta(1 + n_k, alpha + number of objects of later signs), and convert to log pi."""
        counts = counts.double()
        later = counts.sum(-1, keepdim=True) - counts.cumsum(-1)
        # A Beta draw is the share of one Gamma draw in the sum of two.
        piece = log_gamma(generator, 1 + counts, 1)
        rest = log_gamma(generator, self.alpha + later, self.alpha)
        both = torch.logaddexp(piece, rest)
        return _stick_breaking(piece - both, rest - both)

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(v_1, ..., v_(K-1)): (..., K) -> (...,)."""
        # The rest of the stick after k breaks, summed from the end, where the terms are small.
        left = log_pi.flip(-1).logcumsumexp(-1).flip(-1)
        rest = (left[..., 1:] - left[..., :-1]).sum(-1)  # sum of log(1 - v_k)
        return (log_pi.shape[-1] - 1) * math.log(self.alpha) + (self.alpha - 1) * rest

    def log_evidence(self, counts: Tensor) -> Tensor:
        """log p of the sequence of signs with v_1, ..., v_(K-1) integrated out: counts (..., K) -> (...,).

        The sum over k < K of log E[v_k^n_k (1 - v_k)^m_k], m_k the number of objects of signs after k.
        """
        counts = counts.double()
        n, left = counts[..., :-1], counts.flip(-1).cumsum(-1).flip(-1)  # left: objects of signs from k on
        terms = torch.lgamma(1 + n) + torch.lgamma(self.alpha + left[..., 1:])
        return (math.log(self.alpha) + terms - torch.lgamma(1 + self.alpha + left[..., :-1])).sum(-1)

    def merge_evidence(self, counts: Tensor) -> Tensor:
        """log p of the partition into signs under infinitely many sticks (Ewens 1972): counts (..., K) -> (...,)."""
        counts = counts.double()
        used = counts > 0
        terms = torch.where(used, math.log(self.alpha) + torch.lgamma(counts.clamp_min(1)), 0.0).sum(-1)
        return terms + math.lgamma(self.alpha) - torch.lgamma(self.alpha + counts.sum(-1))

    def site(self, K: int, like: Tensor) -> Tensor:
        """Site "v" (K - 1,), converted to log pi."""
        if K == 1:
            return like.new_zeros(1)
        v: Any = pyro.sample("v", dist.Beta(like.new_ones(K - 1), like.new_full((K - 1,), self.alpha)).to_event(1))
        end = v.new_zeros(1)
        return _stick_breaking(
            torch.cat([v.clamp_min(_TINY).log(), end]), torch.cat([(1 - v).clamp_min(_TINY).log(), end])
        )


def _stick_breaking(log_v: Tensor, log_rest: Tensor) -> Tensor:
    """log pi from log v and log(1 - v), both (..., K); the last sign gets the rest of the stick."""
    before = torch.cat([torch.zeros_like(log_rest[..., :1]), log_rest[..., :-1].cumsum(-1)], dim=-1)
    return torch.cat([log_v[..., :-1], torch.zeros_like(log_v[..., :1])], dim=-1) + before


def parse_sign_prior(name: str) -> SignPrior | None:
    """Parse a prior of pi such as "dirichlet:0.5"; None for "uniform". Raises ValueError for other text."""
    kind, _, text = name.partition(":")
    if name == "uniform":
        return None
    if kind in ("dirichlet", "sticks") and re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", text):
        alpha = float(text)
        if 1e-6 <= alpha <= 1e6:
            return Dirichlet(alpha) if kind == "dirichlet" else Sticks(alpha)
    raise ValueError(f"is {name!r}; expected one of {', '.join(WEIGHTS)} (ALPHA from 1e-6 to 1e6)")
