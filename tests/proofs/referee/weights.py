"""Laws of sign sequences with the weights integrated out, in SciPy, from the definition of each prior.

counts (K,): objects of each sign. An evidence is a product over the objects of predictive probabilities.
"""

import numpy as np
from scipy.special import betaln, gammaln


def sequences(counts):
    """One sequence of signs with these counts: the law is exchangeable, so any order serves."""
    return np.repeat(np.arange(len(counts)), counts)


def dirichlet(counts, alpha):
    """log p(signs) with pi ~ Dirichlet(alpha, ..., alpha): Polya's urn."""
    seen, total = np.full(len(counts), float(alpha)), 0.0
    for k in sequences(counts):
        total += np.log(seen[k] / seen.sum())
        seen[k] += 1
    return total


def sticks(counts, alpha):
    """log p(signs) with K - 1 breaks v_k ~ Beta(1, alpha) and the rest for sign K.

    Each object decides at break 0, 1, ... whether it stops there; a break predicts by Polya's urn for two outcomes.
    """
    K, total = len(counts), 0.0
    stopped, passed = np.ones(K), np.full(K, float(alpha))
    for k in sequences(counts):
        for j in range(min(k + 1, K - 1)):
            stops = j == k
            total += np.log((stopped if stops else passed)[j] / (stopped[j] + passed[j]))
            (stopped if stops else passed)[j] += 1
    return total


def sticks_by_expectation(counts, alpha):
    """The same in closed form: sum_k log E[v_k^n_k (1 - v_k)^(n_(k+1) + ... + n_K)]."""
    later = np.cumsum(counts[::-1])[::-1][1:]
    return float(np.sum(betaln(1 + np.asarray(counts)[:-1], alpha + later) - betaln(1, alpha)))


def ewens(counts, alpha):
    """log p(partition) with endless sticks (Ewens 1972)."""
    used = np.asarray([n for n in counts if n])
    return float(len(used) * np.log(alpha) + gammaln(used).sum() + gammaln(alpha) - gammaln(alpha + used.sum()))
