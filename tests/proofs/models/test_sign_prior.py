"""Weights of signs: redraws, densities and evidence against SciPy, Pyro and simulation."""

import itertools
import math

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy import stats

from mhng.models.agent import Agent
from mhng.models.rng import seeded_global_rng, stream
from mhng.models.sign_prior import Dirichlet, Sticks, parse_sign_prior
from tests.checks import ALPHA, chi_square, z_test
from tests.proofs.referee import weights

K = 4
COUNTS = torch.tensor([[5, 0, 2, 1]])
PRIORS = [Dirichlet(0.7), Sticks(1.6)]


def drawn(prior, counts=COUNTS, C=20_000, seed=0):
    return prior.redraw(stream(seed, "pi"), counts.expand(C, -1))


@pytest.mark.parametrize("prior", PRIORS)
def test_weights_are_a_law(prior):
    log_pi = drawn(prior)
    torch.testing.assert_close(log_pi.logsumexp(-1), torch.zeros(len(log_pi), dtype=torch.float64))
    tiny = prior.redraw(stream(0, "pi"), torch.tensor([[0, 0, 0, 10**6]]))
    assert tiny.isfinite().all()


def test_a_dirichlet_redraw_has_the_posteriors_moments():
    after = stats.dirichlet((COUNTS[0] + 0.7).numpy())
    pi = drawn(PRIORS[0]).exp().numpy()
    assert z_test(pi, after.mean()) > ALPHA and z_test((pi - after.mean()) ** 2, after.var()) > ALPHA
    assert z_test(pi, stats.dirichlet((COUNTS[0] + 0.9).numpy()).mean()) < ALPHA


def test_a_sticks_redraw_breaks_where_the_posterior_does():
    pi = drawn(PRIORS[1]).exp()
    left = pi.flip(-1).cumsum(-1).flip(-1)
    v = (pi / left)[:, :-1].numpy()
    for k, (mine, later) in enumerate([(5, 3), (0, 3), (2, 1)]):
        p = stats.kstest(v[:, k], stats.beta(1 + mine, 1.6 + later).cdf).pvalue
        assert p > ALPHA, k
    assert stats.kstest(v[:, 0], stats.beta(1 + 5, 1.6 + 4).cdf).pvalue < ALPHA


def test_a_redraw_keeps_the_joint_law_of_weights_and_signs():
    """pi from the prior, signs from pi, pi redrawn: it is as it was before."""
    for prior in PRIORS:
        before = prior.redraw(stream(1, "prior"), torch.zeros(20_000, K, dtype=torch.int64))
        signs = torch.multinomial(before.exp(), 6, replacement=True, generator=stream(2, "w"))
        counts = torch.nn.functional.one_hot(signs, K).sum(1)
        after = prior.redraw(stream(3, "pi"), counts)
        moved = torch.cat([after.exp() - before.exp(), after.exp().square() - before.exp().square()], 1)
        assert z_test(moved.numpy(), np.zeros(2 * K)) > ALPHA
        wrong = prior.redraw(stream(3, "pi"), counts.flip(1))
        assert z_test((wrong.exp() * counts - before.exp() * counts).numpy(), np.zeros(K)) < ALPHA


@pytest.mark.parametrize("prior", [*PRIORS, Dirichlet(1e-3), Sticks(0.05)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_evidence_is_the_law_of_the_signs_that_are_drawn(prior, size):
    """Against the referee; summed over all sequences it is 1; and it is what draws of pi give."""
    referee = weights.dirichlet if isinstance(prior, Dirichlet) else weights.sticks
    every = torch.tensor(list(itertools.product(range(size), repeat=4)))
    counts = torch.nn.functional.one_hot(every, size).sum(1)
    law = prior.log_evidence(counts)
    np.testing.assert_allclose(law, [referee(row, prior.alpha) for row in counts.numpy()], rtol=1e-9, atol=1e-9)
    assert float(law.exp().sum()) == pytest.approx(1)
    pi = prior.redraw(stream(0, "prior"), torch.zeros(20_000, size, dtype=torch.int64)).exp()
    signs = torch.multinomial(pi, 4, replacement=True, generator=stream(1, "w"))
    found = np.bincount((signs * size ** torch.arange(3, -1, -1)).sum(1).numpy(), minlength=len(every))
    assert size == 1 or chi_square(found, law.exp().numpy()) > ALPHA


def test_the_evidence_of_sticks_is_not_that_of_the_partition():
    """Endless sticks give the law of partitions. The K sticks give another law, in which numbers count."""
    counts = np.array([0, 7, 0, 2, 11])
    ours = float(Sticks(0.6).log_evidence(torch.tensor(counts)))
    for right in (weights.sticks, weights.sticks_by_expectation):
        assert ours == pytest.approx(right(counts, 0.6))
    of_partition = float(Sticks(0.6).merge_evidence(torch.tensor(counts)))
    assert of_partition == pytest.approx(weights.ewens(counts, 0.6)) and abs(of_partition - ours) > 3
    turned = torch.tensor(counts.copy()).flip(0)
    assert float(Sticks(0.6).merge_evidence(turned)) == pytest.approx(of_partition)
    assert abs(float(Sticks(0.6).log_evidence(turned)) - ours) > 1


@pytest.mark.parametrize("prior", PRIORS)
def test_the_density_is_that_of_the_pyro_site(prior):
    with seeded_global_rng(stream(0, "sites")):
        trace = poutine.trace(lambda: prior.site(K, torch.zeros(1, dtype=torch.float64))).get_trace()
    trace.compute_log_prob()
    expected = sum(node["log_prob_sum"] for node in trace.nodes.values() if node["type"] == "sample")
    log_pi = trace.nodes["_RETURN"]["value"]
    torch.testing.assert_close(prior.log_density(log_pi), expected, rtol=1e-9, atol=1e-9)


def renamed(row):
    """The same partition, its groups numbered as they come."""
    order = list(dict.fromkeys(row))
    return tuple(order.index(x) for x in row)


def test_mergers_compare_partitions_under_endless_sticks():
    """It sums to 1 over the partitions of four objects; and sticks without end, of which 60 are enough, agree."""
    prior = Sticks(1.6)
    partitions = {renamed(row) for row in itertools.product(range(4), repeat=4)}
    assert len(partitions) == 15  # Bell's number
    every = torch.tensor(sorted(partitions))
    law = prior.merge_evidence(torch.nn.functional.one_hot(every, 4).sum(1)).exp()
    assert float(law.sum()) == pytest.approx(1)
    pi = prior.redraw(stream(0, "prior"), torch.zeros(20_000, 60, dtype=torch.int64)).exp()
    signs = torch.multinomial(pi, 4, replacement=True, generator=stream(1, "w")).tolist()
    keys = {tuple(row.tolist()): n for n, row in enumerate(every)}
    found = np.zeros(15)
    for row in signs:
        found[keys[renamed(row)]] += 1
    assert chi_square(found, law.numpy()) > ALPHA
    other = Sticks(1.3).merge_evidence(torch.nn.functional.one_hot(every, 4).sum(1)).exp()
    assert chi_square(found, other.numpy()) < ALPHA


def test_an_agent_with_unknown_weights_simulates_them():
    for name, site in (("dirichlet:0.7", "pi"), ("sticks:2", "v")):
        one = Agent((1, 4, 4), signs=K, latent=2, weights=name, generator=stream(0, "A/init"))
        with seeded_global_rng(stream(0, "simulate")):
            trace = poutine.trace(one.model).get_trace(objects=5)
        assert {site, "w", "z", "x"} <= set(trace.nodes)


@pytest.mark.parametrize(
    "name", ["flat", "dirichlet", "dirichlet:", "sticks:0", "sticks:-1", "sticks:1e9", "uniform:1"]
)
def test_names_that_are_none_say_what_must_be(name):
    with pytest.raises(ValueError, match="uniform, dirichlet:ALPHA, sticks:ALPHA"):
        parse_sign_prior(name)
    assert math.isclose(parse_sign_prior("sticks:1.5").alpha, 1.5) and parse_sign_prior("uniform") is None
