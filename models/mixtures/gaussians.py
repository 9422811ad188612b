"""What Gaussian families have in common: components, the table of their densities, and the Pyro distribution.

What the game asks of N percepts is linear in their features [1, d, d d^T], d = z - centre, which are made once: the
sums of a conjugate update are a matrix product with one-hot signs, the table of log densities is one with the
coefficients of K quadratic forms, and nothing of the size N x K x L is ever made. A component is kept as its mean and
the lower Cholesky factor of its *covariance*, never as a matrix that must be inverted.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Conjugate, Features, SufficientStatistics, products
from mhng.models.rng import Streams, normal

LOG_2PI = math.log(2 * math.pi)


class Components(NamedTuple):
    """The parameters of K signs: z given sign k is Normal(mu_k, scale_tril_k scale_tril_k^T)."""

    mu: Tensor  # (..., K, L)
    scale_tril: Tensor  # (..., K, L, L) lower triangular, of the covariance: Lambda = (scale_tril scale_tril^T)^-1


class ComponentsWithPrecision(NamedTuple):
    """Components with their precisions."""

    mu: Tensor
    scale_tril: Tensor
    precision: Tensor  # (..., K, L, L) Lambda


class Gaussian(Conjugate):
    """A conjugate family of Gaussian components."""

    Parameters = Components
    m0: Tensor  # (L,) the prior mean

    @property
    def feature_dim(self) -> int:
        """1 + L + L (L + 1) / 2."""
        return 1 + self.latent + self.latent * (self.latent + 1) // 2

    def features(self, z: Tensor) -> Features:
        """[1, d, d d^T] of percepts z (N, L), F = 1 + L + L (L + 1) / 2."""
        return features(z)

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """The sums of no object at all."""
        return SufficientStatistics(self.m0.new_zeros(*shape, self.feature_dim), self.m0)

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log N(z_n; mu_k, Lambda_k^-1): (..., N, K)."""
        return gaussian_log_prob(features, phi)

    def bipartition_start(self, features: Features, inside: Tensor, seeds: Tensor) -> Components:
        """At the two seeds, with the whole group's own covariance."""
        whole = self.posterior(SufficientStatistics((inside @ features.values).unsqueeze(1), features.centre))
        spread = self.posterior_mean(whole).scale_tril.expand(-1, 2, -1, -1)
        return Components((features.centre + features.values[:, 1 : 1 + self.latent])[seeds], spread)

    def precompute(self, phi: Components | ComponentsWithPrecision) -> ComponentsWithPrecision:
        """With precisions, which the KL asks for: inverted once for each sign, not for each object of each batch."""
        return (
            phi
            if isinstance(phi, ComponentsWithPrecision)
            else ComponentsWithPrecision(*phi, torch.cholesky_inverse(phi.scale_tril))
        )

    def component_distribution(self, phi: Components | ComponentsWithPrecision, signs: Tensor) -> Any:
        """Normal(mu_w, Lambda_w^-1)."""
        mu, scale_tril, precision = self.precompute(phi)
        prior = dist.MultivariateNormal(mu[signs], scale_tril=scale_tril[signs])
        prior.precision_matrix = precision[signs]
        return prior

    def standard_normal_prior(self, device: torch.device) -> Components:
        """One component, N(0, I)."""
        return standard_normal(self.latent, device)

    def sample_percepts(
        self, generator: torch.Generator, phi: Components, signs: Tensor, temperature: float
    ) -> Tensor:
        """mu_w + T scale_tril_w e, e ~ N(0, I). One number of the stream for each entry, whatever T is."""
        mu = phi.mu[signs]
        noise = torch.randn(mu.shape, dtype=mu.dtype, generator=generator)
        return mu + temperature * (phi.scale_tril[signs] @ noise.unsqueeze(-1)).squeeze(-1)

    def covariance(self, phi: Components) -> Tensor:
        """Lambda_k^-1."""
        return phi.scale_tril @ phi.scale_tril.mT

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Of mu and scale_tril."""
        return (K, self.latent), (K, self.latent, self.latent)


def features(z: Tensor) -> Features:
    """The features of percepts z (N, L), measured from their mean: products are the upper triangle of d d^T."""
    centre = z.mean(0)
    d = z - centre
    i, j = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
    return Features(torch.cat([torch.ones_like(d[:, :1]), d, d[:, i] * d[:, j]], dim=1), centre)


def gaussian_log_prob(features: Features, components: Components) -> Tensor:
    """log N(z_n; mu_k, Lambda_k^-1) for every object and sign, as a product of features: (..., N, K)."""
    mu, scale_tril = components
    L = mu.shape[-1]
    eye = torch.eye(L, dtype=mu.dtype, device=mu.device)
    whiten = torch.linalg.solve_triangular(scale_tril, eye.expand_as(scale_tril), upper=False)
    precision = whiten.mT @ whiten
    offset = (mu - features.centre).unsqueeze(-1)
    linear = (precision @ offset).squeeze(-1)
    constant = -((whiten @ offset).square().sum((-2, -1)) + L * LOG_2PI) / 2 - half_log_det(scale_tril)
    i, j = torch.triu_indices(L, L, device=mu.device)
    # A product off the diagonal stands for two equal entries of the quadratic form.
    quadratic = -precision[..., i, j] * torch.where(i == j, 0.5, 1.0).to(mu.dtype)
    coefficients = torch.cat([constant.unsqueeze(-1), linear, quadratic], dim=-1)
    return products(features, coefficients)


def standard_normal(latent: int, device: torch.device | str = "cpu") -> Components:
    """One component, N(0, I): the prior of z before there are any signs."""
    real: dict[str, Any] = {"dtype": torch.float64, "device": device}
    return Components(torch.zeros(1, latent, **real), torch.eye(latent, **real).unsqueeze(0))


def outer(vector: Tensor) -> Tensor:
    """(..., L) -> (..., L, L)."""
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)


def half_log_det(factor: Tensor) -> Tensor:
    """Half the log determinant of factor factor^T: (..., L, L) -> (...,)."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def symmetric(products: Tensor, L: int) -> Tensor:
    """The matrix of which `products` is the upper triangle, row by row: (..., L (L + 1) / 2) -> (..., L, L)."""
    full = products.new_empty(*products.shape[:-1], L, L)
    i, j = torch.triu_indices(L, L, device=products.device)
    full[..., i, j] = products
    full[..., j, i] = products
    return full


def lower_factor(matrix: Tensor) -> Tensor:
    """The Cholesky factor of a symmetric matrix (..., L, L), NaN where there is none.

    Without the check for success, which would make a GPU wait for the host in every sweep. Percepts that are not
    finite end as NaN, which the rounds report.
    """
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.mT) / 2)
    return torch.where((failed == 0)[..., None, None], factor, math.nan)


def covariance_factor(precision: Tensor) -> Tensor:
    """Lower Cholesky factor of precision^-1, without forming the inverse: (..., L, L).

    The flipped matrix P = J Lambda J has a lower factor F; J F^-T J is lower and the factor sought.
    """
    flipped = torch.linalg.cholesky(precision.flip(-2, -1))
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(flipped.mT, eye.expand_as(flipped), upper=True).flip(-2, -1)


def sample_means(generator: Streams, mean: Tensor, beta: Tensor, scale_tril: Tensor) -> Components:
    """mu ~ Normal(mean, Lambda^-1 / beta) beside its Lambda: mean (..., K, L), beta (..., K)."""
    noise = normal(generator, mean)
    step = (scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return Components(mean + step / beta.sqrt().unsqueeze(-1), scale_tril)


def check_beta(beta: float) -> float:
    """ValueError naming it if it is not positive."""
    if not (float(beta) > 0 and math.isfinite(beta)):
        raise ValueError(f"beta must be positive; it is {beta}")
    return float(beta)
