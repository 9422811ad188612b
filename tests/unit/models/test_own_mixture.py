"""A mixture of one's own from three methods: its check finds wrong shapes and wrong mathematics."""

import pyro.distributions as dist
import pytest
import torch

from mhng.models.mixtures import ExponentialFamily, NormalWishart
from mhng.models.mixtures.check import check_mixture
from mhng.models.mixtures.dirichlet import DirichletMultinomial
from mhng.models.rng import stream

Z = torch.bernoulli(torch.full((10, 5), 0.3, dtype=torch.float64), generator=stream(0, "z"))


class Boxes(ExponentialFamily):
    """Binary features: theta ~ Beta(1, 1)."""

    def component(self, theta):
        return dist.Bernoulli(theta)

    def parameter_posterior(self, number, total):
        return dist.Beta(1 + total, 1 + number - total)

    def log_likelihood(self, number, total, theta):
        return (total * theta.log() + (number - total) * (1 - theta).log()).sum(-1)


class Rates(ExponentialFamily):
    """Counts: theta ~ Gamma(2, 1), z ~ Poisson(theta), with log z! among the statistics."""

    input_support = "counts"

    def statistics(self, z):
        return torch.cat([z, (z + 1).lgamma()], dim=-1)

    def component(self, theta):
        return dist.Poisson(theta)

    def parameter_posterior(self, number, total):
        return dist.Gamma(2 + total[..., : self.latent], 1 + number)

    def log_likelihood(self, number, total, theta):
        counts, coefficients = total.chunk(2, dim=-1)
        return (counts * theta.log() - number * theta - coefficients).sum(-1)


def one_law(self, theta):
    return dist.MultivariateNormal(theta, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize(
    "mixture",
    [Boxes(5), Rates(5), NormalWishart(5), DirichletMultinomial(5)],
    ids=lambda mixture: type(mixture).__name__,
)
def test_a_right_mixture_passes(mixture):
    check_mixture(mixture, Z, K=4)


def test_the_evidence_is_that_of_the_beta_binomial():
    from scipy.special import betaln

    evidence = Boxes(5).log_evidence(Boxes(5).features(Z), torch.zeros(1, 10, dtype=torch.int64), 2)
    ones = Z.sum(0).numpy()
    torch.testing.assert_close(float(evidence), float(betaln(1 + ones, 11 - ones).sum()), rtol=1e-9, atol=0)


def test_expectations_are_those_of_the_beta():
    """The gradient of the evidence: E[log theta] by digamma functions."""
    r = torch.rand(1, 10, 3, generator=stream(1, "r"), dtype=torch.float64).softmax(-1)
    table = Boxes(5).expected_log_prob(Boxes(5).features(Z), r).table
    ones, number = r.mT @ Z, r.sum(-2).unsqueeze(-1)
    a, b = 1 + ones, 1 + number - ones
    log_theta, log_other = a.digamma() - (a + b).digamma(), b.digamma() - (a + b).digamma()
    torch.testing.assert_close(table, Z @ log_theta.mT + (1 - Z) @ log_other.mT, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("log_likelihood", lambda self, n, total, p: total * p.log() + (n - total) * (1 - p).log(),
         r"log_likelihood returns the shape \(1, 5\); expected \(1,\)"),
        ("log_likelihood", lambda self, n, total, p: (total * p.log()).sum(-1),
         "must be the posterior of log_likelihood"),
        ("log_likelihood", lambda self, n, total, p: None, "log_likelihood returns the shape NoneType"),
        ("parameter_posterior", lambda self, n, total: dist.Beta(1 + total, 1 + n), "Bayes' rule at one theta is"),
        ("parameter_posterior", lambda self, n, total: torch.distributions.Beta(1 + total, 1 + n - total),
         "parameter_posterior returns a Beta; expected a distribution of pyro.distributions"),
        ("component", lambda self, p: dist.Bernoulli(p[..., 0]), r"component has the shape \(1,\) \+ \(\) .* \(5,\)"),
        ("component", lambda self, p: dist.Bernoulli(1 - p), "the table of log densities is .*, the component"),
        ("component", lambda self, p: p, "component returns a Tensor; expected a distribution"),
        ("statistics", lambda self, z: z.sum(-1), r"statistics returns the shape \(10,\); expected \(10, F\)"),
        ("covariance", lambda self, phi: phi.mu, r"covariance returns the shape \(4, 5\); expected \(4, 5, 5\)"),
        ("log_density", lambda self, phi: phi.mu.sum((-1, -2)) / 0, "log_density returns a number that is not finite"),
        ("sites", lambda self, K, device: self.from_prior(stream(0, "x"), 1, K), "theta of sites returns the shape"),
    ],
)  # fmt: skip
def test_a_wrong_one_is_named(name, method, message):
    wrong = type("Wrong", (Boxes,), {name: method})
    with pytest.raises(ValueError, match=message):
        check_mixture(wrong(5), Z, K=4)


def test_a_mixture_without_a_standard_component_says_that_it_is_for_features():
    with pytest.raises(
        NotImplementedError, match=r"Boxes requires --likelihood identity; .* define standard_normal_prior"
    ):
        Boxes(5).standard_normal_prior(torch.device("cpu"))
