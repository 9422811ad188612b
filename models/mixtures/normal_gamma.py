"""Mixtures `normal-gamma` and `spherical`: Gaussian components without correlations.

    normal-gamma   lambda_kl ~ Gamma(nu / 2, rate 1 / (2 W))    for every dimension l
                   mu_kl     ~ Normal(m0, 1 / (beta lambda_kl))
    spherical      one lambda_k for all dimensions of sign k

nu and W are the hyperparameters of a one-dimensional Wishart: lambda has the mean nu W. The features are [1, d, d^2],
or [1, d, |d|^2] for `spherical`. They are linear in L, so these mixtures take thousands of dimensions, where a full
covariance is too large. Bishop 2006, section 2.3.6; Murphy 2007, section 3.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures.base import Features, SufficientStatistics
from mhng.models.mixtures.gaussians import (
    LOG_2PI,
    Components,
    Gaussian,
    check_beta,
    fill_far,
    robust_centre,
    sample_means,
)
from mhng.models.rng import gamma


class GammaPosterior(NamedTuple):
    """Normal-Gamma hyperparameters given the objects of a sign; V is L, or 1 if the dimensions share a variance."""

    number: Tensor  # (...,) number of objects
    mean: Tensor  # (..., L)
    beta: Tensor  # (...,)
    shape: Tensor  # (..., 1) shape of the Gamma distribution of every lambda
    rate: Tensor  # (..., V)


class NormalGamma(Gaussian, batched=True):
    """Conjugate mixture with a diagonal covariance for each sign.

    Args:
        latent: L.
        m0: prior mean, a number or (L,).
        beta: prior strength of the mean, > 0.
        nu: degrees of freedom of the precisions, > 0.
        W: scale of the precisions, a positive number or (V,).
        device: device of the latents.

    Raises:
        ValueError: a hyperparameter is out of range; the message names it.
    """

    shared = False  # whether all dimensions share one variance

    def __init__(
        self,
        latent: int,
        m0: float | Tensor = 0.0,
        beta: float = 1.0,
        nu: float = 4.0,
        W: float | Tensor = 0.3,
        device: torch.device | str = "cpu",
    ) -> None:
        if latent < 1:
            raise ValueError(f"the latent dimension is {latent}; expected 1 or more")
        real: dict[str, Any] = {"dtype": torch.float64, "device": device}
        self.latent = latent
        self.beta = check_beta(beta)
        self.nu = float(nu)
        if not (self.nu > 0 and math.isfinite(self.nu)):
            raise ValueError(f"nu, the degrees of freedom, is {nu}; expected a positive number")
        self.m0 = torch.as_tensor(m0, **real).expand(latent)
        scale = torch.as_tensor(W, **real)
        if not bool(((scale > 0) & scale.isfinite()).all()):
            raise ValueError("W is not positive; expected a positive number")
        self.rate = (1 / (2 * scale)).expand(1 if self.shared else latent)

    # -- features and posterior ------------------------------------------------------------------------

    @property
    def feature_dim(self) -> int:
        """F = 1 + L + V."""
        return 1 + self.latent + len(self.rate)

    def features(self, z: Tensor) -> Features:
        """The features [1, d, d^2] of latents z (N, L), or [1, d, |d|^2] if the variance is shared."""
        centre, far = robust_centre(z, self.m0)
        d = z - centre
        squares = d.square().sum(1, keepdim=True) if self.shared else d.square()
        return Features(torch.cat([torch.ones_like(d[:, :1]), d, squares], dim=1), centre, far)

    def posterior(self, statistics: SufficientStatistics) -> GammaPosterior:
        """Posterior hyperparameters given statistics (..., F); those of the prior for a sign without objects."""
        n, total, squares = statistics.values.split([1, self.latent, len(self.rate)], dim=-1)
        mean = total / torch.where(n > 0, n, 1)  # relative to the centre
        away = statistics.centre + mean - self.m0
        beta = self.beta + n
        scatter = squares - self._over_dimensions(n * mean.square())
        # Rounding can make a zero scatter negative. The gradient must stay that of the scatter.
        scatter = scatter + (-scatter).clamp_min(0).detach()
        rate = self.rate + (scatter + self._over_dimensions(self.beta * n / beta * away.square())) / 2
        dimensions = self.latent if self.shared else 1  # dimensions per variance
        shape = (self.nu + n * dimensions) / 2
        return GammaPosterior(n.squeeze(-1), self.m0 + n / beta * away, beta.squeeze(-1), shape, rate)

    def _over_dimensions(self, values: Tensor) -> Tensor:
        return values.sum(-1, keepdim=True) if self.shared else values

    def evidence(self, posterior: GammaPosterior) -> Tensor:
        """Log evidence of the latents of one sign, mu and lambda integrated out: (...,)."""
        prior, shape = self.nu / 2, posterior.shape
        # The shape term broadcasts: it is the same for every variance.
        variances = (
            torch.lgamma(shape) - math.lgamma(prior) + prior * self.rate.log() - shape * posterior.rate.log()
        ).sum(-1)
        means = self.latent / 2 * (math.log(self.beta) - posterior.beta.log())
        return variances + means - posterior.number * self.latent / 2 * LOG_2PI

    # -- draws and densities ---------------------------------------------------------------------------

    def draw(self, generator: torch.Generator, posterior: GammaPosterior) -> Components:
        """Draw lambda ~ Gamma, then mu ~ Normal given lambda."""
        shape = posterior.shape.expand_as(posterior.rate)
        precision = gamma(generator, shape) / posterior.rate
        # A Gamma draw with a shape near 0 can underflow; the variance must stay finite.
        scale = precision.clamp_min(torch.finfo(precision.dtype).tiny).rsqrt()
        return sample_means(generator, posterior.mean, posterior.beta, self._scale_tril(scale))

    def _scale_tril(self, scale: Tensor) -> Tensor:
        return scale.expand(*scale.shape[:-1], self.latent).diag_embed()

    def posterior_mean(self, posterior: GammaPosterior) -> Components:
        """Components at the posterior mean of mu and of lambda."""
        return Components(posterior.mean, self._scale_tril((posterior.rate / posterior.shape).sqrt()))

    def log_prob_table(self, features: Features, phi: Components) -> Tensor:
        """log N(z_n; mu_k, diag(lambda_k)^-1): (..., N, K)."""
        scale = phi.scale_tril.diagonal(dim1=-2, dim2=-1)
        precision = scale.square().reciprocal()
        offset = phi.mu - features.centre
        constant = -(scale.log() + (LOG_2PI + precision * offset.square()) / 2).sum(-1, keepdim=True)
        quadratic = -precision[..., : len(self.rate)] / 2
        table = features.linear(torch.cat([constant, precision * offset, quadratic], dim=-1))
        return fill_far(table, features, self.latent, lambda z: self.log_prob(z, phi))

    def log_prob(self, z: Tensor, phi: Components) -> Tensor:
        """log N(z_n; mu_k, diag(lambda_k)^-1), object by object: z (B, L) -> (..., B, K)."""
        scale = phi.scale_tril.diagonal(dim1=-2, dim2=-1)
        signs = range(scale.shape[-2])
        distances = [((z - phi.mu[..., k, None, :]) / scale[..., k, None, :]).square().sum(-1) for k in signs]
        constant = -scale.log().sum(-1) - self.latent * LOG_2PI / 2
        return constant.unsqueeze(-2) - torch.stack(distances, dim=-1) / 2

    def log_density(self, phi: Components) -> Tensor:
        """log p(mu_k, lambda_k) under the prior, summed over signs: (...,)."""
        scale = phi.scale_tril.diagonal(dim1=-2, dim2=-1)
        precision = scale.square().reciprocal()
        precisions = precision[..., : len(self.rate)]
        prior = self.nu / 2
        of_precision = (
            prior * self.rate.log() - math.lgamma(prior) + (prior - 1) * precisions.log() - self.rate * precisions
        )
        distance = self.beta * precision * (phi.mu - self.m0).square()
        of_mean = (math.log(self.beta) - LOG_2PI - distance) / 2 - scale.log()
        return of_precision.sum((-2, -1)) + of_mean.sum((-2, -1))

    def sites(self, K: int, device: torch.device) -> Components:
        """Sites "lambda" and "mu" in a plate "components"."""
        with pyro.plate("components", K, device=device):
            prior = dist.Gamma(self.rate.new_tensor(self.nu / 2), self.rate).to_event(1)
            scale = pyro.sample("lambda", prior).rsqrt()
            mu = pyro.sample("mu", dist.Normal(self.m0, scale / math.sqrt(self.beta)).to_event(1))
        return Components(mu, self._scale_tril(scale))


class Spherical(NormalGamma, batched=True):
    """Conjugate mixture with one variance for each sign; arguments as in `NormalGamma`."""

    shared = True
