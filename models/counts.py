"""The multinomial distribution of vectors of counts that need not have one total."""

from __future__ import annotations

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor


class Counts(TorchDistribution):
    """p(x | total of x): x (..., D) counts, Multinomial(total, softmax(logits)).

    torch's own takes one total for the whole batch. A density is of the value's own total, which is taken as given;
    `total` is for draws only.
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - as torch declares it
    support = constraints.independent(constraints.nonnegative, 1)

    def __init__(self, logits: Tensor, total: int, validate_args: bool | None = None) -> None:
        self.logits = logits.log_softmax(-1)
        self.total = total
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Counts | None = None) -> Counts:
        """The same for a larger batch."""
        new = self._get_checked_instance(Counts, _instance)
        new.logits = self.logits.expand(torch.Size(batch_shape) + self.event_shape)
        new.total = self.total
        super(Counts, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """Of `total` counts."""
        return self.total * self.logits.exp()

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """`total` counts each."""
        shape = self._extended_shape(torch.Size(sample_shape))
        law = torch.distributions.Multinomial(self.total, logits=self.logits)
        return law.sample(torch.Size(sample_shape)).expand(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log of the multinomial probability, coefficient included: (...,)."""
        if self._validate_args:
            self._validate_sample(value)
        coefficient = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        return coefficient + (value * self.logits).sum(-1)
