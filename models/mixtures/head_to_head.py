"""Mixture `head-to-head`: private categories of an agent, with the sign as a child of the category.

    Lambda_c, mu_c ~ Normal-Wishart                c = 1..J, the agent's categories
    theta_c        ~ Dirichlet(alpha, ..., alpha)  the distribution of the K signs in a category
    c_n            ~ Categorical(1/J, ..., 1/J)
    z_n | c_n      ~ Normal(mu_c, Lambda_c^-1)
    w_n | c_n      ~ Categorical(theta_c)

This is the head-to-head graph of Furukawa, Taniguchi, Hagiwara and Taniguchi 2022, "Symbol emergence as inter-personal
categorization with head-to-head latent word", arXiv 2205.15027, with Gaussian latents. The categories of all agents
point at the sign of an object, which is a product of experts: p(w | z^A, z^B, ...) is proportional to
prod_m sum_c p(c | z^m) theta^m_c(w). An agent can distinguish objects that share a sign. The log-density table of the
game is log p(z, w) with c summed out.

`redraw` is a Gibbs step: c given the latents, signs and previous parameters, then the parameters given c. The evidence
log p(z, signs) has no closed form. `log_evidence` is a variational lower bound with q(c) q(parameters), initialised
from k-means clusters.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.clustering import kmeans
from mhng.models.distributions import SparseDirichlet
from mhng.models.mixtures.base import Family, Features, ParameterDraw, SufficientStatistics, one_hot
from mhng.models.mixtures.gaussians import Components, direct_log_prob, gaussian_log_prob, quadratic_features
from mhng.models.mixtures.normal_wishart import NormalWishart, Posterior
from mhng.models.rng import SMALL_SHAPE, log_dirichlet

# Coordinate-ascent iterations over q(c) and q(parameters). The bound is valid after any number.
_ITERATIONS = 4


class Categories(NamedTuple):
    """Parameters of J categories, and their sign distributions."""

    means: Tensor  # (..., J, L)
    scale_tril: Tensor  # (..., J, L, L) Cholesky factors of the covariances
    log_theta: Tensor  # (..., J, K)

    @property
    def mu(self) -> Tensor:
        """For each sign, the mean of its most probable category: (..., K, L)."""
        best = self.log_theta.argmax(-2)
        return self.means.gather(-2, best.unsqueeze(-1).expand(*best.shape, self.means.shape[-1]))

    @property
    def components(self) -> Components:
        """Gaussian components of the categories."""
        return Components(self.means, self.scale_tril)

    def given_signs(self) -> Tensor:
        """log p(c | w), (..., K, J)."""
        return self.log_theta.mT.log_softmax(-1)


class HeadToHead(Family):
    """Mixture with J categories between latents and signs.

    Args:
        latent: L.
        categories: J, a whole number from 1 to 1,000.
        alpha: Dirichlet concentration of theta, > 0. Below 1, a category prefers a single sign.
        m0, beta, nu, W, device: prior of the categories, as in `WishartPrior`.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """

    Parameters = Categories
    exact_evidence = False

    def __init__(
        self,
        latent: int,
        categories: float = 10,
        alpha: float = 0.5,
        m0: float | Tensor = 0.0,
        beta: float = 1.0,
        nu: float | None = None,
        W: float | Tensor = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.latent = latent
        self.base = NormalWishart(latent, m0, beta, nu, W, device)
        if not (categories == int(categories) and 1 <= categories <= 1000):
            raise ValueError(f"categories is {categories}; expected a whole number from 1 to 1,000")
        if not (alpha > 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha is {alpha}; expected a positive number")
        self.J = int(categories)
        self.alpha = float(alpha)

    # -- for the game ----------------------------------------------------------------------------------

    @property
    def feature_dim(self) -> int:
        """F = 1 + L + L (L + 1) / 2 + J."""
        return self.base.feature_dim + self.J

    def features(self, z: Tensor) -> Features:
        """Gaussian features, then the one-hot k-means cluster of each latent, which initialises the categories."""
        gaussian = quadratic_features(z, self.base.m0)
        clusters = one_hot(kmeans(z, self.J, 0, gaussian.far), self.J, z.dtype)
        return Features(torch.cat([gaussian.values, clusters], dim=1), gaussian.centre, gaussian.far)

    def _parts(self, features: Features) -> tuple[Features, Tensor]:
        """Split features into the Gaussian features and the one-hot clusters (N, J)."""
        values = features.values
        return Features(values[..., : -self.J], features.centre, features.far), values[..., -self.J :]

    def _category_table(self, features: Features, phi: Categories) -> Tensor:
        """log p(z_n, c_n) for all categories: (..., N, J)."""
        return gaussian_log_prob(self._parts(features)[0], phi.components) - math.log(self.J)

    def log_prob_table(self, features: Features, phi: Categories) -> Tensor:
        """log p(z_n, w_n = k) with c summed out: (..., N, K)."""
        return self._sum_categories(self._category_table(features, phi), phi)

    def log_prob(self, z: Tensor, phi: Categories) -> Tensor:
        """log p(z_n, w_n = k) with c summed out, object by object: z (B, L) -> (..., B, K)."""
        return self._sum_categories(direct_log_prob(z, phi.components) - math.log(self.J), phi)

    def _sum_categories(self, joint: Tensor, phi: Categories) -> Tensor:
        """log p(z_n, w_n = k) from log p(z_n, c_n) (..., N, J)."""
        if self.alpha < SMALL_SHAPE:  # theta itself can underflow
            return (joint.unsqueeze(-1) + phi.log_theta.unsqueeze(-3)).logsumexp(-2)
        peak = joint.amax(-1, keepdim=True)
        # A matrix product replaces N x K x J logarithms. Terms that underflow beside the largest are negligible.
        total = (joint - peak).exp() @ phi.log_theta.exp()
        return total.clamp_min(torch.finfo(total.dtype).tiny).log() + peak

    def redraw(
        self, generator: torch.Generator, features: Features, signs: Tensor, K: int, previous: Any
    ) -> ParameterDraw:
        """Gibbs step: draw c given the previous parameters, then the parameters given c.

        Without previous parameters c is the k-means cluster.
        """
        gaussian, clusters = self._parts(features)
        if previous is None:
            members = clusters.expand(*signs.shape, -1)
        else:
            logits = self._category_table(features, previous) + _sign_log_prob(previous.log_theta, signs)
            uniform = torch.rand(*signs.shape, 1, generator=generator, dtype=logits.dtype, device=logits.device)
            c = (logits.softmax(-1).cumsum(-1) < uniform).sum(-1).clamp_max(self.J - 1)
            members = one_hot(c, self.J, logits.dtype)
        posterior = self.base.posterior(SufficientStatistics(members.mT @ gaussian.values, gaussian.centre))
        counts = members.mT @ one_hot(signs, K, members.dtype)
        components = self.base.draw(generator, posterior)
        log_theta = log_dirichlet(generator, self.alpha + counts, self.alpha)
        return ParameterDraw(
            Categories(components.mu, components.scale_tril, log_theta), self.log_evidence(features, signs, K)
        )

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Categories:
        """Draw the parameters from their prior for every chain."""
        components = self.base.from_prior(generator, chains, self.J)
        alpha = torch.full((chains, self.J, K), self.alpha, dtype=torch.float64, device=components.mu.device)
        return Categories(components.mu, components.scale_tril, log_dirichlet(generator, alpha, self.alpha))

    def log_density(self, phi: Categories) -> Tensor:
        """log p(phi) under the prior: (...,)."""
        theta = (self.alpha - 1) * phi.log_theta.sum(-1) - self._log_beta(phi.log_theta.shape[-1])
        return self.base.log_density(phi.components) + theta.sum(-1)

    def _log_beta(self, K: int) -> float:
        return K * math.lgamma(self.alpha) - math.lgamma(K * self.alpha)

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """Lower bound of log p(z, signs): signs (C, N) -> (C,)."""
        q, posterior = self._bound(features, signs, K)
        theta = self._theta_evidence(q.mT @ one_hot(signs, K, q.dtype)).sum(-1)
        entropy = -torch.xlogy(q, q).sum((-2, -1))
        return self.base.evidence(posterior).sum(-1) + theta + entropy - signs.shape[-1] * math.log(self.J)

    def _theta_evidence(self, counts: Tensor) -> Tensor:
        """Log evidence of the signs of a category, theta integrated out: expected counts (..., K) -> (...,)."""
        alpha = self.alpha + counts
        return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1)) - self._log_beta(counts.shape[-1])

    def _bound(self, features: Features, signs: Tensor, K: int) -> tuple[Tensor, Posterior]:
        """q(c) (C, N, J), and the posterior of the components given q(c)."""
        L = self.latent
        gaussian, clusters = self._parts(features)
        q = clusters.expand(*signs.shape, -1)
        for iteration in range(_ITERATIONS + 1):
            posterior = self.base.posterior(SufficientStatistics(q.mT @ gaussian.values, gaussian.centre))
            if iteration == _ITERATIONS:
                break
            alpha = self.alpha + q.mT @ one_hot(signs, K, q.dtype)
            log_theta = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
            # E[log N(z; c)] is the density at the expected precision plus a correction for log |Lambda| and mu.
            half = (posterior.nu.unsqueeze(-1) - torch.arange(L, dtype=q.dtype, device=q.device)) / 2
            correction = torch.digamma(half).sum(-1) - L * (posterior.nu / 2).log() - L / posterior.beta
            logits = gaussian_log_prob(gaussian, self.base.posterior_mean(posterior)) + (correction / 2).unsqueeze(-2)
            q = (logits + _sign_log_prob(log_theta, signs)).softmax(-1)
        return q, posterior

    def merge_gain(self, features: Features, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of the bound when `sign` (C,) is merged with each sign, q(c) held fixed: (C, K).

        The density of the latents does not depend on the signs given c.
        """
        q, _ = self._bound(features, signs, K)
        counts = q.mT @ one_hot(signs, K, q.dtype)  # (C, J, K)
        chains = torch.arange(len(signs), device=signs.device)
        merged = counts[chains, :, sign].unsqueeze(-1)
        gain = torch.lgamma(self.alpha + counts + merged) - torch.lgamma(self.alpha + counts)
        return (gain + math.lgamma(self.alpha) - torch.lgamma(self.alpha + merged)).sum(1)

    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """As for a mixture of two Gaussian components."""
        return self.base.bipartition_logits(self._parts(features)[0], group, seeds)

    # -- for the Pyro model ----------------------------------------------------------------------------

    def sites(self, K: int, device: torch.device) -> Categories:
        """Sites "Lambda" and "mu" in a plate "components" of size J, and "theta" in a plate "categories"."""
        components = self.base.sites(self.J, device)
        with pyro.plate("categories", self.J, device=device):
            theta = pyro.sample("theta", SparseDirichlet(components.mu.new_full((K,), self.alpha)))
        return Categories(components.mu, components.scale_tril, theta.log())

    def sign_logits(self, phi: Categories, log_pi: Tensor) -> Tensor:
        """log p(w) with c summed out. `log_pi` is ignored: the product of experts has a flat measure over signs."""
        return phi.log_theta.logsumexp(-2) - math.log(self.J)

    def component_distribution(self, phi: Categories, signs: Tensor) -> Any:
        """p(z | w), a mixture over categories. The KL from q(z | x) is estimated by sampling."""
        weights = dist.Categorical(logits=phi.given_signs()[signs])
        parts = dist.MultivariateNormal(
            phi.means.expand(*signs.shape, -1, -1), scale_tril=phi.scale_tril.expand(*signs.shape, -1, -1, -1)
        )
        return dist.MixtureSameFamily(weights, parts)

    def standard_normal_prior(self, device: torch.device) -> Categories:
        """One sign, and J categories that are all N(0, I)."""
        normal = self.base.standard_normal_prior(device)
        return Categories(
            normal.mu.expand(self.J, -1), normal.scale_tril.expand(self.J, -1, -1), normal.mu.new_zeros(self.J, 1)
        )

    # -- for the pictures ------------------------------------------------------------------------------

    def sample_percepts(
        self, generator: torch.Generator, phi: Categories, signs: Tensor, temperature: float
    ) -> Tensor:
        """Sample a category given the sign, then a latent; at temperature 0 the mean of the likeliest category."""
        logits = phi.given_signs()[signs]
        if temperature == 0:
            return phi.mu[signs]
        # Temperatures below 1 make improbable categories rarer, as they do for improbable latents.
        probabilities = (logits / temperature**2).softmax(-1)
        c = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
        return self.base.sample_percepts(generator, phi.components, c, temperature)

    def covariance(self, phi: Categories) -> Tensor:
        """Covariance of the mixture over categories: (..., K, L, L)."""
        p = phi.given_signs().exp()
        means = phi.means
        second = self.base.covariance(phi.components) + means.unsqueeze(-1) * means.unsqueeze(-2)
        mean = p @ means
        moments = torch.einsum("...kj,...jab->...kab", p, second)
        return moments - mean.unsqueeze(-1) * mean.unsqueeze(-2)

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of means, scale_tril and log_theta."""
        return (self.J, self.latent), (self.J, self.latent, self.latent), (self.J, K)


def _sign_log_prob(log_theta: Tensor, signs: Tensor) -> Tensor:
    """log theta_c(w_n) for each category c: log_theta (C, J, K), signs (C, N) -> (C, N, J)."""
    index = signs.unsqueeze(-1).expand(*signs.shape, log_theta.shape[-2])
    return log_theta.mT.gather(-2, index)
