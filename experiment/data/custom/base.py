"""Result of the readers of user data, and the checks that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError

# Largest rounding error of float64, as a share of a column's range
_LOSS = 1e-6
# Integers up to this size are exact in float64.
EXACT = 2**53
# With fewer rows, a column may number the rows by chance.
_LEAST_ROWS = 8
_MOST = float(np.finfo(np.float32).max)


class CustomData(NamedTuple):
    """N objects: one array for all agents, or one per agent.

    An array holds images (N, C, H, W) in [0, 1], float32, or features (N, D), float32 or float64. Features keep the
    precision of their source: the mean may be large against the spread.

    An agent with several modalities has one array per modality. An object without a modality has NaN in its whole row.
    groups: number of arrays of every agent; a single number holds for all agents. titles: names of the arrays, for
    display. labels: int64 (N,), indices of class_names, or None. files: the name of each object, or None. notes:
    sentences about data that are suspicious or left out.
    """

    arrays: tuple[NDArray[np.floating], ...]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    files: tuple[str, ...] | None = None
    groups: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def finite_features(place: str, features: NDArray, *, may_lack: bool = False) -> NDArray[np.floating]:
    """Features (N, D) as float32 if that is exact for their type, else as float64.

    Raises UsageError with the row and column of a number that is not finite, or the column of integers that float64
    cannot tell apart. may_lack: whether a row may consist of NaN.
    """
    if features.dtype.kind in "iu" and features.dtype.itemsize == 8:
        for d, column in enumerate(features.T):
            check_distinct(f"{place}: column {d}", int(column.min()), int(column.max()))
    exact = np.can_cast(features.dtype, np.float32, "safe")
    with np.errstate(over="ignore"):
        result: NDArray[np.floating] = features.astype(np.float32 if exact else np.float64, order="C")
    wrong = ~(np.abs(result) <= _MOST)
    if may_lack:
        wrong &= ~np.isnan(result).all(1, keepdims=True)
    wrong = np.argwhere(wrong)
    if len(wrong):
        n, d = wrong[0]
        raise UsageError(f"{place} must be finite numbers below 3e38; [{n}, {d}] is {features[n, d]}")
    return result


def counting_notes(place: str, features: NDArray[np.floating], titles: Sequence[str] = ()) -> tuple[str, ...]:
    """Notes on the columns of features (N, D) that number the rows, in any order. titles: names of the columns."""
    notes = []
    candidates = np.flatnonzero(features.max(0) - features.min(0) == len(features) - 1)
    for d in candidates.tolist() if len(features) >= _LEAST_ROWS else ():
        if np.all(np.diff(np.sort(features[:, d])) == 1):
            title = f" ({titles[d][:40]})" if titles else ""
            notes.append(
                f"{place}: feature {d + 1}{title} numbers the rows ({features[0, d]:g}, {features[1, d]:g}, ...); "
                "agents see it as a feature; leave it out if it is an index"
            )
    return tuple(notes)


def check_distinct(place: str, least: Any, most: Any) -> None:
    """Raise UsageError if float64 rounds numbers from `least` to `most` by more than 1e-6 of their range.

    least, most: exact numbers, int or Decimal.
    """
    error = math.ulp(float(max(abs(least), abs(most)))) / 2
    if least < most and error > _LOSS * float(most - least):
        raise UsageError(
            f"{place} has numbers from {least} to {most}, too close together for float64; subtract a constant"
        )
