"""A custom mixture: von Mises components for angles, such as directions or times of day.

    mu_kl   ~ Uniform(-pi, pi)                 the mean direction of sign k in dimension l
    z | w=k ~ prod_l VonMises(mu_kl, concentration)

    cd examples && python ../cli.py train --dataset npz --data angles.npz --likelihood identity --rounds 0 \
        --mixture your_own_mixture:VonMises --prior concentration=20

The prior is conjugate, so the class implements `Conjugate`. `input_support` keeps the angles as they are: other
features are standardised. Every mixture needs these methods (see `mhng.models.mixtures.Conjugate`).
"""

import math
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures import Conjugate, Features, SufficientStatistics
from mhng.models.rng import seeded_global_rng


class Directions(NamedTuple):
    mu: Tensor  # (..., K, L)


class DirectionPosterior(NamedTuple):
    number: Tensor  # (..., K) number of objects
    mode: Tensor  # (..., K, L)
    concentration: Tensor  # (..., K, L)


class VonMises(Conjugate):
    Parameters = Directions
    input_support = "angles"

    def __init__(self, latent: int, concentration: float = 8.0, device: torch.device | str = "cpu") -> None:
        if not (concentration > 0 and math.isfinite(concentration)):
            raise ValueError(f"concentration is {concentration}; expected a positive number")
        self.latent = latent
        self.concentration = float(concentration)
        self.zeros = torch.zeros(latent, dtype=torch.float64, device=device)
        self.log_norm = float(math.log(2 * math.pi) + log_bessel(self.zeros[:1] + concentration))

    @property
    def feature_dim(self) -> int:
        return 1 + 2 * self.latent

    def features(self, z: Tensor) -> Features:
        return Features(torch.cat([torch.ones_like(z[:, :1]), z.cos(), z.sin()], dim=1), self.zeros)

    def log_prob_table(self, features: Features, phi: Directions) -> Tensor:
        constant = torch.full_like(phi.mu[..., :1], -self.latent * self.log_norm)
        coefficients = [constant, self.concentration * phi.mu.cos(), self.concentration * phi.mu.sin()]
        return features.linear(torch.cat(coefficients, dim=-1))

    def empty_statistics(self, *shape: int) -> SufficientStatistics:
        return SufficientStatistics(self.zeros.new_zeros(*shape, self.feature_dim), self.zeros)

    def posterior(self, statistics: SufficientStatistics) -> DirectionPosterior:
        number, cosine, sine = statistics.values.split([1, self.latent, self.latent], dim=-1)
        length = (cosine.square() + sine.square()).clamp_min(1e-200).sqrt()
        return DirectionPosterior(number.squeeze(-1), torch.atan2(sine, cosine), self.concentration * length)

    def evidence(self, posterior: DirectionPosterior) -> Tensor:
        return log_bessel(posterior.concentration).sum(-1) - posterior.number * self.latent * self.log_norm

    def draw(self, generator: torch.Generator, posterior: DirectionPosterior) -> Directions:
        with seeded_global_rng(generator):
            return Directions(dist.VonMises(posterior.mode, posterior.concentration).sample())

    def posterior_mean(self, posterior: DirectionPosterior) -> Directions:
        return Directions(posterior.mode)

    def log_density(self, phi: Directions) -> Tensor:
        return torch.full_like(phi.mu[..., 0, 0], -math.log(2 * math.pi) * math.prod(phi.mu.shape[-2:]))

    def sites(self, K: int, device: torch.device) -> Directions:
        with pyro.plate("components", K, device=device):
            return Directions(pyro.sample("mu", dist.Uniform(self.zeros - math.pi, self.zeros + math.pi).to_event(1)))

    def component_distribution(self, phi: Directions, signs: Tensor) -> dist.TorchDistribution:
        return dist.VonMises(phi.mu[signs], phi.mu.new_tensor(self.concentration)).to_event(1)

    def standard_normal_prior(self, device: torch.device) -> Directions:
        return Directions(self.zeros.unsqueeze(0))

    def to_mean_scale(self, z: Tensor) -> Tensor:
        return torch.atan2(z.sin(), z.cos())

    def sample_percepts(
        self, generator: torch.Generator, phi: Directions, signs: Tensor, temperature: float
    ) -> Tensor:
        with seeded_global_rng(generator):
            deviation = dist.VonMises(torch.zeros_like(phi.mu[signs]), phi.mu.new_tensor(self.concentration)).sample()
        return phi.mu[signs] + temperature * deviation

    def covariance(self, phi: Directions) -> Tensor:  # of a narrow component
        return torch.ones_like(phi.mu).diag_embed() / self.concentration

    def shapes(self, K: int) -> tuple[tuple[int, ...], ...]:
        return ((K, self.latent),)


def log_bessel(x: Tensor) -> Tensor:
    """log I_0(x), the log normaliser of a von Mises distribution."""
    return torch.special.i0e(x).log() + x
