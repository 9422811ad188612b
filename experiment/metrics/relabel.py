"""Relabelling of signs: renumber every draw to agree best with one pivot draw.

The posterior is invariant to the numbering of signs, so "sign 3" differs between chains and may differ between draws
(label switching; Stephens 2000). The pivot is the draw with the highest log joint over all chains. Every draw gets the
one-to-one renumbering that shares most objects with the pivot (Hungarian method on the contingency table; Marin,
Mengersen and Robert 2005). Agents that share a code get one permutation, from the sum of their tables. Agents without
communication (`no-com`) get one permutation each.

For display, and for R-hat of quantities per sign. Relabelling does not merge different partitions: chains in different
basins stay apart.

The new numbers do not depend on the old ones. Signs are ordered by size, then by their earliest object, so sign 0 is
the largest sign of the pivot. Signs without objects follow in their raw order. They are interchangeable, and their
components are draws from the prior.

Words of sentences are renumbered by `renumber_words`: exchanging two slots, or the words of a slot, does not change
the law of a game either.

Shapes: C chains, D draws, M agents, N objects, K signs; S slots and V words of sentences.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.metrics import partitions


class Relabelled(NamedTuple):
    """Permutations, shares of objects per new sign, and the pivot."""

    permutation: NDArray[np.int16]  # (C, D, K) or (C, D, M, K): new number of raw sign k
    weight: NDArray[np.float64]  # (C, D, M, K) share of the agent's objects with each new sign
    pivot: tuple[int, int]  # chain and draw


def relabel(signs: NDArray[Any], log_joint: NDArray[Any], K: int, *, together: bool) -> Relabelled:
    """Relabel the draws `signs` (C, D, M, N), in 0..K-1, by the draw with the largest `log_joint` (C, D).

    together: one permutation for all agents, from the sum of their contingency tables; else one per agent.
    """
    C, D, M, N = signs.shape
    chain, draw = find_pivot(log_joint)
    groups = [list(range(M))] if together else [[m] for m in range(M)]
    permutation = np.empty((C, D, len(groups), K), dtype=np.int16)
    for g, group in enumerate(groups):
        # All agents of the group in one row: concatenating objects sums the contingency tables.
        rows = signs[:, :, group].reshape(C, D, -1)
        pivot = _rank_by_size(rows[chain, draw], K)[rows[chain, draw]]
        for c, d in np.ndindex(C, D):
            permutation[c, d, g] = _match_to_pivot(pivot, rows[c, d], K)
    weight = np.empty((C, D, M, K))
    for c, d, m in np.ndindex(C, D, M):
        new = permutation[c, d, 0 if together else m]
        weight[c, d, m, new] = np.bincount(signs[c, d, m], minlength=K) / N
    return Relabelled(permutation[:, :, 0] if together else permutation, weight, (chain, draw))


def find_pivot(log_joint: NDArray[Any]) -> tuple[int, int]:
    """Chain and draw with the largest log joint (C, D)."""
    return divmod(int(np.nanargmax(log_joint)) if np.isfinite(log_joint).any() else 0, log_joint.shape[1])


def renumber(signs: NDArray[Any], permutation: NDArray[Any]) -> NDArray[Any]:
    """Apply `Relabelled.permutation` to draws (C, D, M, N)."""
    by_agent = np.broadcast_to(_with_agent_axis(permutation), (*signs.shape[:3], permutation.shape[-1]))
    result: NDArray[Any] = np.take_along_axis(by_agent, signs.astype(np.intp), axis=-1)
    return result


def reorder(components: NDArray[Any], permutation: NDArray[Any]) -> NDArray[Any]:
    """Reorder quantities per sign (C, D, M, K, ...) by their new numbers."""
    inverse = np.argsort(_with_agent_axis(permutation), axis=-1)
    inverse = inverse.reshape(*inverse.shape, *[1] * (components.ndim - 4))
    result: NDArray[Any] = np.take_along_axis(components, inverse, axis=3)
    return result


def renumber_words(words: NDArray[Any], pivot: NDArray[Any], V: int, kind: str) -> NDArray[Any]:
    """Renumber the words (N, S) of one draw to agree best with those of another, `pivot` (N, S).

    kind: changes that leave the law of sentences unchanged. slots: the order of slots, and the numbers of the words in
    each; words: the numbers of the words, which all slots share; bag: these, and the order of words in a sentence.
    """
    S = words.shape[1]
    tables = np.array(
        [
            [np.bincount(pivot[:, t] * V + words[:, s], minlength=V * V).reshape(V, V) for t in range(S)]
            for s in range(S)
        ]
    )
    if kind != "slots":
        total = tables.sum((0, 1)) if kind == "bag" else np.trace(tables)
        renumbered: NDArray[Any] = _numbers(total)[words]
        return renumbered
    numbers = np.array([[_numbers(table) for table in row] for row in tables])  # (S, S, V)
    agreed = np.take_along_axis(tables, numbers[:, :, None], axis=2).sum((2, 3))
    result = np.empty_like(words)
    for s, t in zip(*partitions.match(agreed), strict=True):
        result[:, t] = numbers[s, t, words[:, s]]
    return result


def _numbers(table: NDArray[Any]) -> NDArray[np.intp]:
    """The pivot's word (row) for each word (column) of a table (V, V) of objects."""
    rows, columns = partitions.match(table)
    return rows[np.argsort(columns)]


def _with_agent_axis(permutation: NDArray[Any]) -> NDArray[Any]:
    """The permutation as (C, D, M or 1, K)."""
    return permutation if permutation.ndim == 4 else permutation[:, :, None]


def _rank_by_size(row: NDArray[Any], K: int) -> NDArray[np.intp]:
    """Rank of every sign in a row (N,), shape (K,): most objects first, ties by the earliest object."""
    counts = np.bincount(row, minlength=K)
    first = np.full(K, row.size, dtype=np.intp)
    first[row[::-1]] = np.arange(row.size)[::-1]
    rank = np.empty(K, dtype=np.intp)
    rank[np.lexsort((first, -counts))] = np.arange(K)
    return rank


def _match_to_pivot(pivot: NDArray[np.intp], row: NDArray[Any], K: int) -> NDArray[np.intp]:
    """New number of every raw sign in a row (N,), shape (K,). The signs of the pivot are numbered by size."""
    rank = _rank_by_size(row, K)
    ranked = rank[row]
    rows, columns = int(pivot.max()) + 1, int(ranked.max()) + 1  # the signs in use, which come first in both rankings
    table = np.bincount(pivot * columns + ranked, minlength=rows * columns).reshape(rows, columns)
    matched, ranks = partitions.match(table)
    new = np.full(K, -1, dtype=np.intp)
    new[ranks] = matched
    # Unmatched signs keep their order.
    new[new < 0] = np.setdiff1d(np.arange(K), matched)
    return new[rank]
