"""A likelihood of your own: what is seen lies around what is imagined with Laplace noise of a learned scale.

    cd examples && python ../cli.py train --likelihood your_own_likelihood:Laplace

`python cli.py recall RUN --trust-plugins`, from the same folder, shows what its agents mean.
"""

import pyro.distributions as dist
import torch

from mhng.models.likelihoods import Likelihood


class Laplace(Likelihood):
    """The absolute error, not the squared one, is what counts: a few pixels that are far off cost less."""

    def __init__(self):
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor(-2.0))

    def forward(self, output):  # of the decoder: (B, *shape) -> a law of B observations
        return dist.Laplace(output, self.log_scale.clamp(-5, 2).exp()).to_event(output.dim() - 1)

    def mean(self, output):  # what recall shows
        return output
