"""Text for messages of one line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


def decimal(value: float | None, digits: int = 3) -> str:
    """For a reader; "-" for what is not known."""
    return "-" if value is None else f"{value:.{digits}f}"


# Characters of a value in a message
_MOST_SHOWN = 100


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """ "; did you mean ...?" for the nearest of `right`, or nothing."""
    near = difflib.get_close_matches(wrong, list(right), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def short_repr(value: Any) -> str:
    """For a message of one line, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of too many digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def short_number(number: float) -> str:
    if abs(number) < 10**20:
        return str(number)
    return f"{'-' if number < 0 else ''}10**{int(math.log10(abs(number)))} or so"
