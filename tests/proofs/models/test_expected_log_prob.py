"""q(phi) given shares of objects in signs: expected log densities, held against draws and against the textbook."""

import math

import pytest
import torch

from mhng.models.mixtures import Features, NormalWishart
from mhng.models.mixtures.base import SufficientStatistics
from mhng.models.rng import stream
from tests.checks import ALPHA, z_test
from tests.proofs.models.test_mixture_contract import EXACT, K, family, percepts_of

DRAWS = 8000


def shares_of(N=9, C=1, signs=K):
    """(C, N, K): two chains that differ; nothing is of sign 2 in the first."""
    logits = 2 * torch.randn(C, N, signs, generator=stream(3, "shares"), dtype=torch.float64)
    logits[0, :, 2] = -torch.inf
    return logits.softmax(-1)


def posterior_of(mixture, features, shares):
    return mixture.posterior(SufficientStatistics(shares.mT @ features.values, features.centre))


def against_draws(mixture, features, shares, table):
    """p-value of the mean table of phi drawn from q."""
    posterior = posterior_of(mixture, features, shares)
    many = type(posterior)(*(part[0].expand(DRAWS, *part.shape[1:]) for part in posterior))
    phi = mixture.draw(stream(5, "phi"), many)
    return z_test(mixture.log_prob_table(features, phi).numpy(), table[0].numpy())


@pytest.mark.parametrize("name", EXACT)
def test_the_table_is_the_mean_over_q_of_log_densities(name):
    mixture, shares = family(name), shares_of()
    features = mixture.features(percepts_of(name))
    found = mixture.expected_log_prob(features, shares)
    assert against_draws(mixture, features, shares, found.table) > ALPHA
    # Densities at the middle of q forget its spread, and those of hard shares are others.
    assert against_draws(mixture, features, shares, mixture.log_prob_table(features, found.parameters)) < ALPHA
    hard = torch.nn.functional.one_hot(shares.argmax(-1), K).double()
    assert against_draws(mixture, features, shares, mixture.expected_log_prob(features, hard).table) < ALPHA


@pytest.mark.parametrize("name", EXACT)
def test_a_share_is_a_part_of_an_object(name):
    """Every object twice, by half each, is every object once; wholly of one sign, it is a sign given."""
    mixture, shares = family(name), shares_of(C=2)
    features = mixture.features(percepts_of(name))
    once = mixture.expected_log_prob(features, shares)
    twice = mixture.expected_log_prob(
        Features(features.values.repeat(2, 1), features.centre), torch.cat([shares, shares], dim=1) / 2
    )
    torch.testing.assert_close(twice.evidence, once.evidence)
    torch.testing.assert_close(twice.table[:, :9], once.table)
    signs = torch.tensor([[0, 1, 2, 0, 0, 1, 1, 0, 2], [1, 1, 0, 0, 0, 0, 1, 1, 0]])
    whole = mixture.expected_log_prob(features, torch.nn.functional.one_hot(signs, K).double())
    torch.testing.assert_close(whole.evidence, mixture.log_evidence(features, signs, K))


@pytest.mark.parametrize("name", EXACT)
def test_nothing_known_is_the_prior(name):
    mixture = family(name)
    features = mixture.features(percepts_of(name))
    found = mixture.expected_log_prob(features, torch.zeros(1, 9, K, dtype=torch.float64))
    torch.testing.assert_close(found.divergence, torch.zeros(1, dtype=torch.float64))
    phi = mixture.from_prior(stream(7, "phi"), DRAWS, K)
    assert z_test(mixture.log_prob_table(features, phi).numpy(), found.table[0].numpy()) > ALPHA
    assert (mixture.expected_log_prob(features, shares_of(C=2)).divergence > 0).all()


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_normal_wishart_is_the_textbooks(far):
    """Bishop 2006, equations 10.60 to 10.65, sign by sign and object by object."""
    L, N = 2, 9
    W0 = torch.tensor([[0.8, 0.2], [0.2, 0.5]], dtype=torch.float64)
    m0, beta0, nu0 = torch.tensor([0.3, -0.7], dtype=torch.float64) + far, 0.6, 3.5
    mixture = NormalWishart(L, m0=m0, beta=beta0, nu=nu0, W=W0)
    z, shares = percepts_of("normal-wishart") + far, shares_of()
    found = mixture.expected_log_prob(mixture.features(z), shares)
    for k in range(K):
        r = shares[0, :, k]
        n = r.sum()
        mean = (r[:, None] * z).sum(0) / n if n > 0 else m0
        spread = sum((r[i] * torch.outer(z[i] - mean, z[i] - mean) for i in range(N)), torch.zeros(L, L).double())
        beta, nu = beta0 + n, nu0 + n
        m = (beta0 * m0 + n * mean) / beta
        W = (W0.inverse() + spread + beta0 * n / beta * torch.outer(mean - m0, mean - m0)).inverse()
        log_det = sum(torch.digamma((nu - i) / 2) for i in range(L)) + L * math.log(2) + W.logdet()
        for i in range(N):
            distance = L / beta + nu * (z[i] - m) @ W @ (z[i] - m)
            expected = (log_det - L * math.log(2 * math.pi) - distance) / 2
            torch.testing.assert_close(found.table[0, i, k], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", EXACT)
def test_a_sign_of_one_object_and_none_has_numbers(name):
    mixture = family(name)
    features = mixture.features(percepts_of(name))
    shares = torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1]]), K).double()
    found = mixture.expected_log_prob(features, shares)
    assert found.table.isfinite().all()
    # As near as shares go to that.
    close = mixture.expected_log_prob(features, (shares + 1e-9) / (1 + 3e-9))
    torch.testing.assert_close(found.table, close.table, rtol=1e-5, atol=1e-5)
