"""Scores of a partition and of an agreement: arrays in, floats out.

Notation: N objects, K signs, M agents, T draws. `signs` (N,) are one agent's names for the objects, `labels`
(N,) are true classes: integers, bools or text, gaps and negatives allowed.

Two questions, kept apart. *Does a vocabulary carve the objects as the classes do?* Sign numbers mean nothing
there: `ari` and `nmi` ignore numbering, `accuracy` renumbers once by the best one-to-one matching. *Do two
agents say the same word?* Agents share a code, so `kappa` compares raw signs: the same partition under
other numbers is disagreement. `matched_kappa` renumbers first, for agents that never spoke to each other
(`no-com`).

Everything starts from one contingency table, made by a single `bincount`; these run once a sweep. ARI is the
formula of `sklearn.metrics.adjusted_rand_score` on that table, because that function accepts labels only
and spends its time (2.8 ms against 0.1 ms at N = 10,000) on sorting and checking them; the tests hold the
two equal.

Edges, all without a warning:
  labels None       ari, nmi, accuracy are None: there is nothing to compare with
  one object        ari = nmi = accuracy = 1; kappa is 1 if the two signs are equal, else 0
  one sign used     ari = nmi = 0 against two or more classes, 1 against one; accuracy is the share of the
                    largest class
  constant raters   kappa is 1 if both always give the same sign (where it would be 0/0), 0 if different ones
  no object         ValueError, as for arrays of different lengths
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.intp]

# Codes below this index the table directly; others (a label 1000000, text) are renumbered by sorting first.
_DIRECT = 1024


def contingency(a: ArrayLike, b: ArrayLike) -> IntArray:
    """How often value i of `a` (N,) meets value j of `b` (N,): counts (I, J), unused values included."""
    a, b = _pair(a, b)
    return _table(_codes(a), _codes(b))


def match(table: IntArray) -> tuple[IntArray, IntArray]:
    """The one-to-one pairing of rows and columns that covers most objects (Hungarian): their indices."""
    from scipy.optimize import linear_sum_assignment  # half of what `--help` would wait for

    rows, columns = linear_sum_assignment(table, maximize=True)
    return rows, columns


def ari(signs: ArrayLike, labels: ArrayLike | None) -> float | None:
    """Adjusted Rand index, in [-0.5, 1]; 0 is chance (Hubert and Arabie 1985). None without labels."""
    if labels is None:
        return None
    return _ari(contingency(signs, labels))


def nmi(signs: ArrayLike, labels: ArrayLike | None) -> float | None:
    """Mutual information over the mean of the two entropies, in [0, 1]. None without labels."""
    if labels is None:
        return None
    from sklearn.metrics import mutual_info_score  # half a second to import, for the end of a run only

    table = contingency(signs, labels)
    table = table[np.ix_(table.any(axis=1), table.any(axis=0))]
    if table.shape == (1, 1):
        return 1.0
    mutual = float(mutual_info_score(None, None, contingency=table))
    entropy = (_entropy(table.sum(axis=0)) + _entropy(table.sum(axis=1))) / 2
    return min(max(mutual / entropy, 0.0), 1.0)


def accuracy(signs: ArrayLike, labels: ArrayLike | None) -> float | None:
    """Share of objects whose sign is matched to their class. None without labels.

    The matching is one-to-one and the best there is. With K signs against fewer or more classes some signs
    or classes stay unmatched, and every object of theirs is an error: splitting a digit over two signs
    costs accuracy.
    """
    if labels is None:
        return None
    table = contingency(signs, labels)
    return float(table[match(table)].sum() / table.sum())


def kappa(a: ArrayLike, b: ArrayLike) -> float:
    """Cohen's kappa of two agents' raw signs (N,), in [-1, 1]: agreement beyond chance."""
    a, b = _pair(a, b)
    return _kappa(_square(a, b))


def matched_kappa(a: ArrayLike, b: ArrayLike) -> float:
    """Cohen's kappa after b's signs are renumbered to agree with a's on as many objects as possible.

    Never less than `kappa`: the renumbering may raise the agreement that chance explains.
    It flatters: with many signs, unrelated agents score above 0. Use it where codes were never shared
    (`no-com`).
    """
    a, b = _pair(a, b)
    table = _square(a, b)
    rows, columns = match(table)
    matched = np.empty_like(table)
    matched[:, rows] = table[:, columns]
    return max(_kappa(matched), _kappa(table))


def kappa_matrix(signs: ArrayLike) -> NDArray[np.float64]:
    """`kappa` of each pair of the M >= 2 agents of `signs` (M, N): (M, M), with ones on the diagonal."""
    agreed, counts, n = _agreement(signs)
    by_chance = counts @ counts.T
    # As in `_kappa`: whole numbers up to one division, and 1 where both always give the same one sign.
    always = by_chance == n**2
    return np.where(always, 1.0, (n * agreed - by_chance) / np.where(always, 1, n**2 - by_chance))


def mean_pairwise_kappa(signs: ArrayLike) -> float:
    """`kappa` averaged over all pairs of the M >= 2 agents of `signs` (M, N)."""
    return mean_of_pairs(kappa_matrix(signs))


def mean_of_pairs(matrix: NDArray[np.float64]) -> float:
    """The mean of a symmetric matrix (M, M) over the pairs of M >= 2 agents."""
    return float(np.mean(matrix[np.triu_indices(len(matrix), 1)]))


def fleiss_kappa(signs: ArrayLike) -> float:
    """Agreement of all M >= 2 agents of `signs` (M, N) at once, beyond chance (Fleiss 1971); 1 if all are one sign.

    Chance is one distribution of signs for all agents, and not, as for Cohen's, each one's own.
    """
    agreed, counts, n = _agreement(signs)
    M = len(agreed)
    observed = (int(agreed.sum()) - M * n) / (M * (M - 1) * n)
    chance = float(((counts.sum(axis=0) / (M * n)) ** 2).sum())
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)


def _agreement(signs: ArrayLike) -> tuple[IntArray, IntArray, int]:
    """On how many objects each two agents agree (M, M), how often each gives each sign (M, K), and N."""
    signs = np.asarray(signs)
    if signs.ndim != 2 or len(signs) < 2:
        raise ValueError(f"kappa needs the signs of two or more agents, (M, N); got the shape {signs.shape}")
    codes = _codes(signs)
    agreed = np.zeros((len(signs), len(signs)))
    for k in range(int(codes.max()) + 1):
        given = (codes == k).astype(np.float64)  # products of whole numbers below 2**53 are exact, and quick
        agreed += given @ given.T
    counts = np.stack([np.bincount(own, minlength=int(codes.max()) + 1) for own in codes])
    return agreed.astype(np.intp), counts.astype(np.intp), signs.shape[1]


def successive_ari(draws: ArrayLike) -> NDArray[np.float64]:
    """ARI between each of the draws (T, N) and the one before, (T - 1,): 1 is a chain that stands still."""
    draws = np.asarray(draws)
    if draws.ndim != 2 or not len(draws):
        raise ValueError(f"draws must be (T, N) with T >= 1; got the shape {draws.shape}")
    codes = [_codes(draw) for draw in draws]
    return np.array([_ari(_table(a, b)) for a, b in pairwise(codes)], dtype=np.float64)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"two arrays of the same N >= 1 objects are needed; got the shapes {a.shape} and {b.shape}")
    return a, b


def _codes(values: NDArray[Any]) -> IntArray:
    """Values as small non-negative integers; equal values get equal codes."""
    if not values.size:
        raise ValueError("there is no object to score")
    if values.dtype.kind in "biu" and values.min() >= 0 and values.max() < _DIRECT:
        # intp at once: in uint8, sign * K overflows from 17 signs on
        return values.astype(np.intp)
    return np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(np.intp)


def _table(a: IntArray, b: IntArray, size: int | None = None) -> IntArray:
    rows, columns = (size, size) if size is not None else (int(a.max()) + 1, int(b.max()) + 1)
    return np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns)


def _square(a: NDArray[Any], b: NDArray[Any]) -> IntArray:
    """Contingency of two raters of one code: row k and column k are the same sign."""
    both = _codes(np.concatenate([a, b]))
    return _table(both[: a.size], both[a.size :], int(both.max()) + 1)


def _ari(table: IntArray) -> float:
    # Python integers: counts of pairs of pairs pass 2**63 at N = 100,000
    n = int(table.sum())
    both = int((table**2).sum())
    by_row, by_column = int((table.sum(axis=1) ** 2).sum()), int((table.sum(axis=0) ** 2).sum())
    together, only_rows, only_columns = both - n, by_row - both, by_column - both
    apart = n**2 - both - only_rows - only_columns
    if only_rows == only_columns == 0:
        return 1.0
    numerator = 2 * (together * apart - only_rows * only_columns)
    rows = (together + only_rows) * (only_rows + apart)
    columns = (together + only_columns) * (only_columns + apart)
    return numerator / (rows + columns)


def _kappa(table: IntArray) -> float:
    # In whole numbers up to one division: equal agreement is an equal kappa whatever the numbering, and
    # R-hat and ESS, which rank the draws of a chain, see the same ties.
    n, agreed = int(table.sum()), int(np.trace(table))
    by_chance = int(table.sum(axis=0) @ table.sum(axis=1))
    if by_chance == n**2:
        return 1.0
    return (n * agreed - by_chance) / (n**2 - by_chance)


def _entropy(counts: IntArray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
