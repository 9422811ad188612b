"""Compare chains by their partitions: which chains share a basin, and how much evidence each basin has.

R-hat of scalars can be near 1 while chains hold different partitions with equal log joints. Draws of different chains
are therefore compared by ARI, which does not depend on how signs are numbered. Two chains share a basin if their
partitions are almost as similar as two draws of one chain.

Shapes: C chains, D draws, M agents, N objects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from mhng.experiment.metrics import partitions

# Two chains share a basin if their ARI is at most this much below the smaller ARI within either chain. Our choice:
# chains whose signs hold different classes differ by 0.1 or more.
SLACK = 0.05

# All pairs are compared, so the numbers of chains and draws are bounded.
MAX_CHAINS = 40
MAX_DRAWS = 8


class Basins(NamedTuple):
    """Agreement of the compared `chains` and their basins."""

    chains: list[int]
    agreement: NDArray[np.float64]  # (M, C, C) mean ARI between draws of two chains; on the diagonal, within a chain
    basin: list[int]  # (C,) the basin of each chain; basin 0 has the best evidence
    evidence: list[float]  # by basin: mean log evidence over the draws of its chains


def compare_chains(signs: NDArray[Any], log_evidence: NDArray[Any]) -> Basins:
    """Compare evenly spaced draws of the chains: signs (C, D, M, N), log_evidence (C, D)."""
    C, D, M, _ = signs.shape
    chosen = np.unique(np.linspace(0, C - 1, min(C, MAX_CHAINS)).round().astype(int))
    # More chains get fewer draws: the number of pairs is bounded.
    count = max(1, min(MAX_DRAWS, D, int(60 / len(chosen)) + 1))
    draws = np.unique(np.linspace(0, D - 1, count + 1).round().astype(int)[1:])
    if len(draws) == 1 and D > 1:
        draws = np.array([D // 2, D - 1])  # the ARI within a chain needs two draws
    agreement = np.ones((M, len(chosen), len(chosen)))
    for m in range(M):
        for a, b in zip(*np.triu_indices(len(chosen)), strict=True):
            first, second = signs[chosen[a], draws, m], signs[chosen[b], draws, m]
            pairs = [(i, j) for i in range(len(draws)) for j in range(len(draws)) if a != b or i < j]
            if pairs:
                value = float(np.mean([partitions.ari(first[i], second[j]) for i, j in pairs]))
                agreement[m, a, b] = agreement[m, b, a] = value
    evidence = log_evidence[chosen].mean(1)
    _, basin = connected_components(_share_basin(agreement), directed=False)
    means = {number: float(evidence[basin == number].mean()) for number in set(basin.tolist())}
    order = sorted(means, key=lambda number: -means[number])
    return Basins(
        chains=chosen.tolist(),
        agreement=agreement,
        basin=[order.index(number) for number in basin.tolist()],
        evidence=[means[number] for number in order],
    )


def _share_basin(agreement: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether two chains are as similar as draws of one chain, for every agent: (C, C)."""
    within = np.diagonal(agreement, axis1=1, axis2=2)
    smaller = np.minimum(within[:, :, None], within[:, None, :])
    return np.all(agreement >= smaller - SLACK, axis=0)
