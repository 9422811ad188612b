"""The multinomial distribution of vectors of counts that need not have one total."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from pyro.distributions import constraints
from torch import Tensor

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
