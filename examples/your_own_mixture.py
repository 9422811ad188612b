"""A custom mixture: von Mises components for angles, such as directions or times of day.

    mu_kl   ~ Uniform(-pi, pi)                 the mean direction of sign k in dimension l
    z | w=k ~ prod_l VonMises(mu_kl, concentration)

    cd examples && python ../cli.py train --dataset npz --data angles.npz --likelihood identity --rounds 0 \
        --mixture your_own_mixture:VonMises --prior concentration=20

A copy of this file is a start for another family. `input_support` says what the features are: real (the default),
counts, angles or simplex.
"""

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.mixtures import ExponentialFamily


class VonMises(ExponentialFamily):
    input_support = "angles"

    def __init__(self, latent: int, concentration: float = 8.0, device: torch.device | str = "cpu") -> None:
        super().__init__(latent, device)
        if not 0 < concentration < 1e6:
            raise ValueError(f"concentration is {concentration}; expected a positive number")
        self.concentration = torch.tensor(concentration, dtype=torch.float64, device=device)

    def statistics(self, z: Tensor) -> Tensor:  # T(z)
        return torch.cat([z.cos(), z.sin()], dim=-1)

    def log_likelihood(self, number: Tensor, total: Tensor, mu: Tensor) -> Tensor:  # of `number` objects, T summed
        cosine, sine = total.chunk(2, dim=-1)
        log_norm = dist.VonMises(0 * mu, self.concentration).log_prob(0 * mu) - self.concentration
        return (self.concentration * (cosine * mu.cos() + sine * mu.sin()) + number * log_norm).sum(-1)

    def parameter_posterior(self, number: Tensor, total: Tensor) -> dist.TorchDistribution:  # p(mu | z); prior: zeros
        cosine, sine = total.chunk(2, dim=-1)
        length = (cosine.square() + sine.square() + 1e-300).sqrt()  # a clamp would lose the gradient near zero
        return dist.VonMises(torch.atan2(sine, cosine), self.concentration * length)

    def component(self, mu: Tensor) -> dist.TorchDistribution:  # p(z | mu)
        return dist.VonMises(mu, self.concentration)
