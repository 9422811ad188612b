"""Mixture `student-t`: heavy-tailed components, so that outliers have little influence on a sign.

    Lambda_k, mu_k ~ Normal-Wishart
    u_n            ~ Gamma(nu_t / 2, rate nu_t / 2)
    z_n | w_n=k    ~ Normal(mu_k, (u_n Lambda_k)^-1)

With u_n integrated out, z_n is Student-t with nu_t degrees of freedom (Bishop 2006, section 2.3.7; Peel and McLachlan
2000). `redraw` is a Gibbs step: u given the latents, signs and previous components, then the components given u. Both
are draws from conditionals, so p(phi, u | z, w) is invariant.

The evidence has no closed form. `log_evidence` is a variational lower bound with q(u) q(mu, Lambda), where
q(mu, Lambda) is optimal given q(u) (Svensen and Bishop 2005). The bound is about half a nat low for each sign that has
objects. It can rank signs, but it must not enter an acceptance ratio.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Features, ParameterDraw, SufficientStatistics, one_hot
from mhng.models.mixtures.gaussians import (
    LOG_2PI,
    Components,
    ComponentsWithPrecision,
    direct_log_prob,
    gaussian_log_prob,
    half_log_det,
)
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.rng import gamma

# Coordinate-ascent iterations over q(u) and q(mu, Lambda). The bound is valid after any number.
_ITERATIONS = 4


class StudentT(NormalWishart):
    """Mixture of multivariate Student-t components.

    Args:
        latent: L.
        freedom: nu_t, degrees of freedom, > 0. Small values give heavy tails, large values a Gaussian.
        m0, beta, nu, W, device: as in `WishartPrior`.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """

    exact_evidence = False

    def __init__(
        self,
        latent: int,
        freedom: float = 5.0,
        m0: float | Tensor = 0.0,
        beta: float = 1.0,
        nu: float | None = None,
        W: float | Tensor = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(latent, m0, beta, nu, W, device)
        if not (freedom > 0 and math.isfinite(freedom)):
            raise ValueError(f"freedom, the degrees of freedom of the tails, is {freedom}; expected a positive number")
        self.freedom = float(freedom)

    # -- for the game ----------------------------------------------------------------------------------

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log t(z_n; mu_k, Lambda_k, nu_t): (..., N, K)."""
        return self._from_gaussian(gaussian_log_prob(features, phi), phi)

    def log_prob(self, z: Tensor, phi: Components) -> Tensor:
        """log t(z_n; mu_k, Lambda_k, nu_t), object by object: z (B, L) -> (..., B, K)."""
        return self._from_gaussian(direct_log_prob(z, phi), phi)

    def _from_gaussian(self, table: Tensor, phi: Components) -> Tensor:
        """The table of Student-t log densities, from that of the Gaussian ones."""
        L, freedom = self.latent, self.freedom
        constant = math.lgamma((freedom + L) / 2) - math.lgamma(freedom / 2) - L / 2 * math.log(freedom * math.pi)
        tail = (freedom + L) / 2 * torch.log1p(_distances(table, phi) / freedom)
        return constant - half_log_det(phi.scale_tril).unsqueeze(-2) - tail

    def redraw(
        self, generator: torch.Generator, features: Features, signs: Tensor, K: int, previous: Any
    ) -> ParameterDraw:
        """Gibbs step: draw u given the previous components, then the components given u.

        Without previous components u is its expectation under the variational bound.
        """
        expected, evidence = self._bound(features, signs, K)
        if previous is None:
            u = expected
        else:
            a, b = self._u_posterior(features, previous, signs)
            u = gamma(generator, torch.full_like(b, a)) / b
        posterior = self.posterior(_weighted(features, signs, K, u))
        return ParameterDraw(self.draw(generator, posterior), evidence)

    def sufficient_statistics(self, features: Features, signs: Tensor, K: int) -> SufficientStatistics:
        """Statistics weighted by E[u_n], so `merge_gain` holds q(u) fixed."""
        return _weighted(features, signs, K, self._bound(features, signs, K)[0])

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """Lower bound of log p(z | signs): signs (C, N) -> (C,)."""
        return self._bound(features, signs, K)[1]

    def _bound(self, features: Features, signs: Tensor, K: int) -> tuple[Tensor, Tensor]:
        """E_q[u] (C, N), and the lower bound of the log evidence (C,)."""
        L, prior = self.latent, self.freedom / 2
        posterior = self.posterior(super().sufficient_statistics(features, signs, K))
        for _ in range(_ITERATIONS):
            a, b = self._u_posterior(features, self.posterior_mean(posterior), signs, L / posterior.beta)
            u = a / b
            posterior = self.posterior(_weighted(features, signs, K, u))
        digamma = float(torch.digamma(torch.tensor(a, dtype=torch.float64)))
        divergence = (
            (a - prior) * digamma
            - math.lgamma(a)
            + math.lgamma(prior)
            + prior * (b.log() - math.log(prior))
            + prior * u
            - a
        )
        terms = L / 2 * (digamma - b.log()) - divergence
        return u, self.evidence(posterior).sum(-1) + terms.sum(-1)

    def _u_posterior(
        self, features: Features, phi: Components, signs: Tensor, spread: Tensor | None = None
    ) -> tuple[float, Tensor]:
        """Shape, and rate (C, N), of the Gamma posterior of u; `spread` (C, K) is added to the squared distances."""
        distance = _distances(gaussian_log_prob(features, phi), phi)
        if spread is not None:
            distance = distance + spread.unsqueeze(-2)
        distance = distance.gather(-1, signs.unsqueeze(-1)).squeeze(-1)
        return (self.freedom + self.latent) / 2, (self.freedom + distance) / 2

    # -- for the Pyro model and the pictures -----------------------------------------------------------

    def component_distribution(self, phi: Components | ComponentsWithPrecision, signs: Tensor) -> Any:
        """Student-t with u integrated out. The KL from q(z | x) is estimated by sampling."""
        return dist.MultivariateStudentT(
            phi.mu.new_tensor(self.freedom), phi.mu[signs], scale_tril=phi.scale_tril[signs]
        )

    def sample_percepts(
        self, generator: torch.Generator, phi: Components, signs: Tensor, temperature: float
    ) -> Tensor:
        """mu_w + T scale_tril_w e / sqrt(u), e ~ N(0, I), u ~ Gamma(nu_t / 2, nu_t / 2)."""
        mean = phi.mu[signs]
        step = super().sample_percepts(generator, phi, signs, temperature) - mean
        half = torch.full_like(mean[:, :1], self.freedom / 2)
        u = gamma(generator, half) / half
        return mean + step / u.clamp_min(torch.finfo(u.dtype).tiny).sqrt()

    def covariance(self, phi: Components) -> Tensor:
        """Covariance (..., K, L, L), infinite for two or fewer degrees of freedom."""
        factor = self.freedom / (self.freedom - 2) if self.freedom > 2 else math.inf
        return factor * super().covariance(phi)


def _weighted(features: Features, signs: Tensor, K: int, u: Tensor) -> SufficientStatistics:
    """Statistics of every sign with object weights u (C, N)."""
    members = one_hot(signs, K, features.values.dtype)
    number = members.sum(-2)
    return SufficientStatistics((members * u.unsqueeze(-1)).mT @ features.values, features.centre, number)


def _distances(table: Tensor, phi: Components) -> Tensor:
    """Squared Mahalanobis distances, recovered from the Gaussian log densities `table`: (..., N, K)."""
    L = phi.mu.shape[-1]
    return (-2 * (table + half_log_det(phi.scale_tril).unsqueeze(-2)) - L * LOG_2PI).clamp_min(0)
