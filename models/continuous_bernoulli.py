"""The continuous Bernoulli distribution on [0, 1], in float32 and at any logit.

Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders",
NeurIPS 2019, arXiv 1907.06845. In its natural parameter, the logit t,

    p(x | t) = exp(t x - A(t)),   A(t) = log((e^t - 1) / t),   E[x] = A'(t) = 1 / (1 - e^-t) - 1 / t.

torch's own class goes through probabilities and clamps them. In float32 that is 0.06 nats wrong a pixel at a logit
of 17 and 0.6 at 30, with a mean that stays at 0.937 and a gradient that pushes the logit on; at 0.004 the norm's
gradient vanishes in rounding. Here nothing leaves the logits.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

# Below it the differences of 1 / t and its like cancel, and series take over; above, their next term is below 1e-8.
_SMALL = 1.0

# No smaller logit is told from 0 when drawing: the draw differs from a uniform one by less.
_TINY = 1e-6


class ContinuousBernoulli(TorchDistribution):
    """A batch of independent numbers in [0, 1] with the given logits (real, any shape)."""

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        """The same law for more entries."""
        new: ContinuousBernoulli = self._get_checked_instance(ContinuousBernoulli, _instance)
        new.logits = self.logits.expand(batch_shape)
        super(ContinuousBernoulli, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), value in [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        t = self.logits
        small = t.abs() < _SMALL
        # Each branch sees numbers that are harmless to it, or the gradient of the other one would be NaN.
        near = torch.where(small, t, 0.0)
        far = torch.where(small, _SMALL, t)
        # From the likelier end of the interval: t x and A(t) are equal there up to the last digits, once t is large.
        steep = far.abs()
        closed = far * (value - (far > 0).to(t.dtype)) - torch.log(-torch.expm1(-steep) / steep)
        return torch.where(small, near * (value - 0.5) - _log_sinhc(near), closed)

    @property
    def mean(self) -> Tensor:
        """E[x]; 0.5 + t / 12 near t = 0, and not the sigmoid of t."""
        return 0.5 + _half_langevin(self.logits)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """A draw, by the inverse of the distribution function."""
        t = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        steep = t.abs().clamp(min=_TINY)
        # In [0, 1] and likelier near 0; mirrored where the logit is positive.
        low = -torch.log1p(torch.rand_like(t) * torch.expm1(-steep)) / steep
        return torch.where(t > 0, 1 - low, low).clamp(0, 1)


def _log_sinhc(t: Tensor) -> Tensor:
    """A(t) - t / 2 = log(sinh(t / 2) / (t / 2)), a series for |t| <= 1."""
    square = (t / 2).square()
    return square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square / 37800)))


def _half_langevin(t: Tensor) -> Tensor:
    """A'(t) - 1/2 = (coth(t / 2) - 2 / t) / 2."""
    small = t.abs() < _SMALL
    half = torch.where(small, t, 0.0) / 2
    square = half.square()
    series = half / 2 * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square / 4725)))
    far = torch.where(small, _SMALL, t.abs())
    closed = -1 / torch.expm1(-far) - 1 / far - 0.5
    return torch.where(small, series, closed * t.sign())
