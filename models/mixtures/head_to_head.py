"""Categories of the agent's own, and signs that hang on them: w is a child of c, not the parent of z.

    Lambda_c, mu_c ~ Normal-Wishart                c = 1..J, the agent's categories
    theta_c        ~ Dirichlet(alpha, ..., alpha)  what the agent calls a category, over K signs
    c_n            ~ Categorical(1/J, ..., 1/J)
    z_n | c_n      ~ Normal(mu_c, Lambda_c^-1)
    w_n | c_n      ~ Categorical(theta_c)

(The head-to-head graph of Furukawa, Taniguchi, Hagiwara and Taniguchi 2022, "Symbol emergence as inter-personal
categorization with head-to-head latent word", arXiv 2205.15027, with Gaussian percepts.) All agents' categories point
at the one sign of an object, and it is a product of experts: p(w | z^A, z^B, ...) is proportional to prod_m sum_c p(c
| z^m) theta^m_c(w). So an agent may keep apart what has one name, and the table of the game is log p(z, w), c summed
out.

Redraw: c given percepts, signs and the parameters before; then the parameters given c. The evidence, log p(z, signs),
has no closed form; in its place stands a variational lower bound, q(c) q(parameters), from the agent's own k-means
clusters.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Drawn, Family, Features, SufficientStatistics, one_hot
from mhng.models.mixtures.gaussians import Components, features, gaussian_log_prob
from mhng.models.mixtures.normal_wishart import NormalWishart, Posterior
from mhng.models.rng import log_dirichlet

# Turns of q(c) and q(parameters): the bound holds after any number of them.
_TURNS = 4


class Categories(NamedTuple):
    """The parameters of J categories and what they are called."""

    means: Tensor  # (..., J, L)
    scale_tril: Tensor  # (..., J, L, L) of the covariances
    log_theta: Tensor  # (..., J, K)

    @property
    def mu(self) -> Tensor:
        """(..., K, L) for each sign the mean of the category that it most probably stands for."""
        best = self.log_theta.argmax(-2)
        return self.means.gather(-2, best.unsqueeze(-1).expand(*best.shape, self.means.shape[-1]))

    @property
    def components(self) -> Components:
        """Of the categories."""
        return Components(self.means, self.scale_tril)

    def given_signs(self) -> Tensor:
        """log p(c | w), (..., K, J)."""
        return self.log_theta.mT.log_softmax(-1)


class HeadToHead(Family):
    """The family.

    Args:
        latent: L.
        categories: J, a whole number from 1 to 1,000.
        alpha: prior of theta, > 0; below 1 a category tends to have one name.
        m0, beta, nu, W, device: of the categories, as in `WishartPrior`.

    Raises:
        ValueError: a hyperparameter is out of its range; the message names it.
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
            raise ValueError(f"categories must be a whole number from 1 to 1,000; it is {categories}")
        if not (alpha > 0 and math.isfinite(alpha)):
            raise ValueError(f"alpha must be positive; it is {alpha}")
        self.J = int(categories)
        self.alpha = float(alpha)

    # -- for the game ----------------------------------------------------------------------------------

    @property
    def feature_dim(self) -> int:
        """Those of a Gaussian, and J."""
        return self.base.feature_dim + self.J

    def features(self, z: Tensor) -> Features:
        """Those of a Gaussian, then one-hot the k-means cluster of each percept, by which categories begin."""
        from sklearn.cluster import KMeans

        own = features(z)
        found = KMeans(min(self.J, len(z)), n_init=1, random_state=0).fit(z.cpu().numpy()).labels_
        clusters = one_hot(torch.as_tensor(found, dtype=torch.int64, device=z.device), self.J, z.dtype)
        return Features(torch.cat([own.values, clusters], dim=1), own.centre)

    def _parts(self, features: Features) -> tuple[Features, Tensor]:
        """The Gaussian features, and the clusters (N, J)."""
        values = features.values
        return Features(values[..., : -self.J], features.centre), values[..., -self.J :]

    def _of_categories(self, features: Features, phi: Categories) -> Tensor:
        """log p(z_n, c): (..., N, J)."""
        return gaussian_log_prob(self._parts(features)[0], phi.components) - math.log(self.J)

    def log_prob_table(self, features: Features, phi: Categories) -> Tensor:
        """log p(z_n, w_n = k), c summed out: (..., N, K)."""
        joint = self._of_categories(features, phi)
        most = joint.amax(-1, keepdim=True)
        # A matrix product instead of N x K x J logarithms; what underflows beside the largest was nothing.
        total = (joint - most).exp() @ phi.log_theta.exp()
        return total.clamp_min(torch.finfo(total.dtype).tiny).log() + most

    def redraw(self, generator: torch.Generator, features: Features, signs: Tensor, K: int, before: Any) -> Drawn:
        """c given the parameters before (at the beginning the clusters), then the parameters."""
        gaussian, clusters = self._parts(features)
        if before is None:
            own = clusters.expand(*signs.shape, -1)
        else:
            logits = self._of_categories(features, before) + _named(before.log_theta, signs)
            uniform = torch.rand(*signs.shape, 1, generator=generator, dtype=logits.dtype, device=logits.device)
            c = (logits.softmax(-1).cumsum(-1) < uniform).sum(-1).clamp_max(self.J - 1)
            own = one_hot(c, self.J, logits.dtype)
        posterior = self.base.posterior(SufficientStatistics(own.mT @ gaussian.values, gaussian.centre))
        counts = own.mT @ one_hot(signs, K, own.dtype)
        components = self.base.draw(generator, posterior)
        log_theta = log_dirichlet(generator, self.alpha + counts)
        return Drawn(
            Categories(components.mu, components.scale_tril, log_theta), self.log_evidence(features, signs, K)
        )

    def from_prior(self, generator: torch.Generator, chains: int, K: int) -> Categories:
        """Parameters from their prior."""
        components = self.base.from_prior(generator, chains, self.J)
        alpha = torch.full((chains, self.J, K), self.alpha, dtype=torch.float64, device=components.mu.device)
        return Categories(components.mu, components.scale_tril, log_dirichlet(generator, alpha))

    def log_density(self, phi: Categories) -> Tensor:
        """log p(phi) under the prior: (...,)."""
        names = (self.alpha - 1) * phi.log_theta.sum(-1) - self._log_beta(phi.log_theta.shape[-1])
        return self.base.log_density(phi.components) + names.sum(-1)

    def _log_beta(self, K: int) -> float:
        return K * math.lgamma(self.alpha) - math.lgamma(K * self.alpha)

    def log_evidence(self, features: Features, signs: Tensor, K: int) -> Tensor:
        """A lower bound of log p(z, signs): signs (C, N) -> (C,)."""
        q, posterior = self._bound(features, signs, K)
        names = self._names_evidence(q.mT @ one_hot(signs, K, q.dtype)).sum(-1)
        entropy = -torch.xlogy(q, q).sum((-2, -1))
        return self.base.evidence(posterior).sum(-1) + names + entropy - signs.shape[-1] * math.log(self.J)

    def _names_evidence(self, counts: Tensor) -> Tensor:
        """log p(what a category was called), theta integrated out: expected counts (..., K) -> (...,)."""
        alpha = self.alpha + counts
        return torch.lgamma(alpha).sum(-1) - torch.lgamma(alpha.sum(-1)) - self._log_beta(counts.shape[-1])

    def _bound(self, features: Features, signs: Tensor, K: int) -> tuple[Tensor, Posterior]:
        """q(c), (C, N, J), and what the components are given it."""
        L = self.latent
        gaussian, clusters = self._parts(features)
        q = clusters.expand(*signs.shape, -1)
        for turn in range(_TURNS + 1):
            posterior = self.base.posterior(SufficientStatistics(q.mT @ gaussian.values, gaussian.centre))
            if turn == _TURNS:
                break
            alpha = self.alpha + q.mT @ one_hot(signs, K, q.dtype)
            names = torch.digamma(alpha) - torch.digamma(alpha.sum(-1, keepdim=True))
            # E[log N(z; c)]: at the expected precision, and what its logarithm and the mean's spread differ by.
            half = (posterior.nu.unsqueeze(-1) - torch.arange(L, dtype=q.dtype, device=q.device)) / 2
            spread = torch.digamma(half).sum(-1) - L * (posterior.nu / 2).log() - L / posterior.beta
            logits = gaussian_log_prob(gaussian, self.base.posterior_mean(posterior)) + (spread / 2).unsqueeze(-2)
            q = (logits + _named(names, signs)).softmax(-1)
        return q, posterior

    def merge_gain(self, features: Features, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """Of the bound with q(c) held fixed: percepts do not care what a category is called."""
        q, _ = self._bound(features, signs, K)
        counts = q.mT @ one_hot(signs, K, q.dtype)  # (C, J, K)
        chains = torch.arange(len(signs), device=signs.device)
        mine = counts[chains, :, one].unsqueeze(-1)
        each = torch.lgamma(self.alpha + counts + mine) - torch.lgamma(self.alpha + counts)
        return (each + math.lgamma(self.alpha) - torch.lgamma(self.alpha + mine)).sum(1)

    def bipartition_logits(self, features: Features, group: Tensor, seeds: Tensor) -> Tensor:
        """As a Gaussian mixture of two would be divided."""
        return self.base.bipartition_logits(self._parts(features)[0], group, seeds)

    # -- for the Pyro model ----------------------------------------------------------------------------

    def sites(self, K: int, device: torch.device) -> Categories:
        """Sites "Lambda" and "mu" in a plate "components", of categories, and "theta" in a plate "categories"."""
        components = self.base.sites(self.J, device)
        with pyro.plate("categories", self.J, device=device):
            theta = pyro.sample("theta", dist.Dirichlet(components.mu.new_full((K,), self.alpha)))
        return Categories(components.mu, components.scale_tril, theta.clamp_min(torch.finfo(theta.dtype).tiny).log())

    def sign_logits(self, phi: Categories, log_pi: Tensor) -> Tensor:
        """log p(w), c summed out. The product of experts has a flat measure of signs beside it, not a prior."""
        return phi.log_theta.logsumexp(-2) - math.log(self.J)

    def component_distribution(self, phi: Categories, signs: Tensor) -> Any:
        """p(z | w), a mixture over categories. Its divergence from q(z | x) is estimated by draws."""
        B = len(signs)
        weights = dist.Categorical(logits=phi.given_signs()[signs])
        parts = dist.MultivariateNormal(phi.means.expand(B, -1, -1), scale_tril=phi.scale_tril.expand(B, -1, -1, -1))
        return dist.MixtureSameFamily(weights, parts)

    def standard_normal_prior(self, device: torch.device) -> Categories:
        """One sign, and J equal categories N(0, I)."""
        own = self.base.standard_normal_prior(device)
        return Categories(
            own.mu.expand(self.J, -1), own.scale_tril.expand(self.J, -1, -1), own.mu.new_zeros(self.J, 1)
        )

    # -- for the pictures ------------------------------------------------------------------------------

    def sample_percepts(
        self, generator: torch.Generator, phi: Categories, signs: Tensor, temperature: float
    ) -> Tensor:
        """A category that the sign may stand for, and a percept of it; at temperature 0 the mean of the likeliest."""
        law = phi.given_signs()[signs]
        if temperature == 0:
            return phi.mu[signs]
        # Below 1 less probable categories become rarer, as less probable percepts do.
        law = (law / temperature**2).softmax(-1)
        c = torch.multinomial(law, 1, generator=generator).squeeze(1)
        return self.base.sample_percepts(generator, phi.components, c, temperature)

    def covariance(self, phi: Categories) -> Tensor:
        """Of the mixture over categories: (..., K, L, L)."""
        p = phi.given_signs().exp()
        means = phi.means
        second = self.base.covariance(phi.components) + means.unsqueeze(-1) * means.unsqueeze(-2)
        mean = p @ means
        of_signs = torch.einsum("...kj,...jab->...kab", p, second)
        return of_signs - mean.unsqueeze(-1) * mean.unsqueeze(-2)

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Of means, scale_tril and log_theta."""
        return (self.J, self.latent), (self.J, self.latent, self.latent), (self.J, K)


def _named(log_theta: Tensor, signs: Tensor) -> Tensor:
    """log theta of the object's own sign for each category: (C, J, K), signs (C, N) -> (C, N, J)."""
    index = signs.unsqueeze(-1).expand(*signs.shape, log_theta.shape[-2])
    return log_theta.mT.gather(-2, index)
