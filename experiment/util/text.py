"""Values as text for messages of one line."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

_MAX_REPR = 100  # characters

# Names that other programs have for options of this one, without dashes; the first that fits is suggested.
_OTHER_NAMES = {
    **dict.fromkeys(("out", "output", "out-dir", "outdir", "output-dir", "run-dir", "dir"), ("run-dir", "out")),
    **dict.fromkeys(("k", "clusters", "n-clusters", "num-clusters", "n-components", "num-signs"), ("signs",)),
    **dict.fromkeys(("learning-rate", "step-size"), ("lr",)),
    **dict.fromkeys(("gpu", "cuda", "cpu"), ("device",)),
    **dict.fromkeys(("warmup", "warmup-steps", "burn"), ("burn-in",)),
    **dict.fromkeys(("iterations", "num-samples", "draws", "steps"), ("sweeps",)),
    **dict.fromkeys(("workers", "num-workers", "processes"), ("jobs", "threads")),
    **dict.fromkeys(("force", "replace"), ("overwrite",)),
    **dict.fromkeys(("z-dim", "latents", "latent-size"), ("latent-dim",)),
    "random-state": ("seed",),
}


def decimal(value: float | None, digits: int = 3) -> str:
    """Format a number with fixed decimals; "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def decimal_beside(value: float, limit: float, digits: int = 3) -> str:
    """Format a number with fixed decimals, and with more where these would hide on which side of `limit` it lies."""

    def side(number: float) -> int:
        return (number > limit) - (number < limit)

    while digits < 9 and side(round(value, digits)) != side(value):
        digits += 1
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """A time as text with its unit: "40 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def percent(share: float | None) -> str:
    """Format a share as a whole percentage; "-" for None."""
    return "-" if share is None else f"{share:.0%}"


def short_repr(value: Any) -> str:
    """`repr(value)`, cut after 100 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print an integer of thousands of digits
        return "a number with too many digits"
    return text if len(text) <= _MAX_REPR else f"{text[:_MAX_REPR]}..."


def short_number(number: float) -> str:
    """A number as text; only the order of magnitude from 10**20 on."""
    if abs(number) < 10**20:
        return str(number)
    return f"{'-' if number < 0 else ''}10**{int(math.log10(abs(number)))} or so"


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """The ending "; did you mean X?" for `wrong`, X a choice with the same meaning or a similar name; or ""."""
    choices = list(right)
    names = _OTHER_NAMES.get(_plain_name(wrong), ())
    meant = [choice for name in names for choice in choices if _plain_name(choice) == name]
    near = meant or difflib.get_close_matches(wrong, choices, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _plain_name(text: str) -> str:
    """Convert a flag, a key or a keyword argument to the form of a key."""
    return text.lstrip("-").replace("_", "-").lower()
