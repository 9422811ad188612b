"""Gaussian components: parameters, log densities, and the base class of the Gaussian mixtures.

The log density is linear in the features [1, d, d d^T] of a latent, d = z - centre, which are computed once. The
sufficient statistics are a matrix product of features and one-hot signs. The log-density table is a product of
features and the coefficients of K quadratic forms. No tensor of size N x K x L is formed. A component stores its
mean and the lower Cholesky factor of its *covariance*, so no matrix is inverted per object.

Objects far from the others would cost them digits: they do not shape the centre, and `direct_log_prob` evaluates them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Conjugate, Features, SufficientStatistics
from mhng.models.rng import normal

LOG_2PI = math.log(2 * math.pi)

# An object is far if its distance from the prior mean exceeds that of the nearest tenth this many times. Around a
# centre at distance D, the quadratic form has a rounding error of about D^2 / 10^16.
_FAR = 1e4

# Added to the diagonal of a matrix that rounding made indefinite, relative to the trace.
_JITTER = 1e-12


class Components(NamedTuple):
    """Parameters of K Gaussian components: z | w=k ~ Normal(mu_k, scale_tril_k scale_tril_k^T)."""

    mu: Tensor  # (..., K, L)
    scale_tril: Tensor  # (..., K, L, L) Cholesky factor of the covariance Lambda^-1


class ComponentsWithPrecision(NamedTuple):
    """`Components` with their precision matrices."""

    mu: Tensor
    scale_tril: Tensor
    precision: Tensor  # (..., K, L, L) Lambda


class Gaussian(Conjugate):
    """Base class of the conjugate mixtures of Gaussian components."""

    Parameters = Components
    m0: Tensor  # (L,) the prior mean

    @property
    def feature_dim(self) -> int:
        """F = 1 + L + L (L + 1) / 2."""
        return 1 + self.latent + self.latent * (self.latent + 1) // 2

    def features(self, z: Tensor) -> Features:
        """The features [1, d, upper triangle of d d^T] of latents z (N, L)."""
        return quadratic_features(z, self.m0)

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        """Sufficient statistics of zero objects."""
        return SufficientStatistics(self.m0.new_zeros(*shape, self.feature_dim), self.m0)

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log N(z_n; mu_k, Lambda_k^-1): (..., N, K)."""
        return gaussian_log_prob(features, phi)

    def log_prob(self, z: Tensor, phi: Components) -> Tensor:
        """log N(z_n; mu_k, Lambda_k^-1), object by object: z (B, L) -> (..., B, K)."""
        return direct_log_prob(z, phi)

    def bipartition_start(self, features: Features, members: Tensor, seeds: Tensor) -> Components:
        """Two components at the seeds, with the covariance of the whole group."""
        whole = self.posterior(SufficientStatistics((members @ features.values).unsqueeze(1), features.centre))
        scale_tril = self.posterior_mean(whole).scale_tril.expand(-1, 2, -1, -1)
        return Components((features.centre + features.values[:, 1 : 1 + self.latent])[seeds], scale_tril)

    def precompute(self, phi: Components | ComponentsWithPrecision) -> ComponentsWithPrecision:
        """Add the precision matrices that the KL needs: one inversion per sign, not per object and batch."""
        return (
            phi
            if isinstance(phi, ComponentsWithPrecision)
            else ComponentsWithPrecision(*phi, torch.cholesky_inverse(phi.scale_tril))
        )

    def component_distribution(self, phi: Components | ComponentsWithPrecision, signs: Tensor) -> Any:
        """Normal(mu_w, Lambda_w^-1) for signs (B,)."""
        mu, scale_tril, precision = self.precompute(phi)
        prior = dist.MultivariateNormal(mu[signs], scale_tril=scale_tril[signs])
        prior.precision_matrix = precision[signs]
        return prior

    def standard_normal_prior(self, device: torch.device) -> Components:
        """One component N(0, I)."""
        real: dict[str, Any] = {"dtype": torch.float64, "device": device}
        return Components(torch.zeros(1, self.latent, **real), torch.eye(self.latent, **real).unsqueeze(0))

    def sample_percepts(
        self, generator: torch.Generator, phi: Components, signs: Tensor, temperature: float
    ) -> Tensor:
        """mu_w + T scale_tril_w e, e ~ N(0, I), T the temperature. The number of random draws does not depend on T."""
        mu = phi.mu[signs]
        noise = torch.randn(mu.shape, dtype=mu.dtype, generator=generator)
        return mu + temperature * (phi.scale_tril[signs] @ noise.unsqueeze(-1)).squeeze(-1)

    def covariance(self, phi: Components) -> Tensor:
        """Lambda_k^-1: (..., K, L, L)."""
        return phi.scale_tril @ phi.scale_tril.mT

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of mu and scale_tril."""
        return (K, self.latent), (K, self.latent, self.latent)


def quadratic_features(z: Tensor, m0: Tensor | float = 0.0) -> Features:
    """The features [1, d, upper triangle of d d^T] of latents z (N, L), d = z - centre."""
    centre, far = robust_centre(z, m0)
    d = z - centre
    i, j = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
    return Features(torch.cat([torch.ones_like(d[:, :1]), d, d[:, i] * d[:, j]], dim=1), centre, far)


def robust_centre(z: Tensor, m0: Tensor | float) -> tuple[Tensor, Tensor | None]:
    """Mean (L,) of the latents z (N, L) that are not far, and the mask (N,) of those that are; None without any.

    m0: the prior mean. Components near it are the narrowest, and need the most digits.
    """
    distance = (z - m0).abs().amax(1)
    near = distance.kthvalue(max(1, len(z) // 10)).values
    far = distance > _FAR * (1 + near)
    if not far.any():
        return z.mean(0), None
    return z[~far].mean(0), far


def fill_far(table: Tensor, features: Features, L: int, log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """The table (..., N, K), with the rows of far objects from `log_prob` of their latents (B, L)."""
    if features.far is not None:
        z = features.values[features.far, 1 : 1 + L] + features.centre
        table[..., features.far, :] = log_prob(z)
    return table


def direct_log_prob(z: Tensor, components: Components) -> Tensor:
    """log N(z_n; mu_k, Lambda_k^-1) from the differences z_n - mu_k: z (B, L) -> (..., B, K).

    It is exact at any distance, and several times slower than `gaussian_log_prob`.
    """
    mu, scale_tril = components
    distances = []
    for k in range(mu.shape[-2]):  # one tensor for all signs would have the size B x K x L
        d = (z - mu[..., k, None, :]).mT
        distances.append(torch.linalg.solve_triangular(scale_tril[..., k, :, :], d, upper=False).square().sum(-2))
    constant = -half_log_det(scale_tril) - mu.shape[-1] * LOG_2PI / 2
    return constant.unsqueeze(-2) - torch.stack(distances, dim=-1) / 2


def gaussian_log_prob(features: Features, components: Components) -> Tensor:
    """log N(z_n; mu_k, Lambda_k^-1) for all objects and signs, linear in the features: (..., N, K)."""
    mu, scale_tril = components
    L = mu.shape[-1]
    eye = torch.eye(L, dtype=mu.dtype, device=mu.device)
    whiten = torch.linalg.solve_triangular(scale_tril, eye.expand_as(scale_tril), upper=False)
    precision = whiten.mT @ whiten
    offset = (mu - features.centre).unsqueeze(-1)
    linear = (precision @ offset).squeeze(-1)
    constant = -((whiten @ offset).square().sum((-2, -1)) + L * LOG_2PI) / 2 - half_log_det(scale_tril)
    i, j = torch.triu_indices(L, L, device=mu.device)
    # An off-diagonal feature appears once and stands for two equal entries of the quadratic form.
    quadratic = -precision[..., i, j] * torch.where(i == j, 0.5, 1.0).to(mu.dtype)
    coefficients = torch.cat([constant.unsqueeze(-1), linear, quadratic], dim=-1)
    table = features.linear(coefficients)
    return fill_far(table, features, L, lambda z: direct_log_prob(z, components))


def outer(vector: Tensor) -> Tensor:
    """Outer product with itself: (..., L) -> (..., L, L)."""
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)


def half_log_det(factor: Tensor) -> Tensor:
    """Half the log determinant of factor factor^T: (..., L, L) -> (...,)."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def symmetric(triangle: Tensor, L: int) -> Tensor:
    """Symmetric matrix from its upper triangle, row by row: (..., L (L + 1) / 2) -> (..., L, L)."""
    full = triangle.new_empty(*triangle.shape[:-1], L, L)
    i, j = torch.triu_indices(L, L, device=triangle.device)
    full[..., i, j] = triangle
    full[..., j, i] = triangle
    return full


def lower_factor(matrix: Tensor) -> Tensor:
    """Cholesky factor of a symmetric matrix (..., L, L), NaN where the matrix is not positive definite.

    On a CPU, a matrix that a far object's rounding errors made indefinite gets an addition of that size. On a GPU, the
    check would make the device wait for the host in every sweep. Non-finite latents result in NaN, which
    `mhng.inference.rounds` reports.
    """
    matrix = (matrix + matrix.mT) / 2
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if matrix.device.type == "cpu" and failed.any():
        scale = matrix.diagonal(dim1=-2, dim2=-1)
        addition = torch.where(failed == 0, 0.0, _JITTER * scale.sum(-1)).unsqueeze(-1)
        factor, failed = torch.linalg.cholesky_ex(matrix + addition.expand_as(scale).diag_embed())
    return torch.where((failed == 0)[..., None, None], factor, math.nan)


def covariance_factor(precision: Tensor) -> Tensor:
    """Lower Cholesky factor of the covariance precision^-1, without inverting: (..., L, L).

    Let J reverse the order of rows. If F is the lower factor of J Lambda J, the result is J F^-T J.
    """
    flipped = torch.linalg.cholesky(precision.flip(-2, -1))
    eye = torch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return torch.linalg.solve_triangular(flipped.mT, eye.expand_as(flipped), upper=True).flip(-2, -1)


def sample_means(generator: torch.Generator, mean: Tensor, beta: Tensor, scale_tril: Tensor) -> Components:
    """Components with mu ~ Normal(mean, Lambda^-1 / beta) and the given Lambda: mean (..., K, L), beta (..., K)."""
    noise = normal(generator, mean)
    step = (scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
    return Components(mean + step / beta.sqrt().unsqueeze(-1), scale_tril)


def check_beta(beta: float) -> float:
    """Return beta as a float. Raises ValueError if it is not positive and finite."""
    if not (float(beta) > 0 and math.isfinite(beta)):
        raise ValueError(f"beta is {beta}; expected a positive number")
    return float(beta)
