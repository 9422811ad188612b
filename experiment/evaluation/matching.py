"""Match signs to classes on the run's own objects.

The matching is computed once, on the run's objects, and then applied to new objects. A matching fitted to the new
objects would overstate the accuracy. Labels are used for scores and captions only.

Notation: K signs. `signs` (N,) are the signs of one agent, `labels` (N,) indices of the class names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.metrics import partitions
from mhng.models.languages import Sentences

Ints = NDArray[np.int64]


def contingency_table(signs: Ints, labels: Ints, K: int, classes: int) -> Ints:
    """Count the objects of each class under each sign: (K, classes)."""
    return np.bincount(signs * classes + labels, minlength=K * classes).reshape(K, classes)


def match_signs(counts: Ints) -> Ints:
    """Match signs to classes one-to-one, maximising the number of correct objects: counts (K, classes) -> (K,).

    -1 marks a sign without a class: there are more signs than classes, or the sign has no objects.
    """
    result = np.full(len(counts), -1, dtype=np.int64)
    rows, columns = partitions.match(counts)
    result[rows] = columns
    result[counts.sum(1) == 0] = -1
    return result


def sign_colours(signs: Ints, labels: Ints | None, K: int, classes: int) -> list[int]:
    """The number of each sign's colour: that of its class, -1 without a class; its own number without labels."""
    if labels is None:
        return list(range(K))
    return match_signs(contingency_table(signs, labels, K, classes)).tolist()


def captions(counts: Ints, class_names: Sequence[str]) -> list[str]:
    """For each sign its most frequent class with its share, "7, 92%"; "unused" for a sign without objects."""
    result = []
    for row in counts:
        k = int(row.argmax())
        result.append(f"{class_names[k]}, {row[k] / row.sum():.0%}" if row.sum() else "unused")
    return result


def sign_titles(sentences: Sentences | None, signs: Iterable[int]) -> list[str]:
    """ "sign 3", or the words of a sentence, "3 7"."""
    if sentences is None:
        return [f"sign {sign}" for sign in signs]
    return [" ".join(map(str, sentences.digits(int(sign)))) for sign in signs]
