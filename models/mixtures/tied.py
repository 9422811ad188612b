"""Mixture `tied`: Gaussian components with one covariance for all signs, as in linear discriminant analysis.

    Lambda ~ Wishart(nu, W)
    mu_k   ~ Normal(m0, (beta Lambda)^-1)
    z | w=k ~ Normal(mu_k, Lambda^-1)

Conjugate: a multivariate regression on one-hot signs (Bishop 2006, exercise 3.10 and section 10.2). The posterior of
Lambda depends on the scatter of all signs around their means, so the evidence is not a sum over signs. `evidence`
assigns the terms of Lambda to the first sign.
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


class TiedPosterior(NamedTuple):
    """Hyperparameters given the objects of K signs."""

    number: Tensor  # (..., K) number of objects
    mean: Tensor  # (..., K, L)
    beta: Tensor  # (..., K)
    nu: Tensor  # (...,)
    inverse_scale: Tensor  # (..., L, L) lower Cholesky factor of W_n^-1


class Tied(WishartPrior, Gaussian, batched=True):
    """Conjugate mixture with one full covariance; hyperparameters as in `WishartPrior`."""

    def posterior(self, statistics: SufficientStatistics) -> TiedPosterior:
        """Posterior hyperparameters given statistics (..., K, F)."""
        number, mean, beta, scatter = self.mean_and_scatter(statistics, 0.0)
        inverse = lower_factor(self.W_inverse + scatter.sum(-3))
        return TiedPosterior(number, mean, beta, self.nu + number.sum(-1), inverse)

    def evidence(self, posterior: TiedPosterior) -> Tensor:
        """Log evidence of the latents of all signs: (..., K). Only the sum over K is meaningful."""
        terms = self._mean_term(posterior.beta)
        terms[..., 0] += self._precision_term(posterior.number.sum(-1), half_log_det(posterior.inverse_scale))
        return terms

    def evidence_of(self, z: Tensor, signs: Tensor) -> Tensor:
        """log p(z | signs) of latents z (N, L) and signs (N,) from any range, without statistics of each sign."""
        numbers, place = signs.unique(return_inverse=True)
        count = torch.bincount(place).to(z.dtype).unsqueeze(-1)
        mean = z.new_zeros(len(numbers), self.latent).index_add_(0, place, z) / count
        residual, shift = z - mean[place], mean - self.m0
        weight = self.beta * count / (self.beta + count)
        inverse = lower_factor(self.W_inverse + residual.mT @ residual + shift.mT @ (weight * shift))
        means: Tensor = self._mean_term(self.beta + count).sum()
        return means + self._precision_term(count.sum(), half_log_det(inverse))

    def _mean_term(self, beta: Tensor) -> Tensor:
        return self.latent / 2 * (math.log(self.beta) - beta.log())

    def _precision_term(self, number: Tensor, log_det: Tensor) -> Tensor:
        nu = self.nu + number
        return (
            torch.mvlgamma(nu / 2, self.latent)
            - self.prior_log_gamma
            + self.nu * half_log_det(self.prior_factor)
            - nu * log_det
            - number * self.latent / 2 * math.log(math.pi)
        )

    def merge_gain(self, features: Features, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """Change of the log evidence when `sign` (C,) is merged with each sign: (C, K).

        A merger changes the mean terms and the scatter of two signs.
        """
        statistics = self.sufficient_statistics(features, signs, K)
        number, _, beta, scatter = self.mean_and_scatter(statistics, 0.0)
        chains = torch.arange(len(signs), device=signs.device)
        values = statistics.values + statistics.values[chains, sign].unsqueeze(1)
        pair = SufficientStatistics(values, statistics.centre)
        _, _, beta_pair, scatter_pair = self.mean_and_scatter(pair, 0.0)
        means = self._mean_term(beta_pair) - self._mean_term(beta) - self._mean_term(beta[chains, sign]).unsqueeze(1)
        whole = (self.W_inverse + scatter.sum(1)).unsqueeze(1)
        after = whole - scatter - scatter[chains, sign].unsqueeze(1) + scatter_pair
        objects = number.sum(1, keepdim=True)
        before = self._precision_term(objects, half_log_det(lower_factor(whole)))
        return means + self._precision_term(objects, half_log_det(lower_factor(after))) - before

    def draw(self, generator: torch.Generator, posterior: TiedPosterior) -> Components:
        """Draw Lambda ~ Wishart, then the means given Lambda."""
        scale_tril = sample_scale_tril(generator, posterior.nu, posterior.inverse_scale)
        K, L = posterior.mean.shape[-2:]
        return sample_means(
            generator,
            posterior.mean,
            posterior.beta,
            scale_tril.unsqueeze(-3).expand(*scale_tril.shape[:-2], K, L, L),
        )

    def posterior_mean(self, posterior: TiedPosterior) -> Components:
        """Components at the posterior mean of the means and of Lambda."""
        scale = posterior.inverse_scale / posterior.nu.sqrt()[..., None, None]
        K, L = posterior.mean.shape[-2:]
        return Components(posterior.mean, scale.unsqueeze(-3).expand(*scale.shape[:-2], K, L, L))

    def log_density(self, phi: Components) -> Tensor:
        """log p(mu, Lambda) under the prior: (...,). Lambda counts once, not for each sign."""
        return self.log_density_of_precision(phi.scale_tril[..., 0, :, :]) + self.log_density_of_mean(phi).sum(-1)

    def sites(self, K: int, device: torch.device) -> Components:
        """Site "Lambda", and "mu" in a plate "components"."""
        precision = pyro.sample("Lambda", BartlettWishart(self.W.new_tensor(self.nu), covariance_matrix=self.W))
        with pyro.plate("components", K, device=device):
            prior = dist.MultivariateNormal(self.m0.expand(K, -1), precision_matrix=self.beta * precision)
            mu = pyro.sample("mu", prior)
        return Components(mu, covariance_factor(precision).expand(K, -1, -1))
