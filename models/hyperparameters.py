"""Hyperparameters of a mixture, parsed from text such as "W=0.5,beta=0.1"."""

from __future__ import annotations

import inspect
import math
from typing import Any

# Constructor arguments of a mixture that are not hyperparameters.
_NOT_HYPERPARAMETERS = ("latent", "device")


def parse_prior(text: str) -> dict[str, float]:
    """Parse "NAME=NUMBER,..." into a dict. Raises ValueError if the text is malformed."""
    values: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, equals, number = (word.strip() for word in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name.isidentifier() or not math.isfinite(value):
            raise ValueError(f"is {text!r}; expected NAME=NUMBER pairs separated by commas, such as W=0.5,beta=0.1")
        if name in values:
            raise ValueError(f"is {text!r}; {name} is given twice")
        values[name] = value
    return values


def hyperparameter_names(family: type[Any]) -> list[str]:
    """Names of the hyperparameters of a mixture class: its constructor arguments without latent and device."""
    return [name for name in inspect.signature(family).parameters if name not in _NOT_HYPERPARAMETERS]
