"""What a reader of the user's own data gives, and the checks that all such readers share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError


class CustomData(NamedTuple):
    """N objects: one array for all agents, or one for each; images (N, C, H, W) in [0, 1] or features (N, D), float32.

    Of agents with several modalities there is an array for each of these, and an object that lacks it has NaN in all
    of its row. groups: how many arrays each agent has; if there is one number, all agents have the same. titles: of
    the arrays, for a reader. labels: int64 (N,), indices of class_names, or None. files: the name of each object, or
    none.
    """

    arrays: tuple[NDArray[np.float32], ...]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    files: tuple[str, ...] | None = None
    groups: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()


def finite_features(place: str, features: NDArray, *, may_lack: bool = False) -> NDArray[np.float32]:
    """Features (N, D) as float32. UsageError naming the row and column of one that is not finite there.

    may_lack: a row may be NaN throughout.
    """
    with np.errstate(over="ignore"):
        found: NDArray[np.float32] = features.astype(np.float32, order="C")
    wrong = ~np.isfinite(found)
    if may_lack:
        wrong &= ~np.isnan(features).all(1, keepdims=True)
    wrong = np.argwhere(wrong)
    if len(wrong):
        n, d = wrong[0]
        raise UsageError(f"{place} must be finite numbers below 3e38; [{n}, {d}] is {features[n, d]}")
    return found
