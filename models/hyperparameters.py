"""Hyperparameters of a mixture from one line of text, such as "W=0.5,beta=0.1": those that its constructor takes."""

from __future__ import annotations

import inspect
import math
from typing import Any

# What a constructor takes beside hyperparameters.
_OTHERS = ("latent", "device")


def parse_prior(text: str) -> dict[str, float]:
    """Name -> number. ValueError says what is wrong with the text."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, equals, number = (word.strip() for word in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not name.isidentifier() or not math.isfinite(value):
            raise ValueError(f"must be NAME=NUMBER, with commas between, as in W=0.5,beta=0.1; it is {text!r}")
        if name in found:
            raise ValueError(f"gives {name} twice; it is {text!r}")
        found[name] = value
    return found


def hyperparameter_names(family: type[Any]) -> list[str]:
    """The names that a family of `mhng.models.mixtures` takes."""
    return [name for name in inspect.signature(family).parameters if name not in _OTHERS]
