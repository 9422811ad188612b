"""pi: how often each sign is used, as the agents learn it from what they say.

    uniform           pi_k = 1 / K, known
    dirichlet:ALPHA   pi ~ Dirichlet(ALPHA, ..., ALPHA)
    sticks:ALPHA      pi_k = v_k prod_{j<k} (1 - v_j),  v_k ~ Beta(1, ALPHA),  v_K = 1: a stick is broken K - 1 times
                      (Sethuraman 1994; truncated as in Ishwaran and James 2001, from whom the redraw is)

With `sticks` K is no more than the largest number of signs there may be: the weights of signs that nobody needs are
small, and mergers that raise the evidence take them away (`mhng.inference.initialization`), so that the agents find
how many they
need.

Given signs, pi depends on how many objects each has, and on nothing else. Shapes: C chains, K signs, N objects.
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

from mhng.models.registry import WEIGHTS
from mhng.models.rng import gamma, log_dirichlet

# Weights and what is left of a stick never become 0: log pi must be a number.
_TINY = torch.finfo(torch.float64).tiny


class Weights(Protocol):
    """A prior of pi."""

    @property
    def sparse(self) -> bool:
        """Whether signs without objects cost nothing, so that there may be fewer than K."""

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """log pi (C, K) given how many objects each sign has, counts (C, K)."""

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(pi): (..., K) -> (...,)."""

    def log_evidence(self, counts: Tensor) -> Tensor:
        """log p(signs), pi integrated out: counts (..., K) -> (...,)."""

    def site(self, K: int, like: Tensor) -> Tensor:
        """log pi (K,) as sites of the Pyro model that is being run."""


@dataclass(frozen=True)
class Dirichlet:
    """pi ~ Dirichlet(alpha, ..., alpha)."""

    alpha: float
    sparse: bool = False

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """Dirichlet(alpha + counts)."""
        return log_dirichlet(generator, self.alpha + counts.double())

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(pi): (..., K) -> (...,)."""
        K, alpha = log_pi.shape[-1], self.alpha
        return (alpha - 1) * log_pi.sum(-1) + math.lgamma(K * alpha) - K * math.lgamma(alpha)

    def log_evidence(self, counts: Tensor) -> Tensor:
        """Of the sequence of signs, each with its name: counts (..., K) -> (...,)."""
        K, counts = counts.shape[-1], counts.double()
        each = torch.lgamma(self.alpha + counts) - math.lgamma(self.alpha)
        return each.sum(-1) + math.lgamma(K * self.alpha) - torch.lgamma(K * self.alpha + counts.sum(-1))

    def site(self, K: int, like: Tensor) -> Tensor:
        """Site "pi"."""
        pi: Tensor = pyro.sample("pi", dist.Dirichlet(like.new_full((K,), self.alpha)))
        return pi.clamp_min(_TINY).log()


@dataclass(frozen=True)
class Sticks:
    """pi by breaking a stick; alpha is how much of the rest remains, on average alpha / (1 + alpha) of it."""

    alpha: float
    sparse: bool = True

    def redraw(self, generator: torch.Generator, counts: Tensor) -> Tensor:
        """v_k ~ Beta(1 + n_k, alpha + objects of later signs)."""
        counts = counts.double()
        later = counts.sum(-1, keepdim=True) - counts.cumsum(-1)
        # A Beta draw as the share of one Gamma draw in two.
        mine = gamma(generator, 1 + counts).clamp_min(_TINY).log()
        rest = gamma(generator, self.alpha + later).clamp_min(_TINY).log()
        both = torch.logaddexp(mine, rest)
        return _broken(mine - both, rest - both)

    def log_density(self, log_pi: Tensor) -> Tensor:
        """log p(v_1, ..., v_(K-1)): (..., K) -> (...,)."""
        # What is left after k pieces, from the end, where differences of small numbers are exact.
        left = log_pi.flip(-1).logcumsumexp(-1).flip(-1)
        rest = (left[..., 1:] - left[..., :-1]).sum(-1)  # sum of log(1 - v_k)
        return (log_pi.shape[-1] - 1) * math.log(self.alpha) + (self.alpha - 1) * rest

    def log_evidence(self, counts: Tensor) -> Tensor:
        """Of the partition that the signs make, whatever they are called and with sticks without end (Ewens 1972)."""
        counts = counts.double()
        used = counts > 0
        each = torch.where(used, math.log(self.alpha) + torch.lgamma(counts.clamp_min(1)), 0.0).sum(-1)
        return each + math.lgamma(self.alpha) - torch.lgamma(self.alpha + counts.sum(-1))

    def site(self, K: int, like: Tensor) -> Tensor:
        """Site "v" of K - 1 pieces."""
        if K == 1:
            return like.new_zeros(1)
        v: Any = pyro.sample("v", dist.Beta(like.new_ones(K - 1), like.new_full((K - 1,), self.alpha)).to_event(1))
        end = v.new_zeros(1)
        return _broken(torch.cat([v.clamp_min(_TINY).log(), end]), torch.cat([(1 - v).clamp_min(_TINY).log(), end]))


def _broken(log_v: Tensor, log_rest: Tensor) -> Tensor:
    """log pi from log v and log(1 - v), (..., K) each; of the last sign all that is left."""
    before = torch.cat([torch.zeros_like(log_rest[..., :1]), log_rest[..., :-1].cumsum(-1)], dim=-1)
    return torch.cat([log_v[..., :-1], torch.zeros_like(log_v[..., :1])], dim=-1) + before


def parse_sign_prior(name: str) -> Weights | None:
    """The prior called `name`, such as "dirichlet:0.5"; None for uniform weights. ValueError says what it must be."""
    kind, _, text = name.partition(":")
    if name == "uniform":
        return None
    if kind in ("dirichlet", "sticks") and re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", text):
        alpha = float(text)
        if 1e-6 <= alpha <= 1e6:
            return Dirichlet(alpha) if kind == "dirichlet" else Sticks(alpha)
    raise ValueError(f"must be one of {', '.join(WEIGHTS)} (ALPHA from 1e-6 to 1e6); it is {name!r}")
