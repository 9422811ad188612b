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

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from mhng.models.rng import Streams, gamma, normal

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


# How many counts an object has that is simulated and not observed: no model here says anything about it.
SIMULATED_TOTAL = 100


class Counts(dist.Multinomial):
    """p(x | total of x): x (..., D) counts, Multinomial(total, softmax(logits)).

    torch's own density is of the value's own total too, but its support is one total for the whole batch. Here the
    total that it is made with is for draws only. In float64: log factorials of thousands of counts leave no digits of
    a float32 for what differs.
    """

    support: Any = constraints.independent(constraints.nonnegative, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the multinomial probability, coefficient included: (...,)."""
        found: Tensor = super().log_prob(value.double())
        return found


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


def sample_scale_tril(generator: Streams, nu: Tensor, inverse_scale: Tensor) -> Tensor:
    """The lower factor of Lambda^-1, Lambda ~ Wishart(nu, W): nu (...,), inverse_scale the factor of W^-1 (..., L, L).

    With W^-1 = U U^T, Lambda = (U^-T B)(U^-T B)^T; the factor of its inverse is U B^-T, lower triangular.
    """
    half = bartlett(nu, inverse_scale.shape[-1], inverse_scale, generator)
    return torch.linalg.solve_triangular(half.mT, inverse_scale, upper=False, left=False)
