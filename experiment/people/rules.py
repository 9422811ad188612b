"""Acceptance rules: the probability that a listener takes an offered sign.

A listener holds sign w and is offered w'. Let q(k) = L(k) / sum_j L(j) be its likelihood over signs, normalised.
Every rule is a function of q(w'), q(w) and r = q(w') / q(w) = L(w') / L(w):

    mh            min(1, r)                         Metropolis-Hastings
    numerator     q(w')                             the offered sign alone
    subtraction   clip((q(w') - q(w) + 1) / 2)      the difference, from 0 to 1
    binary        1[r >= 1]                         the better sign
    constant      c                                 the offer is not looked at
    tempered      min(1, exp(a) r^(1 / T))          mh with a bias a and a temperature T; mh: a = 0, T = 1
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.util.text import suggestion

Number = Tensor | float


def mh(log_offered: Tensor, log_current: Tensor) -> Tensor:
    return (log_offered - log_current).clamp(max=0).exp()


def numerator(log_offered: Tensor, log_current: Tensor) -> Tensor:
    return log_offered.exp()


def subtraction(log_offered: Tensor, log_current: Tensor) -> Tensor:
    return ((log_offered.exp() - log_current.exp() + 1) / 2).clamp(0, 1)


def binary(log_offered: Tensor, log_current: Tensor) -> Tensor:
    return (log_offered >= log_current).to(log_offered.dtype)


def constant(log_offered: Tensor, log_current: Tensor, rate: Number = 0.5) -> Tensor:
    return torch.zeros_like(log_offered) + rate


def tempered(log_offered: Tensor, log_current: Tensor, bias: Number = 0.0, temperature: Number = 1.0) -> Tensor:
    return (bias + (log_offered - log_current) / temperature).clamp(max=0).exp()


RULES: dict[str, Callable[..., Tensor]] = {
    "mh": mh,
    "numerator": numerator,
    "subtraction": subtraction,
    "binary": binary,
    "constant": constant,
    "tempered": tempered,
}


def probability(rule: str, log_offered: Tensor, log_current: Tensor, **parameters: Number) -> Tensor:
    """Probability of taking the offered sign, elementwise.

    `log_offered` and `log_current` are log q(w') and log q(w), of any broadcast shape. `rate` belongs to the rule
    constant, `bias` and `temperature` to the rule tempered. Raises UsageError for an unknown rule.
    """
    if rule not in RULES:
        raise UsageError(f"rule is {rule}; expected one of {', '.join(RULES)}{suggestion(rule, RULES)}")
    return RULES[rule](*torch.broadcast_tensors(log_offered, log_current), **parameters)


def with_lapses(accept: Tensor, lapse: Number, lapse_rate: Number = 0.5) -> Tensor:
    """Mix a rule with answers that ignore the offer: (1 - lapse) accept + lapse lapse_rate."""
    return (1 - lapse) * accept + lapse * lapse_rate
