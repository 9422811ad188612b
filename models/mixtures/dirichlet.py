"""Mixture `dirichlet` for counts: Dirichlet-multinomial components (Inter-DM).

    theta_k ~ Dirichlet(alpha, ..., alpha)
    z | w=k ~ Multinomial(total of z, theta_k)

The latent is the observed count vector itself (words, visual words, histograms), with the identity likelihood. Totals
are given and carry no information about signs. Hagiwara et al. 2019; Murphy 2012, section 3.4.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from mhng.models.distributions import SIMULATED_TOTAL, Counts, SparseDirichlet
from mhng.models.mixtures.base import Conjugate, Features, SufficientStatistics
from mhng.models.rng import log_dirichlet


class Proportions(NamedTuple):
    """Parameters of K multinomial components."""

    log_theta: Tensor  # (..., K, L)

    @property
    def mu(self) -> Tensor:
        """theta (..., K, L), the expected relative frequencies."""
        return self.log_theta.exp()


class DirichletPosterior(NamedTuple):
    """Dirichlet hyperparameters given the objects of a sign."""

    number: Tensor  # (...,) number of objects
    alpha: Tensor  # (..., L)
    coefficient: Tensor  # (...,) sum of the log multinomial coefficients


class DirichletMultinomial(Conjugate, batched=True):
    """Conjugate mixture of multinomials.

    Args:
        latent: L, the number of count categories.
        alpha: Dirichlet concentration, > 0, a number or (L,).
        device: device of the latents.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """

    Parameters = Proportions
    input_support = "counts"

    def __init__(self, latent: int, alpha: float | Tensor = 1.0, device: torch.device | str = "cpu") -> None:
        if latent < 1:
            raise ValueError(f"the latent dimension is {latent}; expected 1 or more")
        self.latent = latent
        self.alpha = torch.as_tensor(alpha, dtype=torch.float64, device=device).expand(latent)
        if not bool(((self.alpha > 0) & self.alpha.isfinite()).all()):
            raise ValueError(f"alpha is {alpha}; expected positive numbers")
        self.least = float(self.alpha.min())

    @property
    def feature_dim(self) -> int:
        """F = 2 + L."""
        return 2 + self.latent

    def features(self, z: Tensor) -> Features:
        """The features [1, log multinomial coefficient, counts] of counts z (N, L)."""
        coefficient = torch.lgamma(z.sum(1, keepdim=True) + 1) - torch.lgamma(z + 1).sum(1, keepdim=True)
        return Features(torch.cat([torch.ones_like(coefficient), coefficient, z], dim=1), torch.zeros_like(z[0]))

    def log_prob_table(self, features: Features, phi: Proportions) -> Tensor:
        """log Multinomial(z_n; theta_k): (..., N, K)."""
        ones = torch.ones_like(phi.log_theta[..., :1])
        return features.linear(torch.cat([torch.zeros_like(ones), ones, phi.log_theta], dim=-1))

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """Sufficient statistics of zero objects."""
        return SufficientStatistics(self.alpha.new_zeros(*shape, self.feature_dim), torch.zeros_like(self.alpha))

    def posterior(self, statistics: SufficientStatistics) -> DirichletPosterior:
        """Dirichlet(alpha + counts)."""
        number, coefficient, counts = statistics.values.split([1, 1, self.latent], dim=-1)
        return DirichletPosterior(number.squeeze(-1), self.alpha + counts, coefficient.squeeze(-1))

    def evidence(self, posterior: DirichletPosterior) -> Tensor:
        """Log evidence of the counts of one sign, theta integrated out: (...,)."""
        return posterior.coefficient + _log_beta(posterior.alpha) - _log_beta(self.alpha)

    def draw(self, generator: torch.Generator, posterior: DirichletPosterior) -> Proportions:
        """Draw theta ~ Dirichlet(alpha_n)."""
        return Proportions(log_dirichlet(generator, posterior.alpha, self.least))

    def posterior_mean(self, posterior: DirichletPosterior) -> Proportions:
        """E[theta]."""
        return Proportions(posterior.alpha.log() - posterior.alpha.sum(-1, keepdim=True).log())

    def log_density(self, phi: Proportions) -> Tensor:
        """log p(theta) under the prior, summed over signs: (...,)."""
        return (((self.alpha - 1) * phi.log_theta).sum(-1) - _log_beta(self.alpha)).sum(-1)

    def sites(self, K: int, device: torch.device) -> Proportions:
        """Site "theta" in a plate "components"."""
        with pyro.plate("components", K, device=device):
            return Proportions(pyro.sample("theta", SparseDirichlet(self.alpha)).log())

    def component_distribution(self, phi: Proportions, signs: Tensor) -> Any:
        """Multinomial given the object's total; a simulated object has `SIMULATED_TOTAL` counts."""
        return Counts(SIMULATED_TOTAL, logits=phi.log_theta[signs])

    def standard_normal_prior(self, device: torch.device) -> Proportions:
        """One component with equal frequencies."""
        return Proportions(torch.full((1, self.latent), -math.log(self.latent), dtype=torch.float64, device=device))

    def to_mean_scale(self, z: Tensor) -> Tensor:
        """Relative frequencies of counts z (N, L)."""
        return z / z.sum(-1, keepdim=True).clamp_min(1)

    def sample_percepts(
        self, generator: torch.Generator, phi: Proportions, signs: Tensor, temperature: float
    ) -> Tensor:
        """Relative frequencies of `SIMULATED_TOTAL` sampled counts at temperature 1, theta_w at 0."""
        theta = phi.mu[signs]
        drawn = torch.multinomial(theta, SIMULATED_TOTAL, replacement=True, generator=generator)
        counts = torch.zeros_like(theta).scatter_add_(1, drawn, torch.ones_like(drawn, dtype=theta.dtype))
        return theta + temperature * (counts / SIMULATED_TOTAL - theta)

    def covariance(self, phi: Proportions) -> Tensor:
        """Covariance of the one-hot vector of a single count: (..., K, L, L)."""
        theta = phi.mu
        return theta.diag_embed() - theta.unsqueeze(-1) * theta.unsqueeze(-2)

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shape of log_theta."""
        return ((K, self.latent),)


def _log_beta(alpha: Tensor) -> Tensor:
    return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1))
