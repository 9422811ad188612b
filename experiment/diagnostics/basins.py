"""Whether chains sit in the same place: how alike their partitions are, and how far apart their evidence is.

R-hat of scalars can be near 1 while chains hold different partitions with equal log joints. Here each chain's draws
are compared with each other chain's, by ARI, which no numbering changes, and two chains share a basin if their
partitions are (nearly) as alike as two draws of one of them.

Shapes: C chains, D draws, M agents, N objects.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from mhng.experiment.metrics import partitions

# By how much the ARI between two chains may be below the smaller ARI within one of them, if they share a basin. Our
# own choice: chains whose signs hold other classes differ by 0.1 and more.
SLACK = 0.05

# Of more chains only so many are compared, and so many draws of each: all pairs of them are.
MOST_CHAINS = 40
DRAWS = 8


class Basins(NamedTuple):
    """What is in common between chains. Chains are those in `chains`, the others were not compared."""

    chains: list[int]
    agreement: NDArray[np.float64]  # (M, C, C) mean ARI between draws of two chains; within one on the diagonal
    basin: list[int]  # (C,) the basin of each chain, 0 the one with the best evidence
    evidence: list[float]  # of each basin: mean log evidence over its chains' draws


def compare(signs: NDArray[Any], log_evidence: NDArray[Any]) -> Basins:
    """Compare chains by draws spread over them: signs (C, D, M, N), log_evidence (C, D)."""
    C, D, M, _ = signs.shape
    chosen = np.unique(np.linspace(0, C - 1, min(C, MOST_CHAINS)).round().astype(int))
    # With many chains few draws of each: the number of pairs is bounded.
    count = max(1, min(DRAWS, D, int(60 / len(chosen)) + 1))
    draws = np.unique(np.linspace(0, D - 1, count + 1).round().astype(int)[1:])
    if len(draws) == 1 and D > 1:
        draws = np.array([D // 2, D - 1])  # within a chain two draws are needed
    agreement = np.ones((M, len(chosen), len(chosen)))
    for m in range(M):
        for a, b in zip(*np.triu_indices(len(chosen)), strict=True):
            one, other = signs[chosen[a], draws, m], signs[chosen[b], draws, m]
            pairs = [(i, j) for i in range(len(draws)) for j in range(len(draws)) if a != b or i < j]
            if pairs:
                value = float(np.mean([partitions.ari(one[i], other[j]) for i, j in pairs]))
                agreement[m, a, b] = agreement[m, b, a] = value
    evidence = log_evidence[chosen].mean(1)
    _, basin = connected_components(_alike(agreement), directed=False)
    means = {name: float(evidence[basin == name].mean()) for name in set(basin.tolist())}
    order = sorted(means, key=lambda name: -means[name])
    return Basins(
        chains=chosen.tolist(),
        agreement=agreement,
        basin=[order.index(name) for name in basin.tolist()],
        evidence=[means[name] for name in order],
    )


def _alike(agreement: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(C, C): as alike as draws of one chain, in the eyes of every agent."""
    within = np.diagonal(agreement, axis1=1, axis2=2)
    least = np.minimum(within[:, :, None], within[:, None, :])
    return np.all(agreement >= least - SLACK, axis=0)
