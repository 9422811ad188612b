"""Agreement scores and R-hat from their definitions, in NumPy: slow, by pairs of objects and all permutations."""

import itertools

import numpy as np
from scipy import stats


def ari(a, b):
    """Adjusted Rand index by counting pairs of objects (Hubert and Arabie 1985)."""
    same_a = [x == y for x, y in itertools.combinations(a, 2)]
    same_b = [x == y for x, y in itertools.combinations(b, 2)]
    both, first, second, pairs = np.sum(np.logical_and(same_a, same_b)), sum(same_a), sum(same_b), len(same_a)
    expected, most = first * second / pairs, (first + second) / 2
    return 1.0 if most == expected else float((both - expected) / (most - expected))


def nmi(a, b):
    """Mutual information over the arithmetic mean of the entropies."""
    joint = np.array([[np.mean((a == i) & (b == j)) for j in np.unique(b)] for i in np.unique(a)])
    left, right = joint.sum(1), joint.sum(0)
    information = sum(p * np.log(p / (left[i] * right[j])) for (i, j), p in np.ndenumerate(joint) if p > 0)
    entropies = stats.entropy(left) + stats.entropy(right)
    return 1.0 if entropies == 0 else float(2 * information / entropies)


def accuracy(signs, labels):
    """Share of objects with the right class under the best one-to-one match of signs and classes."""
    size = max(signs.max(), labels.max()) + 1
    return max(float(np.mean(np.array(match)[signs] == labels)) for match in itertools.permutations(range(size)))


def kappa(a, b):
    """Cohen's kappa (Cohen 1960)."""
    agreed = np.mean(a == b)
    chance = sum(np.mean(a == k) * np.mean(b == k) for k in np.union1d(a, b))
    return 1.0 if chance == 1 else float((agreed - chance) / (1 - chance))


def fleiss(signs):
    """Fleiss' kappa of M raters (Fleiss 1971): signs (M, N)."""
    M, N = signs.shape
    counts = np.array([[np.sum(signs[:, n] == k) for k in range(signs.max() + 1)] for n in range(N)])
    agreed = np.mean((np.sum(counts**2, axis=1) - M) / (M * (M - 1)))
    chance = np.sum((counts.sum(0) / (N * M)) ** 2)
    return 1.0 if chance == 1 else float((agreed - chance) / (1 - chance))


def split_rhat(draws):
    """Classical split R-hat (Gelman et al. 2013): draws (C, T) -> a number."""
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, -half:]])
    within, between = parts.var(1, ddof=1).mean(), half * parts.mean(1).var(ddof=1)
    return float(np.sqrt(((half - 1) / half * within + between / half) / within))


def rank_rhat(draws):
    """Rank-normalised R-hat (Vehtari et al. 2021): the larger one of bulk and folded draws, split in halves."""
    half = draws.shape[1] // 2
    parts = np.concatenate([draws[:, :half], draws[:, -half:]])

    def normalised(values):
        ranks = stats.rankdata(values, method="average").reshape(values.shape)
        return stats.norm.ppf((ranks - 3 / 8) / (values.size + 1 / 4))

    def rhat(values):
        n = values.shape[1]
        within, between = values.var(1, ddof=1).mean(), n * values.mean(1).var(ddof=1)
        return np.sqrt(((n - 1) / n * within + between / n) / within)

    return float(max(rhat(normalised(parts)), rhat(normalised(np.abs(parts - np.median(parts))))))
