"""The mixture against textbook formulas, Pyro's own densities and exact moments, with no round number anywhere."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from scipy import stats

from mhng.models.distributions import BartlettWishart
from mhng.models.mixtures import NormalWishart, SufficientStatistics
from mhng.models.mixtures.gaussians import Components, gaussian_log_prob, quadratic_features
from mhng.models.percepts import Percepts
from mhng.models.rng import stream
from tests.checks import ALPHA, z_test

M0 = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
W = torch.tensor([[0.9, 0.3, -0.1], [0.3, 0.4, 0.05], [-0.1, 0.05, 0.25]], dtype=torch.float64)
PRIOR = {"m0": M0, "beta": 0.6, "nu": 4.5, "W": W}


def mixture(**changes):
    return NormalWishart(3, **(PRIOR | changes))


def percepts(count=9, seed=1):
    noise = torch.randn(count, 3, generator=stream(seed, "z"), dtype=torch.float64)
    shear = torch.tensor([[2.0, 0.0, 0.0], [0.7, 0.3, 0.0], [-0.4, 0.2, 1.3]], dtype=torch.float64)
    return noise @ shear.T + torch.tensor([1.5, 0.2, -0.4], dtype=torch.float64)


def posterior_of(z, family):
    if not len(z):
        return family.posterior(family.empty_statistics())
    found = quadratic_features(z)
    return family.posterior(SufficientStatistics(found.values.sum(0), found.centre))


def components(K=4, seed=3):
    family = mixture()
    return family.draw(stream(seed, "components"), family.posterior(family.empty_statistics(K)))


def test_posterior_hyperparameters_are_the_textbooks():
    family, z = mixture(), percepts()
    found = posterior_of(z, family)
    n, mean = len(z), z.mean(0)
    scatter = (z - mean).T @ (z - mean)
    beta, nu = 0.6 + n, 4.5 + n
    expected_m = (0.6 * M0 + n * mean) / beta
    inverse = torch.linalg.inv(W) + scatter + 0.6 * n / beta * torch.outer(mean - M0, mean - M0)
    torch.testing.assert_close(found.mean, expected_m, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.inverse_scale @ found.inverse_scale.T, inverse, rtol=1e-11, atol=1e-11)
    assert (found.beta.item(), found.nu.item(), found.number.item()) == pytest.approx((beta, nu, n))


def test_draws_have_the_posteriors_moments():
    family = mixture()
    found = posterior_of(percepts(), family)
    many = type(found)(*(part.expand(20_000, *part.shape) for part in found))
    drawn = family.draw(stream(2, "draws"), many)
    covariance = drawn.scale_tril @ drawn.scale_tril.mT
    scale = torch.cholesky_inverse(found.inverse_scale)
    assert z_test(torch.linalg.inv(covariance).numpy(), (found.nu * scale).numpy()) > ALPHA
    # E[Lambda^-1] = W_n^-1 / (nu - L - 1), and mu given Lambda has covariance Lambda^-1 / beta_n
    expected = found.inverse_scale @ found.inverse_scale.T / (found.nu - 4)
    assert z_test(covariance.numpy(), expected.numpy()) > ALPHA
    step = drawn.mu - found.mean
    assert z_test(step.numpy(), np.zeros(3)) > ALPHA
    outer = step.unsqueeze(-1) * step.unsqueeze(-2)
    assert z_test(outer.numpy(), (expected / found.beta).numpy()) > ALPHA
    # second moments of a Wishart: Var(Lambda_ij) = nu (V_ij^2 + V_ii V_jj)
    squares = (torch.linalg.inv(covariance) - found.nu * scale).square()
    diagonal = scale.diagonal()
    variance = found.nu * (scale.square() + torch.outer(diagonal, diagonal))
    assert z_test(squares.numpy(), variance.numpy()) > ALPHA


@pytest.mark.parametrize("wrong", ["covariance for precision", "factor transposed", "degrees of freedom reversed"])
def test_the_moment_check_rejects_wrong_draws(wrong):
    family = mixture()
    found = posterior_of(percepts(), family)
    many = type(found)(*(part.expand(20_000, *part.shape) for part in found))
    drawn = family.draw(stream(2, "draws"), many).scale_tril
    if wrong == "covariance for precision":
        precision = drawn @ drawn.mT
    elif wrong == "factor transposed":
        precision = torch.linalg.inv(drawn.mT @ drawn)
    else:
        normal = torch.randn(20_000, 3, 3, generator=stream(0, "wrong"), dtype=torch.float64).triu(1)
        freedom = found.nu - torch.arange(3)  # belongs to a lower triangular factor
        chi = (2 * torch._standard_gamma(freedom.expand(20_000, 3) / 2, generator=stream(1, "wrong"))).sqrt()
        half = torch.linalg.solve_triangular(found.inverse_scale.T, normal + chi.diag_embed(), upper=True)
        precision = half @ half.mT
    expected = found.nu * torch.cholesky_inverse(found.inverse_scale)
    assert z_test(precision.numpy(), expected.numpy()) < ALPHA


def test_precision_is_not_covariance():
    """Public case 22: 5,000 points of N(0, diag(4, 0.25)) have precisions near diag(0.25, 4)."""
    family = NormalWishart(2, W=torch.tensor([[0.2, 0.05], [0.05, 0.6]]))
    z = torch.randn(5000, 2, generator=stream(0, "z"), dtype=torch.float64) * torch.tensor([2.0, 0.5])
    sums = family.sufficient_statistics(quadratic_features(z), torch.zeros(5000, dtype=torch.int64), 2)
    many = family.posterior(SufficientStatistics(sums.values.expand(4000, 2, 6), sums.centre))
    drawn = family.draw(stream(1, "draws"), many).scale_tril
    precision = torch.linalg.inv(drawn @ drawn.mT)
    torch.testing.assert_close(
        precision[:, 0].mean(0),
        torch.tensor([[0.25, 0.0], [0.0, 4.0]], dtype=torch.float64),
        atol=0.15,
        rtol=0.05,
    )
    assert z_test(precision[:, 1].numpy(), (2 * family.W).numpy()) > ALPHA  # no points: dof times W


def test_evidence_is_the_product_of_predictive_t_densities():
    family, z = mixture(), percepts(7)
    total = 0.0
    for n in range(len(z)):
        p = posterior_of(z[:n], family)
        freedom = float(p.nu) - 3 + 1
        shape = (p.inverse_scale @ p.inverse_scale.T) * ((p.beta + 1) / (p.beta * freedom))
        total += stats.multivariate_t.logpdf(z[n].numpy(), p.mean.numpy(), shape.numpy(), df=freedom)
    assert float(family.evidence(posterior_of(z, family))) == pytest.approx(total, rel=1e-10)


def test_evidence_is_likelihood_times_prior_over_posterior():
    family, z = mixture(), percepts(5)
    p = posterior_of(z, family)
    after = NormalWishart(3, m0=p.mean, beta=float(p.beta), nu=float(p.nu), W=torch.cholesky_inverse(p.inverse_scale))
    phi = Components(*(part[:1] for part in components()))
    likelihood = gaussian_log_prob(quadratic_features(z), phi).sum()
    expected = likelihood + family.log_density(phi) - after.log_density(phi)
    torch.testing.assert_close(family.evidence(p), expected, rtol=1e-10, atol=1e-9)


def test_log_density_is_pyros():
    family, phi = mixture(), components()
    precision = torch.linalg.inv(phi.scale_tril @ phi.scale_tril.mT)
    expected = dist.Wishart(torch.tensor(4.5).double(), covariance_matrix=W).log_prob(precision)
    expected = expected + dist.MultivariateNormal(M0, precision_matrix=0.6 * precision).log_prob(phi.mu)
    torch.testing.assert_close(family.log_density(phi), expected.sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-4, 0.0), (1e4, 0.0), (1.0, 1e6)])
def test_table_is_the_gaussian_density(scale, shift):
    phi, z = components(), percepts()
    moved = Components(phi.mu * scale + shift, phi.scale_tril * scale)
    table = gaussian_log_prob(quadratic_features(z * scale + shift), moved)
    for k in range(4):
        covariance = (phi.scale_tril[k] @ phi.scale_tril[k].T).numpy()
        expected = stats.multivariate_normal.logpdf(z.numpy(), phi.mu[k].numpy(), covariance)
        np.testing.assert_allclose(table[:, k].numpy(), expected - 3 * math.log(scale), rtol=1e-6, atol=1e-6)


def test_chains_are_a_dimension_and_not_a_loop():
    family, z = mixture(), percepts()
    player = Percepts(z, family)
    signs = torch.randint(4, (5, 9), generator=stream(0, "signs"))
    together = family.posterior(family.sufficient_statistics(quadratic_features(z), signs, 4))
    for c, k in itertools.product(range(5), range(4)):
        alone = posterior_of(z[signs[c] == k], family)
        torch.testing.assert_close(together.mean[c, k], alone.mean)
        torch.testing.assert_close(together.inverse_scale[c, k], alone.inverse_scale)
    assert player.redraw(stream(0, "draw"), signs, 4).table.shape == (5, 9, 4)
    evidence = torch.stack([player.evidence(row.unsqueeze(0), 4)[0] for row in signs])
    torch.testing.assert_close(player.evidence(signs, 4), evidence)


def test_merge_gain_is_the_difference_that_merging_makes():
    player = Percepts(percepts(), mixture())
    signs = torch.randint(4, (2, 9), generator=stream(4, "signs"))
    gain = torch.stack([player.merge_gain(signs, 4, torch.full((2,), i)) for i in range(4)], dim=1)
    for i, j in itertools.combinations(range(4), 2):
        merged = torch.where(signs == j, i, signs)
        difference = player.evidence(merged, 4) - player.evidence(signs, 4)
        torch.testing.assert_close(gain[:, i, j], difference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("latent", [1, 2])
def test_signs_without_objects_or_with_one_are_fine(latent):
    z = torch.randn(3, latent, generator=stream(0, "z"), dtype=torch.float64)
    player = Percepts(z, NormalWishart(latent))
    belief = player.redraw(stream(0, "draw"), torch.tensor([[5, 5, 2]]), 8)
    assert belief.table.isfinite().all() and belief.evidence.isfinite().all()
    assert belief.parameters.scale_tril.shape == (1, 8, latent, latent)


def test_hard_scales_always_factorise():
    """Public case 21: ten degrees of freedom in ten dimensions, scales from 1 to 1e-8; and no false warning."""
    W = torch.logspace(0, -8, 10, dtype=torch.float64).diag()
    family = NormalWishart(10, nu=10, W=W)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = family.draw(stream(0, "draws"), family.posterior(family.empty_statistics(2000))).scale_tril
        site = BartlettWishart(torch.tensor(10.0).double(), covariance_matrix=W)
        torch.manual_seed(0)
        lambdas = site.sample((2000,))
    assert (drawn.diagonal(dim1=-2, dim2=-1) > 0).all() and drawn.isfinite().all()
    half = torch.linalg.solve_triangular(drawn, torch.eye(10, dtype=torch.float64).expand(2000, 10, 10), upper=False)
    root = W.diagonal().sqrt()
    unit = (half.mT @ half) / torch.outer(root, root)
    assert z_test(unit.numpy(), 10 * np.eye(10)) > ALPHA
    assert z_test((lambdas / torch.outer(root, root)).numpy(), 10 * np.eye(10)) > ALPHA


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"nu": 2}, "nu"),
        ({"nu": 1.5}, "nu"),
        ({"nu": math.nan}, "nu"),
        ({"beta": 0.0}, "beta"),
        ({"W": -W}, "W"),
        ({"W": torch.eye(2)}, "W"),
        ({"W": 0.0}, "W"),
    ],
)
def test_hyperparameters_out_of_range_are_named(changes, named):
    with pytest.raises(ValueError, match=named):
        mixture(**changes)
