"""Likelihoods against closed forms, their means against draws, and gradients where numbers are extreme."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from mhng.models.distributions import ContinuousBernoulli
from mhng.models.likelihoods import (
    SIMULATED_TOTAL,
    ContinuousPixels,
    FixedGaussian,
    Gaussian,
    Likelihood,
    Multinomial,
)
from mhng.models.registry import LIKELIHOODS, load_variant
from mhng.models.rng import seeded_global_rng, stream
from tests.checks import ALPHA, defined, registered, z_test

# Logits on both sides of where the series ends, of where float32 ends (exp overflows at 89), and around 0.
LOGITS = [0.0, 1e-6, 0.0041, 0.37, 0.9999, 1.0001, 4.7, 16.3, 31.9, 95.3, 2.1e3]
LOGITS += [-t for t in LOGITS[1:]]


def log_density(t, x):
    """The continuous Bernoulli's, in float64 and written another way: numpy's expm1 of a negative number."""
    norm = abs(t) + np.log(-np.expm1(-abs(t)) / abs(t)) if t else 0.0
    return t * x - (norm + min(t, 0.0))


@pytest.mark.parametrize("t", LOGITS)
def test_the_continuous_bernoullis_density_and_gradient_are_the_closed_form(t):
    x = torch.tensor([0.0, 0.137, 0.5, 0.891, 1.0])
    logits = torch.full((5,), t, requires_grad=True)
    found = ContinuousBernoulli(logits).log_prob(x)
    t = float(logits.detach()[0])
    expected = log_density(t, x.double().numpy())
    np.testing.assert_allclose(found.detach(), expected, rtol=3e-6, atol=3e-7)
    # d/dt is x - E[x]
    mean = 1 / -np.expm1(-t) - 1 / t if abs(t) > 0.01 and t > -700 else (0.5 + t / 12 if abs(t) <= 0.01 else -1 / t)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    np.testing.assert_allclose(gradient, x.numpy() - mean, atol=1e-6)
    np.testing.assert_allclose(ContinuousBernoulli(logits.detach()).mean, mean, rtol=1e-5, atol=1e-6)


def test_torchs_own_class_would_not_have_passed():
    """The specimen: why there is one here."""
    from torch.distributions import ContinuousBernoulli as OfTorch

    at_31 = OfTorch(logits=torch.tensor(31.9))
    assert abs(float(at_31.log_prob(torch.tensor(0.7))) - log_density(31.9, 0.7)) > 0.5
    assert abs(float(at_31.mean) - (1 - 1 / 31.9)) > 0.02


@pytest.mark.parametrize("t", [-23.7, -0.83, 0.0021, 1.9, 8.3])
def test_the_continuous_bernoulli_is_a_density(t):
    logits = torch.tensor(t, dtype=torch.float64)

    def density(x):
        return float(ContinuousBernoulli(logits).log_prob(torch.tensor(x, dtype=torch.float64)).exp())

    assert integrate.quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-8)
    mean = integrate.quad(lambda x: x * density(x), 0, 1)[0]
    assert float(ContinuousBernoulli(logits).mean) == pytest.approx(mean, abs=1e-8)
    assert abs(mean - float(torch.sigmoid(logits))) > 1e-4, "the mean is not the sigmoid"


@pytest.mark.parametrize("t", [-1.2e3, -7.3, -0.61, 0.0, 0.0013, 2.7, 41.0])
def test_continuous_bernoulli_draws_follow_its_distribution_function(t):
    with seeded_global_rng(stream(3, f"draws at {t}")):
        x = ContinuousBernoulli(torch.tensor([t])).sample((20_000,)).squeeze(1).double().numpy()
    assert x.min() >= 0 and x.max() <= 1

    def below(value):
        return value if t == 0 else np.expm1(t * value) / np.expm1(t) if t < 50 else np.exp(t * (value - 1))

    assert stats.kstest(x, below).pvalue > ALPHA


def test_values_outside_the_unit_interval_are_refused_by_the_density():
    with pytest.raises(ValueError, match="support"):
        ContinuousPixels()(torch.zeros(1, 3)).log_prob(torch.tensor([[0.2, 1.2, 0.3]]))


def test_a_fixed_gaussian_has_the_noise_it_was_given_in_colour_too():
    output, x = torch.randn(4, 3, 5, 6, generator=stream(0, "o")), torch.rand(4, 3, 5, 6, generator=stream(0, "x"))
    found = FixedGaussian(0.37)(output).log_prob(x)
    expected = stats.norm(output.numpy().astype(float), 0.37).logpdf(x.numpy().astype(float)).sum((1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not list(FixedGaussian(0.37).parameters())
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected a positive, finite number"):
            FixedGaussian(wrong)


def test_a_learned_gaussian_finds_the_noise_of_colour_images():
    one = Gaussian()
    residual = 0.37 * torch.randn(50, 3, 8, 8, generator=stream(1, "x"))
    optimiser = torch.optim.Adam(one.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (-one(torch.zeros(50, 3, 8, 8)).log_prob(residual).mean() / 192).backward()
        optimiser.step()
    assert float(one.log_noise.exp().detach()) == pytest.approx(float(residual.square().mean().sqrt()), rel=1e-3)


def test_counts_have_the_multinomials_density_whatever_each_objects_total():
    logits = torch.randn(3, 5, generator=stream(0, "logits")) * 2
    x = torch.tensor([[3, 0, 7, 1, 2], [0, 0, 0, 0, 0], [812, 40_001, 3, 97, 0]], dtype=torch.float32)
    found = Multinomial()(logits).log_prob(x)
    shares = logits.double().softmax(-1).numpy()
    expected = [stats.multinomial(int(row.sum()), own).logpmf(row) for row, own in zip(x.numpy(), shares, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # float32 would not do: its log factorials of 40,001 are wrong in the second digit of what is left.
    wrong = torch.distributions.Multinomial(41_000, logits=logits, validate_args=False).log_prob(x)
    assert abs(float(wrong[2]) - expected[2]) > 1e-3


def test_the_multinomials_encoder_sees_logarithms_and_its_mean_is_shares():
    one, x = Multinomial(), torch.tensor([[0.0, 6.0, 51.0]])
    np.testing.assert_allclose(one.encoder_input(x)[0], np.log([1, 7, 52]), rtol=1e-6)
    assert float(one.mean(torch.tensor([[900.0, -900.0, 3.0]])).sum()) == pytest.approx(1)
    drawn = one(torch.tensor([[0.3, -1.2, 0.9]])).sample()
    assert drawn.shape == (1, 3) and float(drawn.sum()) == SIMULATED_TOTAL


# -- the contract: every likelihood of the registry ---------------------------------------------------

NAMES = [name for name in LIKELIHOODS if load_variant(LIKELIHOODS[name]).has_network]
OUTPUT = torch.tensor([[1.7, -0.9, 0.21, -3.3], [0.4, 0.0, -1.1, 2.3]])


def likelihood(name):
    kind = load_variant(LIKELIHOODS[name])
    return kind(**{"noise": 0.23} if "noise" in kind.options else {})


def observations(one):
    """Two observations (2, 4) that the likelihood accepts."""
    if one.needs_counts:
        return torch.tensor([[5.0, 0.0, 2.0, 1.0], [0.0, 3.0, 40.0, 1.0]])
    return torch.tensor([[0.0, 1.0, 0.3, 0.6], [0.9, 0.2, 0.5, 0.0]])


def test_every_likelihood_is_in_the_registry():
    """A likelihood without a line in the registry would be tested by nothing."""
    assert registered(LIKELIHOODS) == defined(Likelihood)


@pytest.mark.parametrize("name", NAMES)
def test_a_mean_is_the_mean_of_draws(name):
    one, output = likelihood(name), OUTPUT[:1]
    with torch.no_grad(), seeded_global_rng(stream(0, "draws")):
        law = one(output)
        draws = law.sample((20_000,)).squeeze(1).double().numpy()
        mean = one.mean(output)[0].double().numpy()
    # The mean of counts with a given total is the relative frequencies.
    total = getattr(law, "total_count", 1)
    assert z_test(draws, total * mean) > ALPHA
    assert z_test(draws, total * mean * 1.03) < ALPHA, "the check would not see 3%"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0.0, 1e-12, 1.0, 60.0, 1e4])
def test_densities_and_gradients_are_finite_where_outputs_are_extreme(name, size):
    one = likelihood(name)
    output = (size * torch.tensor([[1.0, -1.0, 0.5, -0.25]])).requires_grad_()
    found = one(output).log_prob(observations(one)[:1])
    (gradient,) = torch.autograd.grad(found.sum(), output)
    assert found.isfinite().all() and gradient.isfinite().all() and one.mean(output).isfinite().all()
    assert found.shape == (1,), "one observation is one event"


@pytest.mark.parametrize("name", NAMES)
def test_objects_are_independent(name):
    """The plate over objects is the only batch dimension, and no object's density depends on another's."""
    one, x = likelihood(name), observations(likelihood(name))
    with torch.no_grad():
        law = one(OUTPUT)
        assert law.batch_shape == (2,) and law.event_shape == (4,)
        alone = torch.cat([one(OUTPUT[n : n + 1]).log_prob(x[n : n + 1]) for n in range(2)])
        torch.testing.assert_close(law.log_prob(x), alone)
        assert one.mean(OUTPUT).shape == x.shape
        encoded = one.encoder_input(x)
        assert encoded.shape == x.shape and encoded.isfinite().all()
        torch.testing.assert_close(one.encoder_input(x[:1]), encoded[:1])


@pytest.mark.parametrize("name", NAMES)
def test_the_density_belongs_to_the_draws(name):
    """The mean of the score d log p / d output over draws is 0; over draws of another output it is not."""
    one = likelihood(name)

    def scores(difference):
        with torch.no_grad(), seeded_global_rng(stream(1, "draws")):
            x = one((OUTPUT[:1] + difference).expand(20_000, -1)).sample()
        output = OUTPUT[:1].expand(20_000, -1).clone().requires_grad_()
        return torch.autograd.grad(one(output).log_prob(x).sum(), output)[0].double().numpy()

    assert z_test(scores(torch.zeros(4)), np.zeros(4)) > ALPHA
    assert z_test(scores(torch.tensor([0.2, 0.0, 0.0, 0.0])), np.zeros(4)) < ALPHA
