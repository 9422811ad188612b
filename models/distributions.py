"""Distributions that Pyro and torch lack: continuous Bernoulli, count vectors, exact Dirichlet and Wishart samplers.

Continuous Bernoulli (`ContinuousBernoulli`): Loaiza-Ganem and Cunningham, "The continuous Bernoulli: fixing a
pervasive error in variational autoencoders", NeurIPS 2019, arXiv 1907.06845. With the logit t as natural parameter,

    p(x | t) = exp(t x - A(t)),   A(t) = log((e^t - 1) / t),   E[x] = A'(t) = 1 / (1 - e^-t) - 1 / t.

torch's class converts logits to clamped probabilities. In float32 its log density is wrong by 0.06 nats per pixel at a
logit of 17, and by 0.6 at 30. Its mean stays at 0.937, and its gradient keeps increasing the logit. At a logit of
0.004 the gradient of the normaliser vanishes by rounding. This class computes with logits only.

Counts (`Counts`): a multinomial that accepts a different total for every object.

Dirichlet (`SparseDirichlet`): draws that are exact for concentrations near 0.

Wishart (`BartlettWishart`, `bartlett`, `sample_scale_tril`): draws by the Bartlett decomposition, which are exact for
all degrees of freedom.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from mhng.models.rng import gamma, log_dirichlet, normal

# Below this |t| differences such as 1 / t cancel, and series are used. Their next term is below 1e-8.
_SMALL = 1.0

# Smallest |t| used for sampling; the difference from t = 0 is negligible.
_TINY = 1e-6


class ContinuousBernoulli(TorchDistribution):
    """Independent continuous Bernoulli variables in [0, 1] with real logits of any shape."""

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ContinuousBernoulli:
        """Expand the batch shape."""
        new: ContinuousBernoulli = self._get_checked_instance(ContinuousBernoulli, _instance)
        new.logits = self.logits.expand(batch_shape)
        super(ContinuousBernoulli, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of values in [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        t = self.logits
        small = t.abs() < _SMALL
        # Each branch gets valid inputs; otherwise NaN gradients of the unused branch would leak.
        near = torch.where(small, t, 0.0)
        far = torch.where(small, _SMALL, t)
        # Measured from the likelier end of the interval, where t x and A(t) cancel for large t.
        steep = far.abs()
        closed = far * (value - (far > 0).to(t.dtype)) - torch.log(-torch.expm1(-steep) / steep)
        return torch.where(small, near * (value - 0.5) - _log_sinhc(near), closed)

    @property
    def mean(self) -> Tensor:
        """E[x], which is 0.5 + t / 12 near t = 0. It differs from the sigmoid of t."""
        return 0.5 + _half_langevin(self.logits)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sample by inverting the cumulative distribution function."""
        t = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        steep = t.abs().clamp(min=_TINY)
        # A sample for a negative logit; mirrored where the logit is positive.
        low = -torch.log1p(torch.rand_like(t) * torch.expm1(-steep)) / steep
        return torch.where(t > 0, 1 - low, low).clamp(0, 1)


def _log_sinhc(t: Tensor) -> Tensor:
    """A(t) - t / 2 = log(sinh(t / 2) / (t / 2)) by its series, for |t| <= 1."""
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


# Total of a simulated count vector. The models condition on totals and do not define one.
SIMULATED_TOTAL = 100


class Counts(dist.Multinomial):
    """Multinomial(total, softmax(logits)) of counts x (..., D), where every x has its own total.

    `total_count` is used for sampling only, and the support allows any total, unlike torch's class. Densities are
    float64: in float32 the log factorials of large counts leave no significant digits.
    """

    support: Any = constraints.independent(constraints.nonnegative, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability including the multinomial coefficient: (...,)."""
        log_prob: Tensor = super().log_prob(value.double())
        return log_prob


class SparseDirichlet(dist.Dirichlet):
    """Pyro's Dirichlet with exact sampling for concentrations near 0, where torch's draws become uniform.

    Samples use torch's global generator, as Pyro sites do, and are positive.
    """

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Sample probabilities: (*sample_shape, *batch_shape, K)."""
        alpha = self.concentration.expand(self._extended_shape(torch.Size(sample_shape)))
        return log_dirichlet(None, alpha, float(alpha.min())).exp().clamp_min(torch.finfo(alpha.dtype).tiny)


class BartlettWishart(dist.Wishart):
    """torch's Wishart distribution with exact sampling.

    Samples use torch's global generator, as Pyro sites do.
    """

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Sample precision matrices: (*sample_shape, *batch_shape, L, L)."""
        shape = torch.Size(sample_shape)
        factor = self._unbroadcasted_scale_tril
        L = factor.shape[-1]
        df = self.df.expand(shape + self.batch_shape)
        # Valid for any factor F of the scale: Lambda = (F B)(F B)^T.
        half = factor @ bartlett(df, L, factor, None)
        return half @ half.mT


def bartlett(nu: Tensor, L: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Sample an upper triangular B with B B^T ~ Wishart(nu, I): nu (...,) -> (..., L, L).

    B_ii^2 ~ chi^2(nu - L + i) for i = 1..L, and N(0, 1) above the diagonal.
    """
    freedom = nu.unsqueeze(-1) - torch.arange(L - 1, -1, -1, dtype=like.dtype, device=like.device)
    chi_square = 2 * gamma(generator, freedom / 2)
    noise = normal(generator, freedom.unsqueeze(-1).expand(*freedom.shape, L))
    return noise.triu(1) + chi_square.clamp_min(torch.finfo(like.dtype).tiny).sqrt().diag_embed()


def sample_scale_tril(generator: torch.Generator, nu: Tensor, inverse_scale: Tensor) -> Tensor:
    """Sample the lower Cholesky factor of Lambda^-1, Lambda ~ Wishart(nu, W): (..., L, L).

    nu (...,); inverse_scale (..., L, L) is the lower Cholesky factor U of W^-1. Then Lambda = (U^-T B)(U^-T B)^T, and
    the factor of its inverse is U B^-T.
    """
    half = bartlett(nu, inverse_scale.shape[-1], inverse_scale, generator)
    return torch.linalg.solve_triangular(half.mT, inverse_scale, upper=False, left=False)
