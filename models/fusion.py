"""Fusion of the modalities into q(z | x): product of experts and mixture of experts.

    product    q(z | x) proportional to  N(z; 0, I) prod_m q(z | x_m)     Wu and Goodman 2018, MVAE, arXiv 1802.05335
    mixture    q(z | x) = sum_m q(z | x_m) / |P|                          Shi et al. 2019, MMVAE, arXiv 1911.03393

m runs over P, the modalities that the object has. A missing modality is left out of the product and the mixture.

The prior expert of the product is N(0, I) in every round, also when the prior of z is the component of a sign. So the
latents of an object do not depend on its sign. With the prior N(0, I) and experts proportional to p(x_m | z), the
product is the exact posterior. The training loss is the ELBO of the modalities present. It has no further ELBO terms
for single modalities or subsets, unlike the training of Wu and Goodman.

A fusion is constructed with a guide (`mhng.models.guides`), whose `distribution` and `reparameterize` define an
expert. To add a fusion, implement `distribution`, `mean` and `sample`, and add a line to `mhng.models.registry`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from mhng.models.guides import Diagonal, Full
from mhng.models.mixtures.gaussians import lower_factor


class Experts(NamedTuple):
    """q(z | x_m) of E modalities and B objects, float64. Entries of missing modalities are finite placeholders."""

    loc: Tensor  # (B, E, L)
    spread: Tensor  # (B, E, ...) as the guide defines it
    present: Tensor  # (B, E) bool, at least one True per object


class ProductOfExperts:
    """Product of Gaussian experts, a Gaussian: precisions add up, and means are weighted by precision.

    Raises:
        ValueError: the guide is not Gaussian (`Diagonal` or `Full`).
    """

    def __init__(self, guide: Any) -> None:
        if not (isinstance(guide, type) and issubclass(guide, Diagonal | Full)):
            raise ValueError("a product of experts requires a Gaussian guide: diagonal or full")
        self.guide = guide

    def combine(self, experts: Experts) -> tuple[Tensor, Tensor]:
        """loc (B, L) and spread of the product, in the form of the guide."""
        loc, spread, present = experts
        if issubclass(self.guide, Diagonal):
            precisions = present.unsqueeze(-1) * spread**-2
            precision = 1 + precisions.sum(1)
            return (precisions * loc).sum(1) / precision, precision**-0.5
        L = loc.shape[-1]
        eye = torch.eye(L, dtype=loc.dtype, device=loc.device)
        whiten = torch.linalg.solve_triangular(spread, eye.expand_as(spread), upper=False)
        precisions = present[..., None, None] * (whiten.mT @ whiten)
        # Lower factor of the inverse, as in `gaussians.covariance_factor`, but NaN instead of an exception;
        # `mhng.inference.svi` reports NaN.
        flipped = lower_factor((eye + precisions.sum(1)).flip(-2, -1))
        factor = torch.linalg.solve_triangular(flipped.mT, eye.expand_as(flipped), upper=True).flip(-2, -1)
        pull = (precisions @ loc.unsqueeze(-1)).sum(1)
        return (factor @ (factor.mT @ pull)).squeeze(-1), factor

    def distribution(self, experts: Experts) -> Any:
        """q(z | x), batch shape (B,), event shape (L,)."""
        return self.guide.distribution(*self.combine(experts))

    def mean(self, experts: Experts) -> Tensor:
        """Mean of q(z | x), (B, L)."""
        return self.combine(experts)[0]

    def sample(self, generator: torch.Generator, experts: Experts) -> Tensor:
        """Draw one z for each object, (B, L)."""
        loc, spread = self.combine(experts)
        noise = torch.randn(loc.shape, generator=generator, dtype=loc.dtype, device=loc.device)
        z: Tensor = self.guide.reparameterize(loc, spread, noise)
        return z


class MixtureOfExperts:
    """Mixture of the experts present, with equal weights; any guide.

    The training loss is the ELBO of this q, E_q[log p(x_P, z)] - E_q[log q(z | x)], with the density of the whole
    mixture. It is estimated by one z per object from a randomly chosen expert. The choice depends on no parameter, so
    the gradient through z is unbiased. Shi et al. average over all experts and take several draws for a tighter
    bound (IWAE). With one draw both bounds are equal; this estimator has a higher variance and a lower cost.
    """

    def __init__(self, guide: Any) -> None:
        self.guide = guide

    def distribution(self, experts: Experts) -> UniformMixture:
        """q(z | x), batch shape (B,), event shape (L,)."""
        return UniformMixture(self.guide.distribution(experts.loc, experts.spread), experts.present)

    def mean(self, experts: Experts) -> Tensor:
        """Mean of the mixture, (B, L). It lies between experts that disagree, where the density may be low."""
        weights = experts.present / experts.present.sum(1, keepdim=True)
        return (weights.unsqueeze(-1) * experts.loc).sum(1)

    def sample(self, generator: torch.Generator, experts: Experts) -> Tensor:
        """Draw one z for each object, (B, L)."""
        loc, spread, present = experts
        ids = torch.arange(len(loc), device=loc.device)
        chosen = torch.multinomial(present.double(), 1, generator=generator).squeeze(1)
        noise = torch.randn(loc[:, 0].shape, generator=generator, dtype=loc.dtype, device=loc.device)
        z: Tensor = self.guide.reparameterize(loc[ids, chosen], spread[ids, chosen], noise)
        return z


class UniformMixture(TorchDistribution):
    """Mixture, with equal weights, of those of E distributions that are present.

    Args:
        experts: Pyro distribution with batch shape (..., E) and one event dimension.
        present: (..., E) bool, at least one True in the last dimension.

    Reparameterised: the choice of the expert depends on no parameter.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch reads it from the class
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, experts: Any, present: Tensor, validate_args: bool | None = None) -> None:
        self.experts = experts
        self.present = present
        super().__init__(present.shape[:-1], experts.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> UniformMixture:
        """Expand the batch shape."""
        shape = torch.Size([*batch_shape, self.present.shape[-1]])
        return UniformMixture(self.experts.expand(shape), self.present.expand(shape), validate_args=False)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 - an empty shape cannot change
        """Sample all experts and pick one: (*sample_shape, *batch, L)."""
        every = self.experts.rsample(sample_shape)
        odds = self.present.expand(every.shape[:-1])
        index = torch.multinomial(odds.reshape(-1, odds.shape[-1]).double(), 1).reshape(*odds.shape[:-1], 1, 1)
        z: Tensor = every.gather(-2, index.expand(*index.shape[:-1], every.shape[-1])).squeeze(-2)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the mixture: (..., L) -> (...)."""
        log_probs = self.experts.log_prob(value.unsqueeze(-2))
        total: Tensor = log_probs.masked_fill(~self.present, -torch.inf).logsumexp(-1) - self.present.sum(-1).log()
        return total
