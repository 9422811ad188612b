"""Sign numbers made comparable between draws: every draw is renumbered to agree best with one pivot draw.

The posterior does not change when signs are renumbered, so "sign 3" means something else in every chain, and may in
every draw (label switching; Stephens 2000). Here the pivot is the draw with the highest log joint over all chains,
and every draw takes the one-to-one renumbering that shares most objects with it (the Hungarian method on the
contingency table; Marin, Mengersen and Robert 2005). Agents that share a code are renumbered by one permutation,
from the table summed over agents; agents that never spoke (`no-com`) by one each.

For display, and for R-hat of what has a sign in its name. Relabelling cannot make two different partitions one: chains
in different basins stay apart.

The numbers that come out do not depend on those that go in. Signs are first ordered by what they name: the most
objects first, then the earliest object. So 0 is the sign that is largest in the pivot. Signs that name no object
follow in their raw order; they are interchangeable, and their components are draws from the prior.

Shapes: C chains, D draws, M agents, N objects, K signs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.metrics import partitions


class Relabelled(NamedTuple):
    """The permutations, and what they make of the draws."""

    permutation: NDArray[np.int16]  # (C, D, K), or (C, D, M, K): the new number of raw sign k
    weight: NDArray[np.float64]  # (C, D, M, K) share of the agent's objects with each new sign
    pivot: tuple[int, int]  # chain and draw


def relabel(signs: NDArray[Any], log_joint: NDArray[Any], K: int, *, together: bool) -> Relabelled:
    """Renumber the draws `signs` (C, D, M, N), in 0..K-1, to the one with the largest `log_joint` (C, D).

    together: one permutation for all agents, from their contingency tables added up; else one for each.
    """
    C, D, M, N = signs.shape
    chain, draw = divmod(int(np.nanargmax(log_joint)) if np.isfinite(log_joint).any() else 0, D)
    groups = [list(range(M))] if together else [[m] for m in range(M)]
    permutation = np.empty((C, D, len(groups), K), dtype=np.int16)
    for g, group in enumerate(groups):
        # All the group's agents in one row: adding up contingency tables is putting objects side by side.
        rows = signs[:, :, group].reshape(C, D, -1)
        pivot = _by_size(rows[chain, draw], K)[rows[chain, draw]]
        for c, d in np.ndindex(C, D):
            permutation[c, d, g] = _towards(pivot, rows[c, d], K)
    weight = np.empty((C, D, M, K))
    for c, d, m in np.ndindex(C, D, M):
        new = permutation[c, d, 0 if together else m]
        weight[c, d, m, new] = np.bincount(signs[c, d, m], minlength=K) / N
    return Relabelled(permutation[:, :, 0] if together else permutation, weight, (chain, draw))


def renumber(signs: NDArray[Any], permutation: NDArray[Any]) -> NDArray[Any]:
    """The draws (C, D, M, N) with the new numbers, from `Relabelled.permutation`."""
    each = np.broadcast_to(_for_each_agent(permutation), (*signs.shape[:3], permutation.shape[-1]))
    result: NDArray[Any] = np.take_along_axis(each, signs.astype(np.intp), axis=-1)
    return result


def reorder(components: NDArray[Any], permutation: NDArray[Any]) -> NDArray[Any]:
    """What belongs to signs, (C, D, M, K, ...), put where the new numbers are."""
    each = _for_each_agent(permutation)
    inverse = np.argsort(each, axis=-1)
    inverse = inverse.reshape(*inverse.shape, *[1] * (components.ndim - 4))
    result: NDArray[Any] = np.take_along_axis(components, inverse, axis=3)
    return result


def _for_each_agent(permutation: NDArray[Any]) -> NDArray[Any]:
    """(C, D, M or 1, K)."""
    return permutation if permutation.ndim == 4 else permutation[:, :, None]


def _by_size(row: NDArray[Any], K: int) -> NDArray[np.intp]:
    """The rank of every sign in a row (N,): most objects first, ties by the earliest object. (K,)."""
    counts = np.bincount(row, minlength=K)
    first = np.full(K, row.size, dtype=np.intp)
    first[row[::-1]] = np.arange(row.size)[::-1]
    rank = np.empty(K, dtype=np.intp)
    rank[np.lexsort((first, -counts))] = np.arange(K)
    return rank


def _towards(pivot: NDArray[np.intp], row: NDArray[Any], K: int) -> NDArray[np.intp]:
    """The new number of every raw sign in a row (N,), where the pivot's signs are 0, 1, ... by size: (K,)."""
    rank = _by_size(row, K)
    ranked = rank[row]
    rows, columns = int(pivot.max()) + 1, int(ranked.max()) + 1  # the signs in use, which come first in both
    table = np.bincount(pivot * columns + ranked, minlength=rows * columns).reshape(rows, columns)
    matched, to = partitions.match(table)
    new = np.full(K, -1, dtype=np.intp)
    new[to] = matched
    # What is left over, on both sides, keeps its order.
    new[new < 0] = np.setdiff1d(np.arange(K), matched)
    return new[rank]
