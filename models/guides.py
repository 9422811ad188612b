"""q(z | x): the last layer of an encoder, and the Gaussian that it says.

A guide is a layer made for (width, L): it reads `width` features of each object and returns loc (B, L) and a spread,
whose shape is its own affair. `law` makes the Pyro distribution of the two, `moved` takes standard normal noise to a
draw of it. To add one, write those three and a line in the registry of `models`.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

# exp of an unbounded output is 0 or inf sooner or later, and either ends a run. Within these bounds a scale
# is neither a point nor beyond any prior that these data can have.
LOG_SCALE_BOUNDS = (-7.0, 3.0)


class Diagonal(nn.Linear):
    """q(z | x) = N(loc, diag(scale^2)): dimensions of a percept are independent given the observation.

    Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv 1312.6114.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__(width, 2 * latent)

    # A layer that reads its own numbers: to users of nn.Linear as such it would be a surprise.
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features (B, width) -> loc (B, L), scale (B, L) > 0."""
        loc, log_scale = super().forward(features).chunk(2, dim=-1)
        return loc, log_scale.clamp(*LOG_SCALE_BOUNDS).exp()

    @staticmethod
    def distribution(loc: Tensor, spread: Tensor) -> dist.TorchDistribution:
        """The distribution, with one event dimension."""
        return dist.Normal(loc, spread).to_event(1)

    @staticmethod
    def reparameterize(loc: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
        """Standard normal noise (B, L) -> a draw (B, L)."""
        return loc + spread * noise


class Full(nn.Linear):
    """q(z | x) = N(loc, T T^T), T lower triangular: one object's dimensions may be uncertain together.

    T = diag(s) (I + U) with U strictly lower triangular: each row is in units of its own scale, which is bounded as
    that of `Diagonal` is. Kingma and Welling, "An introduction to variational autoencoders", 2019, arXiv 1906.02691,
    section 2.5.1.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__(width, 2 * latent + latent * (latent - 1) // 2)
        self.latent = latent
        rows, columns = torch.tril_indices(latent, latent, offset=-1)
        # Where the numbers of U belong. Not saved: it is made of L alone.
        self.register_buffer("places", rows * latent + columns, persistent=False)

    places: Tensor

    # A layer that reads its own numbers: to users of nn.Linear as such it would be a surprise.
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features (B, width) -> loc (B, L), T (B, L, L) with a positive diagonal."""
        L = self.latent
        loc, log_scale, below = super().forward(features).split([L, L, L * (L - 1) // 2], dim=-1)
        scale = log_scale.clamp(*LOG_SCALE_BOUNDS).exp()
        unit = torch.zeros(len(loc), L * L, dtype=loc.dtype, device=loc.device).index_copy(1, self.places, below)
        unit = unit.unflatten(1, (L, L)) + torch.eye(L, dtype=loc.dtype, device=loc.device)
        return loc, scale.unsqueeze(-1) * unit

    @staticmethod
    def distribution(loc: Tensor, spread: Tensor) -> dist.TorchDistribution:
        """The distribution, with one event dimension."""
        return dist.MultivariateNormal(loc, scale_tril=spread)

    @staticmethod
    def reparameterize(loc: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
        """Standard normal noise (B, L) -> a draw (B, L)."""
        return loc + (spread @ noise.unsqueeze(-1)).squeeze(-1)
