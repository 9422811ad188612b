"""Random numbers of a study: each is a hash of the seed and its name.

A draw has no state, so a session that is replayed from its log has the same draws, on every machine.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence


def uniform(seed: int, *name: object) -> float:
    """A number in [0, 1) with 53 random bits."""
    digest = hashlib.sha256("/".join(map(str, (seed, *name))).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def integer(below: int, seed: int, *name: object) -> int:
    """An integer from 0 to below - 1."""
    return int(uniform(seed, *name) * below)


def order(count: int, seed: int, *name: object) -> list[int]:
    """A random order of 0 to count - 1."""
    return sorted(range(count), key=lambda n: uniform(seed, *name, n))


def choice(logits: Sequence[float], u: float) -> int:
    """Draw an index from unnormalised log probabilities, by inversion of `u` in [0, 1)."""
    peak = max(logits)
    weights = [math.exp(value - peak) for value in logits]
    level, reached = u * sum(weights), 0.0
    for index, weight in enumerate(weights):
        reached += weight
        if level < reached:
            return index
    return max(index for index, weight in enumerate(weights) if weight > 0)
