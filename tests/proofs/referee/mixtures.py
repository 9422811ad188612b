"""Component densities and evidences in NumPy and SciPy, derived again without torch and without code of this project.

An evidence is a chain rule, log p(z) = sum_n log p(z_n | z_1 .. z_(n-1)), with predictive densities in closed form
(Murphy 2007, sections 3 to 9). The project computes ratios of normalisers instead, so an error in either one shows.

Shapes: N objects, L dimensions, K signs.
"""

import functools

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp


def gaussian_table(z, mu, precision):
    """log Normal(z_n; mu_k, precision_k^-1): (N, L), (K, L), (K, L, L) -> (N, K)."""
    laws = [stats.multivariate_normal(m, np.linalg.inv(p)) for m, p in zip(mu, precision, strict=True)]
    return np.stack([np.atleast_1d(law.logpdf(z)) for law in laws], axis=1)


def student_table(z, mu, precision, freedom):
    """log t(z_n; mu_k, precision_k^-1, freedom): (N, K)."""
    laws = [stats.multivariate_t(m, np.linalg.inv(p), df=freedom) for m, p in zip(mu, precision, strict=True)]
    return np.stack([np.atleast_1d(law.logpdf(z)) for law in laws], axis=1)


def multinomial_table(counts, theta):
    """log Multinomial(x_n; total, theta_k): (N, D), (K, D) -> (N, K)."""
    rows = [[stats.multinomial(int(x.sum()), p).logpmf(x) for p in theta] for x in counts]
    return np.array(rows)


def wishart_evidence(z, signs, K, m0, beta, nu, W, *, tied=False):
    """log p(z | signs) of the Normal-Wishart mixture, or with one precision for all signs (`tied`)."""
    L = z.shape[1]
    mean, strength = np.tile(m0, (K, 1)).astype(float), np.full(K, float(beta))
    freedom, scatter = np.full(K, float(nu)), np.tile(np.linalg.inv(W), (K, 1, 1))
    total = 0.0
    for x, k in zip(z, signs, strict=True):
        shared = slice(None) if tied else k
        df = freedom[k] - L + 1
        shape = scatter[k] * (strength[k] + 1) / (strength[k] * df)
        total += stats.multivariate_t(mean[k], shape, df=df).logpdf(x)
        step = x - mean[k]
        freedom[shared] += 1
        scatter[shared] += strength[k] / (strength[k] + 1) * np.outer(step, step)
        mean[k] += step / (strength[k] + 1)
        strength[k] += 1
    return total


def gamma_evidence(z, signs, K, m0, beta, nu, W, *, spherical=False):
    """log p(z | signs) with a variance per sign and dimension, or one per sign (`spherical`).

    lambda ~ Gamma(nu / 2, rate 1 / (2 W)), mu ~ Normal(m0, 1 / (beta lambda)).
    """
    L = z.shape[1]
    mean, strength = np.tile(m0, (K, 1)).astype(float), np.full(K, float(beta))
    shape, rate = np.full((K, L), nu / 2), np.full((K, L), 1 / (2 * W))
    total = 0.0
    for x, k in zip(z, signs, strict=True):
        spread = rate[k] * (strength[k] + 1) / (strength[k] * shape[k])
        if spherical:
            law = stats.multivariate_t(mean[k], spread[0] * np.eye(L), df=2 * shape[k, 0])
            total += law.logpdf(x)
        else:
            total += stats.t(2 * shape[k], mean[k], np.sqrt(spread)).logpdf(x).sum()
        square = strength[k] / (strength[k] + 1) * (x - mean[k]) ** 2 / 2
        shape[k] += L / 2 if spherical else 1 / 2
        rate[k] += square.sum() if spherical else square
        mean[k] += (x - mean[k]) / (strength[k] + 1)
        strength[k] += 1
    return total


def student_evidence(z, assignments, K, freedom, m0, beta, nu, W):
    """log p(z | signs) of Student-t components in one dimension, for each row of assignments (S, N): (S,).

    lambda ~ Gamma(nu / 2, rate 1 / (2 W)), mu ~ Normal(m0, 1 / (beta lambda)), z ~ t(mu, 1 / lambda, freedom);
    mean and precision are integrated out by quadrature.
    """
    logs, steps = np.linspace(-14, 6, 301), np.linspace(-9, 9, 401)
    rate = np.exp(logs)[:, None]
    mu = m0 + steps / np.sqrt(beta * rate)
    prior = stats.gamma(nu / 2, scale=2 * W).logpdf(rate) + logs[:, None] + stats.norm.logpdf(steps)
    prior -= logsumexp(prior)
    fit = [stats.t(freedom, mu, 1 / np.sqrt(rate)).logpdf(x) for x in z]

    @functools.cache
    def of_sign(members):
        return logsumexp(prior + sum(fit[n] for n in members)) if members else 0.0

    return np.array([sum(of_sign(tuple(np.flatnonzero(row == k))) for k in range(K)) for row in assignments])


def dirichlet_evidence(counts, signs, K, alpha):
    """log p(x | signs) of Dirichlet-multinomial components, multinomial coefficients included."""
    weight = np.full((K, counts.shape[1]), float(alpha))
    total = 0.0
    for x, k in zip(counts, signs, strict=True):
        n, a = x.sum(), weight[k]
        total += gammaln(n + 1) - gammaln(x + 1).sum()
        total += gammaln(a.sum()) - gammaln(a.sum() + n) + (gammaln(a + x) - gammaln(a)).sum()
        weight[k] += x
    return total
