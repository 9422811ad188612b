"""p(z | w, phi): what an agent believes each sign sounds like in its own percepts.

The full Normal-Wishart mixture (Bishop 2006, section 10.2; Murphy 2007, "Conjugate Bayesian analysis of the
Gaussian distribution", section 8):

    Lambda_k ~ Wishart(nu, W)                  a precision, with mean nu W
    mu_k     ~ Normal(m0, (beta Lambda_k)^-1)
    z | w=k  ~ Normal(mu_k, Lambda_k^-1)

Shapes: N objects, K signs, L latent dimensions, C chains (any leading dimensions). Everything is float64.

Three things keep it fast and exact. What the game asks of N percepts is linear in their features [1, d, d d^T],
d = z - centre, which are made once: the sums of a conjugate update are a matrix product with one-hot signs, the
table of log densities is one with the coefficients of K quadratic forms, and nothing of the size N x K x L is ever
made. A component is kept as its mean and the lower Cholesky factor of its *covariance*, never as a matrix that
must be inverted. And Lambda is drawn by Bartlett's decomposition of a triangular factor, because torch's own
sampler warns of singular draws that are not singular and redraws them, which is another distribution (pytorch
issue 122021).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)


class Components(NamedTuple):
    """The parameters of K signs: z given sign k is Normal(mu_k, scale_tril_k scale_tril_k^T)."""

    mu: Tensor  # (..., K, L)
    scale_tril: Tensor  # (..., K, L, L) lower triangular, of the covariance: Lambda = (scale_tril scale_tril^T)^-1


class Features(NamedTuple):
    """What every answer about percepts is linear in. `centre` is near them, so that no digits are lost far from 0."""

    values: Tensor  # (N, F) [1, d, upper triangle of d d^T], d = z - centre
    centre: Tensor  # (L,)


class Sums(NamedTuple):
    """`Features.values` summed over the objects of a sign, with the centre they were measured from."""

    values: Tensor  # (..., F)
    centre: Tensor  # (L,)


class Posterior(NamedTuple):
    """Normal-Wishart hyperparameters given some percepts; `inverse_scale` is the lower factor of W_n^-1."""

    number: Tensor  # (...,) how many percepts
    mean: Tensor  # (..., L) m_n
    beta: Tensor  # (...,)
    nu: Tensor  # (...,)
    inverse_scale: Tensor  # (..., L, L)


class NormalWishart:
    """The conjugate family with its hyperparameters; holds no data and no draw.

    Args:
        latent: L.
        m0: prior mean, a number or (L,).
        beta: prior strength of the mean, > 0.
        nu: degrees of freedom, > L - 1; None for L.
        W: prior scale matrix of Lambda, symmetric positive definite (L, L); a number w stands for w I.
        device: where the percepts will be.

    Raises:
        ValueError: a hyperparameter is out of its range; the message names it.
    """

    def __init__(
        self,
        latent: int,
        m0: float | Tensor = 0.0,
        beta: float = 1.0,
        nu: float | None = None,
        W: float | Tensor = 0.1,
        device: torch.device | str = "cpu",
    ) -> None:
        if latent < 1:
            raise ValueError(f"the latent dimension must be 1 or more; it is {latent}")
        real: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.latent = latent
        self.nu = float(latent if nu is None else nu)
        if not (self.nu > latent - 1 and math.isfinite(self.nu)):
            raise ValueError(f"nu, the degrees of freedom, must be greater than L - 1 = {latent - 1}; it is {nu}")
        self.beta = float(beta)
        if not (self.beta > 0 and math.isfinite(self.beta)):
            raise ValueError(f"beta must be positive; it is {beta}")
        self.m0 = torch.as_tensor(m0, **real).expand(latent)
        scale = torch.as_tensor(W, **real)
        scale = scale * torch.eye(latent, **real) if scale.dim() == 0 else scale
        factor, failed = torch.linalg.cholesky_ex((scale + scale.mT) / 2)
        if scale.shape != (latent, latent) or failed or not torch.isfinite(factor).all():
            raise ValueError(f"W must be a positive definite matrix ({latent}, {latent}) or a positive number")
        self.W = scale
        self.W_inverse = torch.cholesky_inverse(factor)
        self._prior_factor = torch.linalg.cholesky(self.W_inverse)
        # A number on the host, made once: making a tensor of it in every sweep would be a copy to the device.
        self._prior_log_gamma = float(torch.mvlgamma(torch.tensor(self.nu / 2, dtype=torch.float64), latent))

    # -- percepts to hyperparameters -----------------------------------------------------------------

    def sums(self, features: Features, signs: Tensor, K: int) -> Sums:
        """The features of the objects of each sign, added up: signs (..., N) -> (..., K, F)."""
        values = features.values
        one_hot = torch.zeros(*signs.shape, K, dtype=values.dtype, device=values.device)
        one_hot.scatter_(-1, signs.unsqueeze(-1), 1.0)
        return Sums(one_hot.mT @ values, features.centre)

    def nothing(self, *shape: int) -> Sums:
        """The sums of no object at all."""
        L = self.latent
        return Sums(self.W.new_zeros(*shape, 1 + L + L * (L + 1) // 2), self.m0)

    def posterior(self, sums: Sums) -> Posterior:
        """Hyperparameters given sums (..., F); a sign without objects keeps the prior's."""
        L = self.latent
        n, total, products = sums.values.split([1, L, L * (L + 1) // 2], dim=-1)
        n = n.squeeze(-1)
        second = products.new_empty(*products.shape[:-1], L, L)
        i, j = torch.triu_indices(L, L, device=products.device)
        second[..., i, j] = products
        second[..., j, i] = products
        mean = total / n.clamp_min(1).unsqueeze(-1)  # from the centre
        away = sums.centre + mean - self.m0
        beta, nu = self.beta + n, self.nu + n
        inverse = (
            self.W_inverse
            + (second - n[..., None, None] * _outer(mean))
            + (self.beta * n / beta)[..., None, None] * _outer(away)
        )
        # Without the check for success, which would make a GPU wait for the host in every sweep. Percepts that are
        # not finite end as NaN, which the rounds report.
        factor, failed = torch.linalg.cholesky_ex((inverse + inverse.mT) / 2)
        factor = torch.where((failed == 0)[..., None, None], factor, math.nan)
        return Posterior(n, self.m0 + (n / beta).unsqueeze(-1) * away, beta, nu, factor)

    def evidence(self, posterior: Posterior) -> Tensor:
        """log p(the percepts of one sign), mu and Lambda integrated out (Murphy 2007, eq. 266): (...,)."""
        L = self.latent
        nu = posterior.nu
        return (
            torch.mvlgamma(nu / 2, L)
            - self._prior_log_gamma
            + self.nu * _log_diagonal(self._prior_factor)
            - nu * _log_diagonal(posterior.inverse_scale)
            + L / 2 * (math.log(self.beta) - posterior.beta.log())
            - posterior.number * L / 2 * math.log(math.pi)
        )

    # -- draws and densities -------------------------------------------------------------------------

    def draw(self, generator: torch.Generator, posterior: Posterior) -> Components:
        """mu, Lambda ~ Normal-Wishart(posterior).

        With W_n^-1 = U U^T and B upper triangular, B_ii^2 ~ chi^2(nu - L + i) for i = 1..L and N(0, 1) above the
        diagonal, Lambda = (U^-T B)(U^-T B)^T; the factor of its inverse is U B^-T, lower triangular.
        """
        L = self.latent
        like = posterior.inverse_scale
        bartlett = _bartlett(posterior.nu, L, like, generator)
        scale_tril = torch.linalg.solve_triangular(bartlett.mT, like, upper=False, left=False)
        noise = torch.randn(posterior.mean.shape, dtype=like.dtype, device=like.device, generator=generator)
        step = (scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        return Components(posterior.mean + step / posterior.beta.sqrt().unsqueeze(-1), scale_tril)

    def log_density(self, components: Components) -> Tensor:
        """log p(mu_k, Lambda_k) under the prior, summed over signs: (...,)."""
        L, nu = self.latent, self.nu
        scale_tril = components.scale_tril
        log_det_lambda = -2 * _log_diagonal(scale_tril)
        whitened = torch.linalg.solve_triangular(scale_tril, self._prior_factor, upper=False)
        wishart = (
            (nu - L - 1) / 2 * log_det_lambda
            - whitened.square().sum((-2, -1)) / 2
            - nu * L / 2 * math.log(2)
            + nu * _log_diagonal(self._prior_factor)
            - self._prior_log_gamma
        )
        d = (components.mu - self.m0).unsqueeze(-1)
        distance = torch.linalg.solve_triangular(scale_tril, d, upper=False).square().sum((-2, -1))
        normal = (L * (math.log(self.beta) - _LOG_2PI) + log_det_lambda - self.beta * distance) / 2
        return (wishart + normal).sum(-1)

    def precision_prior(self, K: int) -> BartlettWishart:
        """Wishart(nu, W) of K independent precisions, as a Pyro distribution with batch shape (K,)."""
        return BartlettWishart(self.W.new_tensor(self.nu), covariance_matrix=self.W.expand(K, -1, -1))


def features(z: Tensor) -> Features:
    """The features of percepts z (N, L), measured from their mean."""
    centre = z.mean(0)
    d = z - centre
    i, j = torch.triu_indices(z.shape[1], z.shape[1], device=z.device)
    return Features(torch.cat([torch.ones_like(d[:, :1]), d, d[:, i] * d[:, j]], dim=1), centre)


def log_table(features: Features, components: Components) -> Tensor:
    """log N(z_n; mu_k, Lambda_k^-1) for every object and sign, as a product of features: (..., N, K)."""
    mu, scale_tril = components
    L = mu.shape[-1]
    eye = torch.eye(L, dtype=mu.dtype, device=mu.device)
    whiten = torch.linalg.solve_triangular(scale_tril, eye.expand_as(scale_tril), upper=False)
    precision = whiten.mT @ whiten
    offset = (mu - features.centre).unsqueeze(-1)
    linear = (precision @ offset).squeeze(-1)
    constant = -((whiten @ offset).square().sum((-2, -1)) + L * _LOG_2PI) / 2 - _log_diagonal(scale_tril)
    i, j = torch.triu_indices(L, L, device=mu.device)
    # A product off the diagonal stands for two equal entries of the quadratic form.
    quadratic = -precision[..., i, j] * torch.where(i == j, 0.5, 1.0).to(mu.dtype)
    coefficients = torch.cat([constant.unsqueeze(-1), linear, quadratic], dim=-1)
    return features.values @ coefficients.mT


def standard_normal(latent: int, device: torch.device | str = "cpu") -> Components:
    """One component, N(0, I): the prior of z before there are any signs."""
    real: dict[str, Any] = {"dtype": torch.float64, "device": device}
    return Components(torch.zeros(1, latent, **real), torch.eye(latent, **real).unsqueeze(0))


class BartlettWishart(dist.Wishart):
    """The Wishart distribution with exact draws; density and moments are torch's.

    Draws come from torch's global generator, as those of every Pyro site do.
    """

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        factor = self._unbroadcasted_scale_tril
        L = factor.shape[-1]
        df = self.df.expand(shape + self.batch_shape)
        # Any factor of the scale will do; with torch's lower one, Lambda = (F B)(F B)^T.
        bartlett = _bartlett(df, L, factor, None)
        half = factor @ bartlett
        return half @ half.mT


def _bartlett(nu: Tensor, L: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """B upper triangular with B B^T ~ Wishart(nu, I): nu (...,) -> (..., L, L)."""
    freedom = nu.unsqueeze(-1) - torch.arange(L - 1, -1, -1, dtype=like.dtype, device=like.device)
    # torch offers gamma draws from a given generator under this name only.
    chi_square = 2 * torch._standard_gamma(freedom / 2, generator=generator)
    normal = torch.randn(*freedom.shape, L, dtype=like.dtype, device=like.device, generator=generator)
    return normal.triu(1) + chi_square.clamp_min(torch.finfo(like.dtype).tiny).sqrt().diag_embed()


def _outer(vector: Tensor) -> Tensor:
    return vector.unsqueeze(-1) * vector.unsqueeze(-2)


def _log_diagonal(factor: Tensor) -> Tensor:
    """Half the log determinant of factor factor^T: (..., L, L) -> (...,)."""
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
