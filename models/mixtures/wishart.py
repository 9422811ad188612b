"""Wishart draws by Bartlett's decomposition of a triangular factor.

torch's own sampler warns of singular draws that are not singular and redraws them, which is another distribution
(pytorch issue 122021).
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from mhng.models.randomness import Streams, gamma, normal


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
        half = factor @ bartlett(df, L, factor, None)
        return half @ half.mT


def bartlett(nu: Tensor, L: int, like: Tensor, generator: Streams | None) -> Tensor:
    """B upper triangular with B B^T ~ Wishart(nu, I): nu (...,) -> (..., L, L).

    B_ii^2 ~ chi^2(nu - L + i) for i = 1..L, and N(0, 1) above the diagonal.
    """
    freedom = nu.unsqueeze(-1) - torch.arange(L - 1, -1, -1, dtype=like.dtype, device=like.device)
    chi_square = 2 * gamma(generator, freedom / 2)
    noise = normal(generator, freedom.unsqueeze(-1).expand(*freedom.shape, L))
    return noise.triu(1) + chi_square.clamp_min(torch.finfo(like.dtype).tiny).sqrt().diag_embed()


def drawn_scale_tril(generator: Streams, nu: Tensor, inverse_scale: Tensor) -> Tensor:
    """The lower factor of Lambda^-1, Lambda ~ Wishart(nu, W): nu (...,), inverse_scale the factor of W^-1 (..., L, L).

    With W^-1 = U U^T, Lambda = (U^-T B)(U^-T B)^T; the factor of its inverse is U B^-T, lower triangular.
    """
    half = bartlett(nu, inverse_scale.shape[-1], inverse_scale, generator)
    return torch.linalg.solve_triangular(half.mT, inverse_scale, upper=False, left=False)
