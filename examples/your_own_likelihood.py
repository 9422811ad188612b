"""Train with a custom likelihood: Laplace noise with a learned scale around the decoder's output.

    cd examples && python ../cli.py train --likelihood your_own_likelihood:Laplace

To decode the signs: `python ../cli.py recall RUN --trust-plugins`, in the same folder.
"""

import pyro.distributions as dist
import torch

from mhng.models.likelihoods import Likelihood


class Laplace(Likelihood):
    """p(x | z) = Laplace(output, scale). Outlier pixels cost less than with Gaussian noise."""

    def __init__(self):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor(-2.0))

    def forward(self, output):  # decoder output (B, *shape) -> distribution of B observations
        return dist.Laplace(output, self.log_scale.clamp(-5, 2).exp()).to_event(output.dim() - 1)

    def mean(self, output):  # expected observation, shown by recall
        return output
