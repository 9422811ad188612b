"""The project against the referee: tables, evidences, kernels, R-hat and scores, derived twice."""

import math

import numpy as np
import pytest
import torch

from mhng.experiment.diagnostics.summary import rhat
from mhng.experiment.metrics import partitions
from mhng.models.mixtures.gaussians import Components
from mhng.models.registry import MIXTURES, load_variant
from tests.proofs.referee import kernels, mixtures, scores

N, K, L = 9, 3, 2
RNG = np.random.default_rng(20261128)
W = np.array([[0.8, 0.2], [0.2, 0.5]])
M0, BETA, NU = np.array([0.3, -0.7]), 0.6, 5.5
Z = RNG.normal(size=(N, L)) @ np.array([[1.7, 0.0], [-0.6, 0.9]]) + np.array([2.0, -1.0])
SIGNS = np.array([0, 1, 0, 1, 1, 0, 0, 2, 1])
COUNTS = RNG.poisson([4.0, 1.5], size=(N, L))
WISHART = {"m0": torch.tensor(M0), "beta": BETA, "nu": NU, "W": torch.tensor(W)}


def precisions():
    factors = RNG.normal(size=(K, L, L))
    return factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(L)


def components(mu, precision):
    covariance = np.linalg.inv(precision)
    return Components(torch.tensor(mu)[None], torch.linalg.cholesky(torch.tensor(covariance))[None])


def mixture(name, **prior):
    return load_variant(MIXTURES[name])(L, **prior)


@pytest.mark.parametrize("name", ["normal-wishart", "tied", "student-t"])
def test_tables_of_gaussian_and_student_components(name):
    prior = WISHART | ({"freedom": 3.7} if name == "student-t" else {})
    ours, mu, precision = mixture(name, **prior), RNG.normal(size=(K, L)), precisions()
    if name == "tied":
        precision = np.repeat(precision[:1], K, axis=0)
    table = ours.log_prob_table(ours.features(torch.tensor(Z)), components(mu, precision))[0].numpy()
    if name == "student-t":
        expected = mixtures.student_table(Z, mu, precision, 3.7)
        assert np.abs(expected - mixtures.gaussian_table(Z, mu, precision)).max() > 0.1
    else:
        expected = mixtures.gaussian_table(Z, mu, precision)
    np.testing.assert_allclose(table, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["normal-gamma", "spherical"])
def test_tables_of_diagonal_components(name):
    ours, mu = mixture(name, m0=torch.tensor(M0), beta=BETA, nu=NU, W=0.7), RNG.normal(size=(K, L))
    rates = RNG.gamma(2.0, size=(K, L))
    precision = np.stack([np.diag(row if name == "normal-gamma" else np.full(L, row[0])) for row in rates])
    table = ours.log_prob_table(ours.features(torch.tensor(Z)), components(mu, precision))[0].numpy()
    np.testing.assert_allclose(table, mixtures.gaussian_table(Z, mu, precision), rtol=1e-10, atol=1e-10)


def test_table_of_multinomial_components():
    ours, theta = mixture("dirichlet", alpha=0.7), RNG.dirichlet(np.ones(L), size=K)
    phi = ours.Parameters(torch.tensor(theta).log()[None])
    table = ours.log_prob_table(ours.features(torch.tensor(COUNTS, dtype=torch.float64)), phi)[0].numpy()
    np.testing.assert_allclose(table, mixtures.multinomial_table(COUNTS, theta), rtol=1e-10, atol=1e-10)


EVIDENCES = {
    "normal-wishart": (WISHART, lambda w: mixtures.wishart_evidence(Z, w, K, M0, BETA, NU, W)),
    "tied": (WISHART, lambda w: mixtures.wishart_evidence(Z, w, K, M0, BETA, NU, W, tied=True)),
    "normal-gamma": (WISHART | {"W": 0.7}, lambda w: mixtures.gamma_evidence(Z, w, K, M0, BETA, NU, 0.7)),
    "spherical": (
        WISHART | {"W": 0.7},
        lambda w: mixtures.gamma_evidence(Z, w, K, M0, BETA, NU, 0.7, spherical=True),
    ),
    "dirichlet": ({"alpha": 0.7}, lambda w: mixtures.dirichlet_evidence(COUNTS, w, K, 0.7)),
}


@pytest.mark.parametrize("name", EVIDENCES)
def test_evidence_is_the_product_of_predictive_densities(name):
    prior, expected = EVIDENCES[name]
    ours = mixture(name, **prior)
    data = torch.tensor(COUNTS if name == "dirichlet" else Z, dtype=torch.float64)
    assignments = np.stack([SIGNS, np.roll(SIGNS, 2), np.zeros(N, int)])
    found = ours.log_evidence(ours.features(data), torch.tensor(assignments), K).numpy()
    np.testing.assert_allclose(found, [expected(w) for w in assignments], rtol=1e-10)


def test_a_referee_is_for_exact_evidence():
    """Further mixtures are held to `tests/proofs/models/test_mixture_contract.py`; a referee is welcome."""
    assert {name for name in MIXTURES if load_variant(MIXTURES[name]).exact_evidence} >= EVIDENCES.keys()


@pytest.mark.parametrize("tries", [1, 2, 4])
@pytest.mark.parametrize("agents", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [2, 3])
def test_the_recursion_satisfies_detailed_balance(agents, size, tries):
    """The definition itself: each inner game begins at the sign that the agent above it holds at that moment."""
    for _ in range(20):
        log_pi = np.log(RNG.dirichlet(np.full(size, 0.7)))
        tables = list(RNG.normal(size=(agents, size)) * 1.5)
        law = kernels.posterior(log_pi, tables)
        P = kernels.recursive(log_pi, tables, tries)
        assert kernels.imbalance(P, law) < 1e-13
        assert np.allclose(kernels.stationary(P), law, atol=1e-10)


def test_inner_games_that_begin_once_are_wrong_from_four_agents_up():
    log_pi = np.log([0.62, 0.27, 0.11])
    tables = np.array([[1.4, -1.8, 0.6], [0.6, -1.4, 1.9], [-0.5, 0.5, 0.4], [-0.6, -1.0, -0.6]])
    law = kernels.posterior(log_pi, tables)
    np.testing.assert_allclose(law, [0.5801, 0.0025, 0.4174], atol=5e-5)
    distance = {
        tries: np.abs(kernels.stationary(kernels.begun_once(log_pi, tables, tries)) - law).sum() / 2
        for tries in (1, 2, 4)
    }
    assert distance[1] < 1e-12 and 0.04 < distance[4] < distance[2] < 0.06
    three = kernels.begun_once(log_pi, tables[:3], 4)
    assert kernels.imbalance(three, kernels.posterior(log_pi, tables[:3])) < 1e-15


@pytest.mark.parametrize("seed", range(5))
def test_scores(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=40)
    signs = np.where(rng.random((3, 40)) < 0.6, labels, rng.integers(4, size=(3, 40)))
    a, b = signs[:2]
    assert math.isclose(partitions.ari(a, labels), scores.ari(a, labels), abs_tol=1e-12)
    assert math.isclose(partitions.nmi(a, labels), scores.nmi(a, labels), abs_tol=1e-12)
    assert math.isclose(partitions.accuracy(a, labels), scores.accuracy(a, labels), abs_tol=1e-12)
    assert math.isclose(partitions.kappa(a, b), scores.kappa(a, b), abs_tol=1e-12)
    assert math.isclose(partitions.fleiss_kappa(signs), scores.fleiss(signs), abs_tol=1e-12)
    pairs = [scores.kappa(signs[i], signs[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert math.isclose(partitions.mean_pairwise_kappa(signs), np.mean(pairs), abs_tol=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.4, 3.0])
def test_rhat(shift):
    draws = RNG.normal(size=(4, 200)) + shift * np.arange(4)[:, None]
    draws[:, 100:] += shift / 3
    found = rhat(draws)
    assert found is not None and math.isclose(found, scores.rank_rhat(draws), rel_tol=1e-6)
    if shift == 3.0:
        assert abs(found - scores.split_rhat(draws)) > 0.01  # the classical one is another number
