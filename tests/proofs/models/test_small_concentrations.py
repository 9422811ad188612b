"""Dirichlet and Beta draws with concentrations near 0, where a Gamma draw underflows."""

import numpy as np
import pytest
import torch
from scipy import stats

from mhng.models.distributions import SparseDirichlet
from mhng.models.rng import GeneratorStack, gamma, log_dirichlet, log_gamma, seeded_global_rng, stream
from mhng.models.sign_prior import Dirichlet, Sticks
from tests.checks import ALPHA, z_test

K, S = 3, 50_000
SMALL = [3e-3, 1e-3, 1e-4]


def second_moment(alpha):
    """E[sum_k theta_k^2] of Dirichlet(alpha, ..., alpha)."""
    return (1 + alpha) / (1 + K * alpha)


def clamped(generator, alpha):
    """Draws that normalise Gamma draws kept above the smallest number: a wrong law."""
    return gamma(generator, alpha).clamp_min(torch.finfo(alpha.dtype).tiny).log().log_softmax(-1)


def moment_p(log_theta, alpha):
    return z_test(log_theta.exp().square().sum(-1).numpy(), np.array(second_moment(alpha)))


@pytest.mark.parametrize(("alpha", "right"), [(3e-3, 0.9941), (1e-3, 0.9980), (1e-4, 0.9998)])
def test_a_small_concentration_gives_a_vertex(alpha, right):
    shape = torch.full((S, K), alpha, dtype=torch.float64)
    drawn = log_dirichlet(stream(0, "theta"), shape, alpha)
    assert second_moment(alpha) == pytest.approx(right, abs=5e-5)
    assert moment_p(drawn, alpha) > ALPHA and drawn.isfinite().all()
    assert (drawn.amax(-1) > drawn.amin(-1)).all(), "no draw is uniform"
    wrong = clamped(stream(0, "theta"), shape)
    assert (wrong.amax(-1) == wrong.amin(-1)).any()
    if alpha < 3e-3:
        assert moment_p(wrong, alpha) < ALPHA


@pytest.mark.parametrize("alpha", SMALL)
def test_pyro_sites_and_priors_of_signs_use_it(alpha):
    with seeded_global_rng(stream(0, "site")):
        site = SparseDirichlet(torch.full((K,), alpha, dtype=torch.float64)).sample((S,))
    assert moment_p(site.log(), alpha) > ALPHA
    empty = torch.zeros(S, K, dtype=torch.int64)
    assert moment_p(Dirichlet(alpha).redraw(stream(1, "pi"), empty), alpha) > ALPHA
    # With sticks, log(1 - v_1) = log(pi_2 + pi_3) and 1 - v_1 ~ Beta(alpha, 1): alpha log(1 - v) = log of a uniform.
    sticks = Sticks(alpha).redraw(stream(2, "pi"), empty)
    rest = (alpha * sticks[:, 1:].logsumexp(-1)).exp().numpy()
    assert stats.kstest(rest, "uniform").pvalue > ALPHA


def test_the_logarithm_has_the_law_of_a_power_of_a_uniform():
    """P(G(a) < x) = x^a / Gamma(a + 1) as x -> 0: a log G(a) is the log of a uniform, up to a."""
    alpha = 1e-5
    drawn = log_gamma(stream(0, "g"), torch.full((S,), alpha, dtype=torch.float64), alpha)
    assert stats.kstest((alpha * drawn).exp().numpy(), "uniform").pvalue > ALPHA


def test_large_concentrations_keep_their_draws_and_stacks_those_of_each_agent():
    shape = torch.tensor([0.1, 0.7, 3.0], dtype=torch.float64).expand(50, K)
    assert torch.equal(log_dirichlet(stream(0, "theta"), shape, 0.1), clamped(stream(0, "theta"), shape))
    mixed = torch.tensor([1e-3, 0.7, 3.0], dtype=torch.float64).expand(50, K)
    stack = GeneratorStack([stream(0, "A"), stream(0, "B")])
    both = log_dirichlet(stack, torch.stack([mixed, mixed.flip(1)]), 1e-3)
    for agent, name, own in zip(both, "AB", (mixed, mixed.flip(1)), strict=True):
        assert torch.equal(agent, log_dirichlet(stream(0, name), own, 1e-3))
