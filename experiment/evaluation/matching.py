"""What a vocabulary names: how a run's signs meet the classes of its own objects.

The matching is fitted once, on the objects of the run, and then judges what is new: fitted anew on new objects it
would flatter. Labels are used for scores and captions, nowhere else.

Notation: K signs; `signs` (N,) are one agent's, `labels` (N,) indices of the class names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.metrics import partitions

Ints = NDArray[np.int64]


def table(signs: Ints, labels: Ints, K: int, classes: int) -> Ints:
    """How many objects of each class every sign names: (K, classes)."""
    return np.bincount(signs * classes + labels, minlength=K * classes).reshape(K, classes)


def matching(counts: Ints) -> Ints:
    """The class that each sign is matched to, one to one, so that most objects are right: counts (K, classes) -> (K,).

    -1: a sign that is left over, because there are more signs than classes or because it names no object: no pairing
    of it would rest on anything.
    """
    result = np.full(len(counts), -1, dtype=np.int64)
    rows, columns = partitions.match(counts)
    result[rows] = columns
    result[counts.sum(1) == 0] = -1
    return result


def captions(counts: Ints, class_names: Sequence[str]) -> list[str]:
    """For each sign the class that it names most, and its share: "7, 92%"; "unused" for a sign without objects."""
    found = []
    for row in counts:
        most = int(row.argmax())
        found.append(f"{class_names[most]}, {row[most] / row.sum():.0%}" if row.sum() else "unused")
    return found
