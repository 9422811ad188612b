"""Guides: the Gaussian family of q(z | x), as the last layer of an encoder.

A guide is a layer constructed with (width, L). It maps `width` features per object to loc (B, L) and a spread, whose
shape the guide defines. `distribution` builds the Pyro distribution from the two. `reparameterize` maps standard
normal noise to a sample. To add a guide, implement these and add a line to `mhng.models.registry`.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

# Bounds of the log scale: exp of an unbounded output eventually is 0 or inf, which ends a run.
LOG_SCALE_BOUNDS = (-7.0, 3.0)


class Diagonal(nn.Linear):
    """q(z | x) = N(loc, diag(scale^2)): latent dimensions are independent given the observation.

    Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv 1312.6114.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__(width, 2 * latent)

    # Returns a pair, unlike nn.Linear.
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features (B, width) -> loc (B, L), scale (B, L) > 0."""
        loc, log_scale = super().forward(features).chunk(2, dim=-1)
        return loc, log_scale.clamp(*LOG_SCALE_BOUNDS).exp()

    @staticmethod
    def distribution(loc: Tensor, spread: Tensor) -> dist.TorchDistribution:
        """q(z | x) with one event dimension."""
        return dist.Normal(loc, spread).to_event(1)

    @staticmethod
    def reparameterize(loc: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
        """Map standard normal noise (B, L) to a sample (B, L)."""
        return loc + spread * noise


class Full(nn.Linear):
    """q(z | x) = N(loc, T T^T), T lower triangular: latent dimensions may be correlated given the observation.

    T = diag(s) (I + U) with U strictly lower triangular; the scales s are bounded as in `Diagonal`. Kingma and
    Welling, "An introduction to variational autoencoders", 2019, arXiv 1906.02691, section 2.5.1.
    """

    def __init__(self, width: int, latent: int) -> None:
        super().__init__(width, 2 * latent + latent * (latent - 1) // 2)
        self.latent = latent
        rows, columns = torch.tril_indices(latent, latent, offset=-1)
        # Flat indices of the entries of U. Not saved, because they follow from L.
        self.register_buffer("places", rows * latent + columns, persistent=False)

    places: Tensor

    # Returns a pair, unlike nn.Linear.
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
        """q(z | x) with one event dimension."""
        return dist.MultivariateNormal(loc, scale_tril=spread)

    @staticmethod
    def reparameterize(loc: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
        """Map standard normal noise (B, L) to a sample (B, L)."""
        return loc + (spread @ noise.unsqueeze(-1)).squeeze(-1)
