"""Counts instead of points: a Dirichlet mixture of multinomials (Inter-DM: Hagiwara et al. 2019; Murphy 2012, sec.
3.4).

    theta_k ~ Dirichlet(alpha, ..., alpha)
    z | w=k ~ Multinomial(total of z, theta_k)

For words, visual words, histograms: the percept is the observed vector of counts itself, with the identity likelihood.
The totals say nothing of signs and are given.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.distributions import SIMULATED_TOTAL, Counts
from mhng.models.mixtures.base import Conjugate, Features, SufficientStatistics, products
from mhng.models.rng import Streams, log_dirichlet


class Proportions(NamedTuple):
    """The parameters of K signs."""

    log_theta: Tensor  # (..., K, L)

    @property
    def mu(self) -> Tensor:
        """theta, (..., K, L): where the signs lie among relative frequencies."""
        return self.log_theta.exp()


class DirichletPosterior(NamedTuple):
    """Hyperparameters given some percepts."""

    number: Tensor  # (...,) how many
    alpha: Tensor  # (..., L)
    coefficient: Tensor  # (...,) sum of their log multinomial coefficients


class DirichletMultinomial(Conjugate):
    """The family.

    Args:
        latent: L, how many kinds of things are counted.
        alpha: what the prior counts of each kind in advance, > 0, a number or (L,).
        device: where the percepts will be.

    Raises:
        ValueError: a hyperparameter is out of its range; the message names it.
    """

    Parameters = Proportions
    needs_counts = True

    def __init__(self, latent: int, alpha: float | Tensor = 1.0, device: torch.device | str = "cpu") -> None:
        if latent < 1:
            raise ValueError(f"the latent dimension must be 1 or more; it is {latent}")
        self.latent = latent
        self.alpha = torch.as_tensor(alpha, dtype=torch.float64, device=device).expand(latent)
        if not bool(((self.alpha > 0) & self.alpha.isfinite()).all()):
            raise ValueError(f"alpha must be positive; it is {alpha}")

    @property
    def feature_dim(self) -> int:
        """2 + L."""
        return 2 + self.latent

    def features(self, z: Tensor) -> Features:
        """[1, log multinomial coefficient, counts]."""
        coefficient = torch.lgamma(z.sum(1, keepdim=True) + 1) - torch.lgamma(z + 1).sum(1, keepdim=True)
        return Features(torch.cat([torch.ones_like(coefficient), coefficient, z], dim=1), torch.zeros_like(z[0]))

    def log_prob_table(self, features: Features, phi: Proportions) -> Tensor:
        """log Multinomial(z_n; theta_k): (..., N, K)."""
        ones = torch.ones_like(phi.log_theta[..., :1])
        return products(features, torch.cat([torch.zeros_like(ones), ones, phi.log_theta], dim=-1))

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """The sums of no object at all."""
        return SufficientStatistics(self.alpha.new_zeros(*shape, self.feature_dim), torch.zeros_like(self.alpha))

    def posterior(self, sums: SufficientStatistics) -> DirichletPosterior:
        """alpha + counts."""
        number, coefficient, counts = sums.values.split([1, 1, self.latent], dim=-1)
        return DirichletPosterior(number.squeeze(-1), self.alpha + counts, coefficient.squeeze(-1))

    def evidence(self, posterior: DirichletPosterior) -> Tensor:
        """log p(the percepts of one sign), theta integrated out: (...,)."""
        return posterior.coefficient + _log_beta(posterior.alpha) - _log_beta(self.alpha)

    def draw(self, generator: Streams, posterior: DirichletPosterior) -> Proportions:
        """theta ~ Dirichlet(alpha_n)."""
        return Proportions(log_dirichlet(generator, posterior.alpha))

    def posterior_mean(self, posterior: DirichletPosterior) -> Proportions:
        """E[theta]."""
        return Proportions(posterior.alpha.log() - posterior.alpha.sum(-1, keepdim=True).log())

    def log_density(self, phi: Proportions) -> Tensor:
        """log p(theta) under the prior, summed over signs: (...,)."""
        return (((self.alpha - 1) * phi.log_theta).sum(-1) - _log_beta(self.alpha)).sum(-1)

    def sites(self, K: int, device: torch.device) -> Proportions:
        """Site "theta" in a plate "components"."""
        with pyro.plate("components", K, device=device):
            return Proportions(pyro.sample("theta", dist.Dirichlet(self.alpha)).log())

    def component_distribution(self, phi: Proportions, signs: Tensor) -> Any:
        """Multinomial of the object's own total; simulated ones have a hundred counts."""
        return Counts(SIMULATED_TOTAL, logits=phi.log_theta[signs])

    def standard_normal_prior(self, device: torch.device) -> Proportions:
        """All kinds alike."""
        return Proportions(torch.full((1, self.latent), -math.log(self.latent), dtype=torch.float64, device=device))

    def to_mean_scale(self, z: Tensor) -> Tensor:
        """Relative frequencies."""
        return z / z.sum(-1, keepdim=True).clamp_min(1)

    def sample_percepts(
        self, generator: torch.Generator, phi: Proportions, signs: Tensor, temperature: float
    ) -> Tensor:
        """Relative frequencies: theta_w, and at temperature 1 those of a hundred counts."""
        theta = phi.mu[signs]
        drawn = torch.multinomial(theta, SIMULATED_TOTAL, replacement=True, generator=generator)
        counts = torch.zeros_like(theta).scatter_add_(1, drawn, torch.ones_like(drawn, dtype=theta.dtype))
        return theta + temperature * (counts / SIMULATED_TOTAL - theta)

    def covariance(self, phi: Proportions) -> Tensor:
        """Of the relative frequencies of one count."""
        theta = phi.mu
        return theta.diag_embed() - theta.unsqueeze(-1) * theta.unsqueeze(-2)

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Of log_theta."""
        return ((K, self.latent),)


def _log_beta(alpha: Tensor) -> Tensor:
    return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1))
