"""p(x | z): what the decoder's output says about an observation.

A likelihood is a module called with the decoder's output (B, *shape); it returns a Pyro distribution whose
event is one observation, so that the plate over objects is its only batch dimension.
"""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

# A noise scale that falls to zero would buy unbounded density by copying the training data.
_LOG_NOISE_BOUNDS = (-4.0, 2.0)


class Bernoulli(nn.Module):
    """Pixels in [0, 1] as Bernoulli means; the decoder gives logits.

    Grey pixels are soft targets: the log density is the cross-entropy between the pixel's grey value and the
    decoder's probability, the usual VAE loss on MNIST. Nothing is binarised. Validation is off for this one
    distribution, because a grey value is outside the support {0, 1}; that pixels lie in [0, 1] is checked
    when the data are loaded.
    """

    needs_unit_interval = True
    has_network = True

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=output, validate_args=False).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return torch.sigmoid(output)


class Gaussian(nn.Module):
    """Real-valued observations: the decoder gives means, and one noise scale is learned for all of them."""

    needs_unit_interval = False
    has_network = True

    def __init__(self) -> None:
        super().__init__()
        self.log_noise = nn.Parameter(torch.tensor(-1.0))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        noise = self.log_noise.clamp(*_LOG_NOISE_BOUNDS).exp()
        return dist.Normal(output, noise).to_event(output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output


class Identity(nn.Module):
    """No VAE: the observation is the percept, z = x (Inter-GMM). There is nothing to learn by SVI."""

    needs_unit_interval = False
    has_network = False

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Delta(output, event_dim=output.dim() - 1)

    def mean(self, output: Tensor) -> Tensor:
        """The expected observation."""
        return output
