"""Conditions of a study: how the partner answers, and whether it keeps its beliefs.

mh, numerator, subtraction, binary     acceptance rules of `mhng.experiment.people.rules`
constant:C, tempered:T                 with a number
accept, reject                         constant:1, constant:0
known                                  mh; the partner keeps its beliefs, so that the law can be enumerated

torch is imported inside a function: the command line lists the conditions in its help.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mhng.experiment.errors import UsageError
from mhng.experiment.util.text import suggestion

_PLAIN = ("mh", "numerator", "subtraction", "binary")
_SHORT = {"accept": "constant:1", "reject": "constant:0", "known": "mh"}
# The parameter of a rule and its range.
_NUMBERS = {"constant": ("rate", 0.0, 1.0), "tempered": ("temperature", 1e-3, 1e3)}

NAMES = (*_PLAIN, "constant:C", "tempered:T", *_SHORT)


class Condition(NamedTuple):
    """One condition. name: as typed. rule: the acceptance rule of the partner, without short names."""

    name: str
    rule: str
    holds: bool  # whether the partner keeps its beliefs


def parse_condition(text: str, flag: str = "--partner") -> Condition:
    """Parse one condition. Raises UsageError that begins with `flag`."""
    rule = _SHORT.get(text, text)
    kind, colon, number = rule.partition(":")
    if (kind in _PLAIN and not colon) or (kind in _NUMBERS and _in_range(kind, number)):
        return Condition(text, rule, text == "known")
    if kind in _NUMBERS:
        _, low, high = _NUMBERS[kind]
        raise UsageError(f"{flag} is {text!r}; expected {kind}:NUMBER with a number from {low:g} to {high:g}")
    raise UsageError(f"{flag} is {text!r}; expected one of {', '.join(NAMES)}{suggestion(text, NAMES)}")


def accepts(rule: str, log_offered: float, log_current: float, u: float) -> bool:
    """Whether a listener takes an offer: log q(w') and log q(w), its normalised likelihoods; u uniform in [0, 1)."""
    import torch

    from mhng.experiment.people import rules

    kind, _, number = rule.partition(":")
    parameters = {_NUMBERS[kind][0]: float(number)} if number else {}
    pair = torch.tensor([log_offered, log_current], dtype=torch.float64)
    return u < float(rules.probability(kind, pair[0], pair[1], **parameters))


def _in_range(kind: str, text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    _, low, high = _NUMBERS[kind]
    return math.isfinite(value) and low <= value <= high
