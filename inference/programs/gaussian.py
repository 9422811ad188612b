"""The Gaussian conditional of continuous signs: a draw of p(w | x, theta) if log p(w, x | theta) is quadratic in w.

The curvature and the slope of the log density at one point give precision and mean. Blocks of a turn are independent
of each other given the rest, so one Hessian-vector product for each sign of a block serves all blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """A normal distribution of G blocks of B signs."""

    mean: Tensor  # (..., G, B)
    precision: Tensor  # (..., G, B, B)

    def draw(self) -> Tensor:
        """Signs (..., G, B)."""
        factor = torch.linalg.cholesky(self.precision)
        noise = torch.randn_like(self.mean).unsqueeze(-1)
        return self.mean + torch.linalg.solve_triangular(factor.mT, noise, upper=True).squeeze(-1)

    def log_prob(self, signs: Tensor) -> Tensor:
        """Signs (..., G, B) -> (..., G)."""
        offset = (signs - self.mean).unsqueeze(-1)
        factor = torch.linalg.cholesky(self.precision)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = (factor.mT @ offset).square().sum((-2, -1))
        return log_det - 0.5 * squares - 0.5 * signs.shape[-1] * math.log(2 * math.pi)


def conditional(log_density: Callable[[Tensor], Tensor], point: Tensor, coordinates: Tensor) -> Gaussian:
    """The normal distribution with the slope and curvature of a log density of signs (D,) at `point`.

    Args:
        coordinates: (G, B) places of the signs of each block.
    """
    directions = torch.zeros(coordinates.shape[1], len(point), dtype=point.dtype)
    directions[torch.arange(coordinates.shape[1]), coordinates] = 1.0
    slope, product = torch.func.vjp(torch.func.grad(log_density), point)[:2]
    columns = torch.stack([product(direction)[0] for direction in directions])  # (B, D)
    precision = -columns[:, coordinates].permute(1, 2, 0)
    step = torch.linalg.solve(precision, slope[coordinates].unsqueeze(-1)).squeeze(-1)
    return Gaussian(point[coordinates] + step, precision)
