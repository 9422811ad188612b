"""Mixture `normal-wishart`: Gaussian components with full covariances and a Normal-Wishart prior.

    Lambda_k ~ Wishart(nu, W)                  a precision, with mean nu W
    mu_k     ~ Normal(m0, (beta Lambda_k)^-1)
    z | w=k  ~ Normal(mu_k, Lambda_k^-1)

Bishop 2006, section 10.2; Murphy 2007, "Conjugate Bayesian analysis of the Gaussian distribution", section 8.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.distributions import BartlettWishart, sample_scale_tril
from mhng.models.mixtures.base import SufficientStatistics
from mhng.models.mixtures.gaussians import (
    LOG_2PI,
    Components,
    Gaussian,
    check_beta,
    covariance_factor,
    half_log_det,
    lower_factor,
    outer,
    sample_means,
    symmetric,
)


class Posterior(NamedTuple):
    """Normal-Wishart hyperparameters given the objects of a sign."""

    number: Tensor  # (...,) number of objects
    mean: Tensor  # (..., L) m_n
    beta: Tensor  # (...,)
    nu: Tensor  # (...,)
    inverse_scale: Tensor  # (..., L, L) lower Cholesky factor of W_n^-1


class WishartPrior:
    """Hyperparameters m0, beta, nu and W of a Normal-Wishart prior, and its log densities.

    Args:
        latent: L.
        m0: prior mean, a number or (L,).
        beta: prior strength of the mean, > 0.
        nu: degrees of freedom, > L - 1; None for L.
        W: prior scale matrix of Lambda, symmetric positive definite (L, L); a number w means w I.
        device: device of the latents.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
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
            raise ValueError(f"the latent dimension is {latent}; expected 1 or more")
        real: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.latent = latent
        self.nu = float(latent if nu is None else nu)
        if not (self.nu > latent - 1 and math.isfinite(self.nu)):
            raise ValueError(f"nu, the degrees of freedom, is {nu}; expected more than L - 1 = {latent - 1}")
        self.beta = check_beta(beta)
        self.m0 = torch.as_tensor(m0, **real).expand(latent)
        scale = torch.as_tensor(W, **real)
        scale = scale * torch.eye(latent, **real) if scale.dim() == 0 else scale
        factor, failed = torch.linalg.cholesky_ex((scale + scale.mT) / 2)
        if scale.shape != (latent, latent) or failed or not torch.isfinite(factor).all():
            raise ValueError(
                f"W is not positive definite; expected a positive number or a matrix ({latent}, {latent})"
            )
        self.W = scale
        self.W_inverse = torch.cholesky_inverse(factor)
        self.prior_factor = torch.linalg.cholesky(self.W_inverse)
        # A host number: creating a tensor in every sweep would copy it to the device.
        self.prior_log_gamma = float(torch.mvlgamma(torch.tensor(self.nu / 2, dtype=torch.float64), latent))

    def mean_and_scatter(
        self, statistics: SufficientStatistics, offset: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Posterior hyperparameters of every sign given statistics (..., F).

        Returns the sum of the objects' weights, m_n, beta_n, and `offset` plus the sign's contribution to W_n^-1. The
        weights are 1 unless the statistics have a `number`.
        """
        L = self.latent
        n, total, triangle = statistics.values.split([1, L, L * (L + 1) // 2], dim=-1)
        n = n.squeeze(-1)
        mean = total / torch.where(n > 0, n, 1).unsqueeze(-1)
        shift = statistics.centre + mean - self.m0
        beta = self.beta + n
        scatter = (
            offset
            + (symmetric(triangle, L) - n[..., None, None] * outer(mean))
            + (self.beta * n / beta)[..., None, None] * outer(shift)
        )
        return n, self.m0 + (n / beta).unsqueeze(-1) * shift, beta, scatter

    def log_density_of_precision(self, scale_tril: Tensor) -> Tensor:
        """log Wishart(Lambda; nu, W), Lambda = (scale_tril scale_tril^T)^-1: (..., L, L) -> (...,)."""
        L, nu = self.latent, self.nu
        whitened = torch.linalg.solve_triangular(scale_tril, self.prior_factor, upper=False)
        return (
            -(nu - L - 1) * half_log_det(scale_tril)
            - whitened.square().sum((-2, -1)) / 2
            - nu * L / 2 * math.log(2)
            + nu * half_log_det(self.prior_factor)
            - self.prior_log_gamma
        )

    def log_density_of_mean(self, components: Components) -> Tensor:
        """log Normal(mu_k; m0, (beta Lambda_k)^-1): (..., K)."""
        L, scale_tril = self.latent, components.scale_tril
        d = (components.mu - self.m0).unsqueeze(-1)
        distance = torch.linalg.solve_triangular(scale_tril, d, upper=False).square().sum((-2, -1))
        return (L * (math.log(self.beta) - LOG_2PI) - self.beta * distance) / 2 - half_log_det(scale_tril)


class NormalWishart(WishartPrior, Gaussian, batched=True):
    """Conjugate mixture with a full covariance for each sign; hyperparameters as in `WishartPrior`."""

    def posterior(self, statistics: SufficientStatistics) -> Posterior:
        """Posterior hyperparameters given statistics (..., F); those of the prior for a sign without objects.

        Objects may have weights u_n, so that z_n ~ Normal(mu, (u_n Lambda)^-1). Then the statistics are weighted
        sums, and `statistics.number` counts the objects: each adds u_n to beta and 1 to nu.
        """
        n, mean, beta, inverse = self.mean_and_scatter(statistics, self.W_inverse)
        number = n if statistics.number is None else statistics.number
        return Posterior(number, mean, beta, self.nu + number, lower_factor(inverse))

    def evidence(self, posterior: Posterior) -> Tensor:
        """Log evidence of the latents of one sign, mu and Lambda integrated out (Murphy 2007, eq. 266): (...,)."""
        L = self.latent
        nu = posterior.nu
        return (
            torch.mvlgamma(nu / 2, L)
            - self.prior_log_gamma
            + self.nu * half_log_det(self.prior_factor)
            - nu * half_log_det(posterior.inverse_scale)
            + L / 2 * (math.log(self.beta) - posterior.beta.log())
            - posterior.number * L / 2 * math.log(math.pi)
        )

    def draw(self, generator: torch.Generator, posterior: Posterior) -> Components:
        """Draw mu, Lambda ~ Normal-Wishart(posterior)."""
        scale_tril = sample_scale_tril(generator, posterior.nu, posterior.inverse_scale)
        return sample_means(generator, posterior.mean, posterior.beta, scale_tril)

    def posterior_mean(self, posterior: Posterior) -> Components:
        """Components at the posterior mean of mu and of Lambda."""
        scale = posterior.inverse_scale / posterior.nu.sqrt()[..., None, None]
        return Components(posterior.mean, scale)

    def log_density(self, phi: Components) -> Tensor:
        """log p(mu_k, Lambda_k) under the prior, summed over signs: (...,)."""
        return (self.log_density_of_precision(phi.scale_tril) + self.log_density_of_mean(phi)).sum(-1)

    def sites(self, K: int, device: torch.device) -> Components:
        """Sites "Lambda" and "mu" in a plate "components"."""
        with pyro.plate("components", K, device=device):
            precision = pyro.sample(
                "Lambda", BartlettWishart(self.W.new_tensor(self.nu), covariance_matrix=self.W.expand(K, -1, -1))
            )
            prior = dist.MultivariateNormal(self.m0.expand(K, -1), precision_matrix=self.beta * precision)
            mu = pyro.sample("mu", prior)
        return Components(mu, covariance_factor(precision))
