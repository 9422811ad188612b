"""Groups of directions of latents, one for each slot of a sentence, by how well clusters explain them.

The correlation of squares cannot tell which of two binary directions belong to one word: four points in a square are
independent in both coordinates. But the words of a slot are few clusters of its directions, and other directions have
more. So the best groups have the least squared distance from their clusters, one cluster for each word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The most directions whose groups are all compared; eight directions have 1,701 partitions in four groups.
MOST_DIRECTIONS = 8
# Objects that are clustered, starts of k-means, and the number of best groupings among which `rank` chooses.
_OBJECTS = 600
_TRIES = 3
_KEPT = 8


def best_groups(components: Floats, count: int, clusters: int, rank: int, seed: int) -> NDArray[np.int64]:
    """The group (D,), 0 to count - 1, of each of the uncorrelated `components` (N, D).

    rank: 0 is the grouping with the least squared distances, 1 the next. Later starts take higher ranks, and the
    evidence chooses.
    """
    from sklearn.cluster import KMeans

    D = components.shape[1]
    sample = components[:: max(1, len(components) // _OBJECTS)]
    # The means of V words lie in V - 1 dimensions.
    sizes = range(1, min(D - count + 1, max(1, clusters - 1)) + 1)
    means = min(clusters, len(sample))
    cost = {
        group: KMeans(means, n_init=_TRIES, random_state=seed % 2**32).fit(sample[:, group]).inertia_
        for size in sizes
        for group in combinations(range(D), size)
    }
    ordered = sorted(
        (sum(cost[group] for group in groups), groups)
        for groups in _partitions(tuple(range(D)), count)
        if all(group in cost for group in groups)
    )
    result = np.zeros(D, dtype=np.int64)
    if ordered:
        _, chosen = ordered[rank % min(_KEPT, len(ordered))]
        for number, group in enumerate(chosen):
            result[list(group)] = number
    return result


def _partitions(items: tuple[int, ...], count: int) -> Iterator[Sequence[tuple[int, ...]]]:
    """All partitions of items in `count` groups."""
    if count == 1:
        yield [items]
        return
    first, rest = items[0], items[1:]
    for size in range(len(rest) - count + 2):
        for others in combinations(rest, size):
            left = tuple(item for item in rest if item not in others)
            for groups in _partitions(left, count - 1):
                yield [(first, *others), *groups]
