"""Likelihoods p(x | z) of observations, given the decoder's output.

A likelihood is a module called with the decoder's output (B, *shape). It returns a Pyro distribution whose event is
one observation, so the plate over objects is its only batch dimension. To add a likelihood, derive a class from
`Likelihood` and add a line to `mhng.models.registry`, or pass `--likelihood my_module:MyLikelihood`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from mhng.models.distributions import SIMULATED_TOTAL, ContinuousBernoulli, Counts

# A noise scale near zero gives an unbounded density for memorised training data.
_LOG_NOISE_BOUNDS = (-4.0, 2.0)


class Likelihood(nn.Module):
    """Base class. A subclass implements `forward` and `mean`, and declares its data requirements.

    needs_unit_interval: observations are images with pixels in [0, 1].
    needs_counts: observations are count vectors; they are not standardised or reduced.
    has_network: whether encoder and decoder map between z and x; False means z = x.
    options: names of settings passed to the constructor as keyword arguments.
    """

    needs_unit_interval: ClassVar[bool] = False
    needs_counts: ClassVar[bool] = False
    has_network: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()

    def forward(self, output: Tensor) -> Any:
        """p(x | z) given the decoder's output (B, *shape), a Pyro distribution of batch shape (B,)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement forward")

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation (B, *shape), shown by `recall`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement mean")

    def encoder_input(self, x: Tensor) -> Tensor:
        """Transform observations x (B, *shape) for the encoder; the shape stays the same."""
        return x


class Bernoulli(Likelihood):
    """Pixels in [0, 1] as Bernoulli means; the decoder outputs logits.

    Grey pixels are soft targets: the log density is the cross-entropy between grey value and decoder probability, the
    usual VAE loss on MNIST. Validation is off, because grey values are outside the support {0, 1}. The range [0, 1] is
    checked when the data are loaded.
    """

    needs_unit_interval = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=output, validate_args=False).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return torch.sigmoid(output)


class ContinuousPixels(Likelihood):
    """Pixels in [0, 1] with a normalised density (continuous Bernoulli); the decoder outputs logits.

    The expected pixel is the mean of the distribution, which is nearer to 0.5 than the sigmoid of the logit
    (Loaiza-Ganem and Cunningham 2019).
    """

    needs_unit_interval = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return ContinuousBernoulli(output).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return ContinuousBernoulli(output, validate_args=False).mean


class Gaussian(Likelihood):
    """Real-valued observations; the decoder outputs means, and a single noise scale is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.log_noise = nn.Parameter(torch.tensor(-1.0))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        noise = self.log_noise.clamp(*_LOG_NOISE_BOUNDS).exp()
        return dist.Normal(output, noise).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output


class FixedGaussian(Likelihood):
    """Real-valued observations with a fixed noise standard deviation; the decoder outputs means.

    Raises:
        ValueError: the noise is not positive and finite.
    """

    options = ("noise",)

    def __init__(self, noise: float) -> None:
        super().__init__()
        if not (noise > 0 and math.isfinite(noise)):
            raise ValueError(f"the noise is {noise}; expected a positive, finite number")
        self.noise: Tensor  # a buffer, so that it is on the device of the output
        self.register_buffer("noise", torch.tensor(noise), persistent=False)

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Normal(output, self.noise).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output


class Multinomial(Likelihood):
    """Counts in D categories; each object's total is given, and the decoder outputs logits of the categories.

    x ~ Multinomial(sum of x, softmax(logits)), as for words of a document (Miao, Yu and Blunsom 2016, "Neural
    variational inference for text processing", arXiv 1511.06038). The encoder receives log(1 + x), because counts span
    orders of magnitude. A simulated object has `SIMULATED_TOTAL` counts.
    """

    needs_counts = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return Counts(SIMULATED_TOTAL, logits=output.double(), validate_args=False)

    def mean(self, output: Tensor) -> Tensor:
        """The expected relative frequencies, which sum to 1."""
        return output.softmax(-1)

    def encoder_input(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.log1p()


class Identity(Likelihood):
    """No VAE: the latent is the observation, z = x (Inter-GMM). There are no network parameters to learn."""

    has_network = False

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Delta(output, event_dim=output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output
