"""q(z | x) of an agent with several modalities, from what each of them says: an expert for each.

    product    q(z | x) proportional to  N(z; 0, I) prod_m q(z | x_m)     Wu and Goodman 2018, MVAE, arXiv 1802.05335
    mixture    q(z | x) = sum_m q(z | x_m) / |P|                          Shi et al. 2019, MMVAE, arXiv 1911.03393

m runs over P, the modalities that the object has. A missing one is no factor of the product and no part of the
mixture.

The prior expert of the product is N(0, I) in every round, also where the prior of z is that of a sign: what an agent
perceives must not depend on what it calls it. Given N(0, I) as prior, and experts proportional to p(x_m | z), the
product is the posterior. What is learned from is the ELBO of the modalities that are there; single ones and subsets
get no ELBO of their own, as they do in Wu and Goodman's training.

A fusion is made for a guide (`mhng.models.guides`), whose `law` and `moved` say what an expert is. `law` makes the
Pyro
distribution, `mean` its mean, `drawn` a draw from a generator. To add one, write those three and a line in the
registry of `models`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from mhng.models.guides import Diagonal, Full
from mhng.models.mixtures.gaussians import lower_factor


class Experts(NamedTuple):
    """What E modalities say of B objects, float64; what a missing one says is finite and means nothing."""

    loc: Tensor  # (B, E, L)
    spread: Tensor  # (B, E, ...), the guide's
    present: Tensor  # (B, E) bool, at least one of each object


class ProductOfExperts:
    """A Gaussian again: precisions add up, the prior's I among them, and means are weighted by them.

    Raises:
        ValueError: the guide's experts are not known to be Gaussian.
    """

    def __init__(self, guide: Any) -> None:
        if not (isinstance(guide, type) and issubclass(guide, Diagonal | Full)):
            raise ValueError("the product is known of Gaussian experts alone, of the guides diagonal and full")
        self.guide = guide

    def combine(self, experts: Experts) -> tuple[Tensor, Tensor]:
        """The product's loc (B, L) and spread, as the guide has it."""
        loc, spread, present = experts
        if issubclass(self.guide, Diagonal):
            precisions = present.unsqueeze(-1) * spread**-2
            precision = 1 + precisions.sum(1)
            return (precisions * loc).sum(1) / precision, precision**-0.5
        L = loc.shape[-1]
        eye = torch.eye(L, dtype=loc.dtype, device=loc.device)
        whiten = torch.linalg.solve_triangular(spread, eye.expand_as(spread), upper=False)
        precisions = present[..., None, None] * (whiten.mT @ whiten)
        # The lower factor of the inverse, as in `gaussians.covariance_factor`; NaN, which learning reports, where
        # that would raise.
        flipped = lower_factor((eye + precisions.sum(1)).flip(-2, -1))
        factor = torch.linalg.solve_triangular(flipped.mT, eye.expand_as(flipped), upper=True).flip(-2, -1)
        pull = (precisions @ loc.unsqueeze(-1)).sum(1)
        return (factor @ (factor.mT @ pull)).squeeze(-1), factor

    def distribution(self, experts: Experts) -> Any:
        """The distribution of z, (B,) of (L,)."""
        return self.guide.distribution(*self.combine(experts))

    def mean(self, experts: Experts) -> Tensor:
        """(B, L)."""
        return self.combine(experts)[0]

    def sample(self, generator: torch.Generator, experts: Experts) -> Tensor:
        """A draw for each object, (B, L)."""
        loc, spread = self.combine(experts)
        noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        found: Tensor = self.guide.reparameterize(loc, spread, noise)
        return found


class MixtureOfExperts:
    """One expert of those present, each as likely; any guide will do.

    What is learned from is the ELBO of this q itself, E_q[log p(x_P, z)] - E_q[log q(z | x)], with the density of the
    whole mixture in it, not that of the expert that was drawn: its maximum is at experts that agree with the posterior
    together. It is estimated by one z for each object, of an expert chosen at random. The chance of each does not
    depend on any parameter, so the gradient through z is unbiased. Shi et al. draw from every expert and average, and
    take several draws of each for a tighter bound (IWAE); this is the same bound as theirs for one draw, at a
    variance that is larger and a cost that is smaller.
    """

    def __init__(self, guide: Any) -> None:
        self.guide = guide

    def distribution(self, experts: Experts) -> UniformMixture:
        """The distribution of z, (B,) of (L,)."""
        return UniformMixture(self.guide.distribution(experts.loc, experts.spread), experts.present)

    def mean(self, experts: Experts) -> Tensor:
        """(B, L); where experts contradict each other it lies between them, where none would look."""
        weights = experts.present / experts.present.sum(1, keepdim=True)
        return (weights.unsqueeze(-1) * experts.loc).sum(1)

    def sample(self, generator: torch.Generator, experts: Experts) -> Tensor:
        """A draw for each object, (B, L)."""
        loc, spread, present = experts
        ids = torch.arange(len(loc), device=loc.device)
        one = torch.multinomial(present.double(), 1, generator=generator).squeeze(1)
        noise = torch.randn(loc[:, 0].shape, generator=generator, dtype=loc.dtype, device=loc.device)
        found: Tensor = self.guide.reparameterize(loc[ids, one], spread[ids, one], noise)
        return found


class UniformMixture(TorchDistribution):
    """The mixture, with equal weights, of those of E distributions that are present.

    Args:
        experts: batch (..., E), events of one dimension.
        present: (..., E) bool, at least one of each.

    Reparameterised: which of them is drawn depends on no parameter.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch reads it from the class
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, experts: Any, present: Tensor, validate_args: bool | None = None) -> None:
        self.experts = experts
        self.present = present
        super().__init__(present.shape[:-1], experts.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> UniformMixture:
        """The same for a larger batch."""
        shape = torch.Size([*batch_shape, self.present.shape[-1]])
        return UniformMixture(self.experts.expand(shape), self.present.expand(shape), validate_args=False)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - an empty shape cannot change
        """A draw of every expert, of which one is taken: (*sample_shape, *batch, L)."""
        every = self.experts.rsample(sample_shape)
        odds = self.present.expand(every.shape[:-1])
        one = torch.multinomial(odds.reshape(-1, odds.shape[-1]).double(), 1).reshape(*odds.shape[:-1], 1, 1)
        found: Tensor = every.gather(-2, one.expand(*one.shape[:-1], every.shape[-1])).squeeze(-2)
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """Of the mixture, whichever expert the value came from: (..., L) -> (...)."""
        own = self.experts.log_prob(value.unsqueeze(-2))
        found: Tensor = own.masked_fill(~self.present, -torch.inf).logsumexp(-1) - self.present.sum(-1).log()
        return found
