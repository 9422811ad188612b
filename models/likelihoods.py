"""p(x | z): what the decoder's output says about an observation.

A likelihood is a module called with the decoder's output (B, *shape); it returns a Pyro distribution whose
event is one observation, so that the plate over objects is its only batch dimension. To write one, derive a class
from `Likelihood`, name it in the registry of `models`, or give it on the command line as
`--likelihood my_module:MyLikelihood`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from mhng.models.distributions import SIMULATED_TOTAL, ContinuousBernoulli, Counts

# A noise scale that falls to zero would buy unbounded density by copying the training data.
_LOG_NOISE_BOUNDS = (-4.0, 2.0)


class Likelihood(nn.Module):
    """What all share. A subclass has `forward` and `mean`, and says what it needs of the data.

    needs_unit_interval: observations are images with pixels in [0, 1].
    needs_counts: observations are vectors of whole numbers, 0 or more; nothing standardises or reduces them.
    has_network: z is another thing than the observation, and networks go from one to the other.
    takes: names of settings that the constructor is given, by keyword.
    """

    needs_unit_interval: ClassVar[bool] = False
    needs_counts: ClassVar[bool] = False
    has_network: ClassVar[bool] = True
    options: ClassVar[tuple[str, ...]] = ()

    def forward(self, output: Tensor) -> Any:
        """The Pyro distribution of observations, given the decoder's output (B, *shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation, (B, *shape): what recall shows."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    def encoder_input(self, x: Tensor) -> Tensor:
        """What the encoder is given of observations x (B, *shape); of the same shape."""
        return x


class Bernoulli(Likelihood):
    """Pixels in [0, 1] as Bernoulli means; the decoder gives logits.

    Grey pixels are soft targets: the log density is the cross-entropy between the pixel's grey value and the
    decoder's probability, the usual VAE loss on MNIST. Nothing is binarised. Validation is off for this one
    distribution, because a grey value is outside the support {0, 1}; that pixels lie in [0, 1] is checked
    when the data are loaded.
    """

    needs_unit_interval = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=output, validate_args=False).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return torch.sigmoid(output)


class ContinuousPixels(Likelihood):
    """Pixels in [0, 1] as continuous values: a density that is normalised, unlike that of soft targets.

    The decoder gives logits (Loaiza-Ganem and Cunningham 2019). The expected pixel is the distribution's mean, which
    is greyer than the sigmoid of the logit.
    """

    needs_unit_interval = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return ContinuousBernoulli(output).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return ContinuousBernoulli(output, validate_args=False).mean


class Gaussian(Likelihood):
    """Real-valued observations: the decoder gives means, and one noise scale is learned for all of them."""

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
    """Real-valued observations with noise of one fixed standard deviation, in units of the observation.

    Raises:
        ValueError: the noise is not a positive number.
    """

    options = ("noise",)

    def __init__(self, noise: float) -> None:
        super().__init__()
        if not (noise > 0 and math.isfinite(noise)):
            raise ValueError(f"the noise must be positive and finite; it is {noise}")
        self.noise: Tensor  # where the output is, so that no step has to bring it there; a setting, not learned
        self.register_buffer("noise", torch.tensor(noise), persistent=False)

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Normal(output, self.noise).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output


class Multinomial(Likelihood):
    """Counts of D kinds of things: each object's own total is given, and the decoder gives logits of the kinds.

    x ~ Multinomial(sum of x, softmax(logits)), as words of a document (Miao, Yu and Blunsom 2016, "Neural variational
    inference for text processing", arXiv 1511.06038). The encoder sees log(1 + x), because counts span orders of
    magnitude. An object without observations is simulated with a total of `SIMULATED_TOTAL`.
    """

    needs_counts = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return Counts(SIMULATED_TOTAL, logits=output.double(), validate_args=False)

    def mean(self, output: Tensor) -> Tensor:
        """The expected shares of an object's total, which add up to 1."""
        return output.softmax(-1)

    def encoder_input(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.log1p()


class Identity(Likelihood):
    """No VAE: the observation is the percept, z = x (Inter-GMM). There is nothing to learn by SVI."""

    has_network = False

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Delta(output, event_dim=output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output
