"""One covariance for all signs, as in linear discriminant analysis.

    Lambda ~ Wishart(nu, W)
    mu_k   ~ Normal(m0, (beta Lambda)^-1)
    z | w=k ~ Normal(mu_k, Lambda^-1)

(The conjugate family of a multivariate regression on signs: Bishop 2006, exercise 3.10 and section 10.2 put together.)
Given percepts, Lambda hears the scatter of all signs, each around its own mean, and a sign's mean its own objects. So
the evidence is no sum over signs: `evidence` puts what belongs to Lambda into the first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.distributions import BartlettWishart, sample_scale_tril
from mhng.models.mixtures.base import Features, SufficientStatistics
from mhng.models.mixtures.gaussians import (
    Components,
    Gaussian,
    covariance_factor,
    half_log_det,
    lower_factor,
    sample_means,
)
from mhng.models.mixtures.normal_wishart import WishartPrior
from mhng.models.rng import Streams


class TiedPosterior(NamedTuple):
    """Hyperparameters given the percepts of K signs."""

    number: Tensor  # (..., K) how many percepts
    mean: Tensor  # (..., K, L)
    beta: Tensor  # (..., K)
    nu: Tensor  # (...,)
    inverse_scale: Tensor  # (..., L, L) the lower factor of W_n^-1


class Tied(WishartPrior, Gaussian):
    """The family; for its hyperparameters see `WishartPrior`."""

    def posterior(self, sums: SufficientStatistics) -> TiedPosterior:
        """Hyperparameters given sums (..., K, F)."""
        number, mean, beta, scatter = self.mean_and_scatter(sums, 0.0)
        inverse = lower_factor(self.W_inverse + scatter.sum(-3))
        return TiedPosterior(number, mean, beta, self.nu + number.sum(-1), inverse)

    def evidence(self, posterior: TiedPosterior) -> Tensor:
        """(..., K), of which only the sum over K has a meaning: log p(the percepts of all signs)."""
        each = self._of_means(posterior.beta)
        each[..., 0] += self._of_precision(posterior.number.sum(-1), half_log_det(posterior.inverse_scale))
        return each

    def _of_means(self, beta: Tensor) -> Tensor:
        return self.latent / 2 * (math.log(self.beta) - beta.log())

    def _of_precision(self, number: Tensor, log_det: Tensor) -> Tensor:
        nu = self.nu + number
        return (
            torch.mvlgamma(nu / 2, self.latent)
            - self.prior_log_gamma
            + self.nu * half_log_det(self.prior_factor)
            - nu * log_det
            - number * self.latent / 2 * math.log(math.pi)
        )

    def merge_gain(self, features: Features, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """A merger changes the means' part for two signs, and what they add to the scatter."""
        sums = self.sufficient_statistics(features, signs, K)
        number, _, beta, scatter = self.mean_and_scatter(sums, 0.0)
        chains = torch.arange(len(signs), device=signs.device)
        pair = SufficientStatistics(sums.values + sums.values[chains, one].unsqueeze(1), sums.centre)
        _, _, beta_pair, scatter_pair = self.mean_and_scatter(pair, 0.0)
        means = self._of_means(beta_pair) - self._of_means(beta) - self._of_means(beta[chains, one]).unsqueeze(1)
        whole = (self.W_inverse + scatter.sum(1)).unsqueeze(1)
        after = whole - scatter - scatter[chains, one].unsqueeze(1) + scatter_pair
        objects = number.sum(1, keepdim=True)
        before = self._of_precision(objects, half_log_det(lower_factor(whole)))
        return means + self._of_precision(objects, half_log_det(lower_factor(after))) - before

    def draw(self, generator: Streams, posterior: TiedPosterior) -> Components:
        """Lambda ~ Wishart, and the means given it."""
        scale_tril = sample_scale_tril(generator, posterior.nu, posterior.inverse_scale)
        K, L = posterior.mean.shape[-2:]
        return sample_means(
            generator,
            posterior.mean,
            posterior.beta,
            scale_tril.unsqueeze(-3).expand(*scale_tril.shape[:-2], K, L, L),
        )

    def posterior_mean(self, posterior: TiedPosterior) -> Components:
        """The posterior's means and expected precision."""
        scale = posterior.inverse_scale / posterior.nu.sqrt()[..., None, None]
        K, L = posterior.mean.shape[-2:]
        return Components(posterior.mean, scale.unsqueeze(-3).expand(*scale.shape[:-2], K, L, L))

    def log_density(self, phi: Components) -> Tensor:
        """log p(mu, Lambda) under the prior, Lambda counted once: (...,)."""
        return self.log_density_of_precision(phi.scale_tril[..., 0, :, :]) + self.log_density_of_mean(phi).sum(-1)

    def sites(self, K: int, device: torch.device) -> Components:
        """Site "Lambda", and "mu" in a plate "components"."""
        precision = pyro.sample("Lambda", BartlettWishart(self.W.new_tensor(self.nu), covariance_matrix=self.W))
        with pyro.plate("components", K, device=device):
            prior = dist.MultivariateNormal(self.m0.expand(K, -1), precision_matrix=self.beta * precision)
            mu = pyro.sample("mu", prior)
        return Components(mu, covariance_factor(precision).expand(K, -1, -1))
