"""Components with heavy tails: Student-t by a scale mixture, so that a few strange percepts do not move a sign.

    Lambda_k, mu_k ~ Normal-Wishart
    u_n            ~ Gamma(nu_t / 2, rate nu_t / 2)
    z_n | w_n=k    ~ Normal(mu_k, (u_n Lambda_k)^-1), which is Student-t with nu_t degrees of freedom, u_n integrated
    out

(Bishop 2006, section 2.3.7; Peel and McLachlan 2000.) Redraw: u given percepts, signs and the agent's last components,
then components given u. Both are draws from conditionals, so p(phi, u | z, w) stays as it is.

The evidence has no closed form. In its place stands a variational lower bound, q(u) q(mu, Lambda), with q(mu, Lambda)
the best for its q(u) (Svensen and Bishop 2005 for the whole mixture), about half a nat below for each sign that has
objects: good to compare signs by, but no acceptance ratio may rest on it.
"""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Drawn, Features, SufficientStatistics, one_hot
from mhng.models.mixtures.gaussians import (
    LOG_2PI,
    Components,
    ComponentsWithPrecision,
    gaussian_log_prob,
    half_log_det,
)
from mhng.models.mixtures.normal_wishart import NormalWishart
from mhng.models.rng import Streams, gamma

# Turns of q(u) and q(mu, Lambda): the bound holds after any number of them.
_TURNS = 4


class StudentT(NormalWishart):
    """The family.

    Args:
        latent: L.
        freedom: nu_t, > 0. Few degrees of freedom are heavy tails; many are a Gaussian.
        m0, beta, nu, W, device: as in `WishartPrior`.

    Raises:
        ValueError: a hyperparameter is out of its range; the message names it.
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
            raise ValueError(f"freedom, the degrees of freedom of the tails, must be positive; it is {freedom}")
        self.freedom = float(freedom)

    # -- for the game ----------------------------------------------------------------------------------

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log t(z_n; mu_k, Lambda_k, nu_t): (..., N, K)."""
        L, freedom = self.latent, self.freedom
        constant = math.lgamma((freedom + L) / 2) - math.lgamma(freedom / 2) - L / 2 * math.log(freedom * math.pi)
        distance = _distances(gaussian_log_prob(features, phi), phi)
        tail = (freedom + L) / 2 * torch.log1p(distance / freedom)
        return constant - half_log_det(phi.scale_tril).unsqueeze(-2) - tail

    def redraw(self, generator: Streams, features: Features, signs: Tensor, K: int, before: Any) -> Drawn:
        """u given the components before (at the beginning its expectation), then the components."""
        expected, evidence = self._bound(features, signs, K)
        if before is None:
            u = expected
        else:
            a, b = self._of_u(features, before, signs)
            u = gamma(generator, torch.full_like(b, a)) / b
        posterior = self.posterior(_weighted(features, signs, K, u))
        return Drawn(self.draw(generator, posterior), evidence)

    def sufficient_statistics(self, features: Features, signs: Tensor, K: int) -> SufficientStatistics:
        """Each object counts by the expectation of its u, so mergers are judged with q(u) held fixed."""
        return _weighted(features, signs, K, self._bound(features, signs, K)[0])

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """A lower bound of log p(z | signs): signs (C, N) -> (C,)."""
        return self._bound(features, signs, K)[1]

    def _bound(self, features: Features, signs: Tensor, K: int) -> tuple[Tensor, Tensor]:
        """E[u] (C, N) under q, and the bound (C,)."""
        L, prior = self.latent, self.freedom / 2
        posterior = self.posterior(super().sufficient_statistics(features, signs, K))
        for _ in range(_TURNS):
            a, b = self._of_u(features, self.posterior_mean(posterior), signs, L / posterior.beta)
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
        each = L / 2 * (digamma - b.log()) - divergence
        return u, self.evidence(posterior).sum(-1) + each.sum(-1)

    def _of_u(
        self, features: Features, phi: Components, signs: Tensor, more: Tensor | None = None
    ) -> tuple[float, Tensor]:
        """Shape and rate (C, N) of u's Gamma distribution; `more` (C, K) is added to the distances from each sign."""
        distance = _distances(gaussian_log_prob(features, phi), phi)
        if more is not None:
            distance = distance + more.unsqueeze(-2)
        own = distance.gather(-1, signs.unsqueeze(-1)).squeeze(-1)
        return (self.freedom + self.latent) / 2, (self.freedom + own) / 2

    # -- for the Pyro model and the pictures -----------------------------------------------------------

    def component_distribution(self, phi: Components | ComponentsWithPrecision, signs: Tensor) -> Any:
        """Student-t, u integrated out. Its divergence from q(z | x) is estimated by draws."""
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
        """Infinite for two degrees of freedom and fewer."""
        factor = self.freedom / (self.freedom - 2) if self.freedom > 2 else math.inf
        return factor * super().covariance(phi)


def _weighted(features: Features, signs: Tensor, K: int, u: Tensor) -> SufficientStatistics:
    """Sums over the objects of each sign, each object u_n times: u (C, N)."""
    own = one_hot(signs, K, features.values.dtype)
    number = own.sum(-2)
    return SufficientStatistics((own * u.unsqueeze(-1)).mT @ features.values, features.centre, number)


def _distances(table: Tensor, phi: Components) -> Tensor:
    """(z_n - mu_k)^T Lambda_k (z_n - mu_k) from the log densities of Gaussian components: (..., N, K)."""
    L = phi.mu.shape[-1]
    return (-2 * (table + half_log_det(phi.scale_tril).unsqueeze(-2)) - L * LOG_2PI).clamp_min(0)
