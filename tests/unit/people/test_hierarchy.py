"""The hierarchical model of acceptance: weights, likelihoods and gradients against brute force."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mhng.experiment.people import hierarchy, scores
from mhng.experiment.people.hierarchy import COORDINATES, PARAMETERS, log_prior, marginal, node_weights, tabulate
from mhng.experiment.people.power import leave_out
from mhng.experiment.people.predictive import draw_people
from mhng.experiment.people.ratios import Offers
from mhng.experiment.people.rules import RULES, probability
from mhng.experiment.people.simulated import Person, simulate


@pytest.fixture(scope="module")
def offers():
    return simulate(Person("tempered", bias=0.2, log_temperature=0.3), 4, 30, 0).offers()


@pytest.mark.parametrize(("mu", "s"), [(0.3, 0.7), (-1.9, 0.2), (5.0, 0.5), (0.149, 1e-4)])
def test_weights_are_those_of_linear_interpolation(mu, s):
    nodes = COORDINATES["bias"].nodes
    x = mu + s * norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    hats = np.array([np.interp(x, nodes, row).mean() for row in np.eye(len(nodes))])
    weights, by_mu, by_s = node_weights(nodes, mu, s)
    np.testing.assert_allclose(weights, hats, atol=2e-6)
    assert weights.sum() == pytest.approx(1)
    step = 1e-6
    for slope, (dm, ds) in ((by_mu, (step, 0)), (by_s, (0, step))):
        higher, lower = node_weights(nodes, mu + dm, s + ds)[0], node_weights(nodes, mu - dm, s - ds)[0]
        np.testing.assert_allclose(slope, (higher - lower) / (2 * step), atol=1e-3 if s < 1e-3 else 1e-7)


@pytest.mark.parametrize("rule", RULES)
def test_a_table_holds_the_likelihood_with_b_integrated_out(offers, rule):
    table = tabulate(offers, rule)
    node = tuple(len(c.nodes) // 3 for c in table.coordinates)
    value = {name: c.nodes[i] for name, c, i in zip(PARAMETERS[rule], table.coordinates, node, strict=True)}
    b = (np.arange(2000) + 0.5) / 2000
    for person in range(4):
        mine = offers.person == person
        own = {}
        if rule == "tempered":
            own = {"bias": value["bias"], "temperature": np.exp(value["log_temperature"])}
        if rule == "constant":
            own = {"rate": 1 / (1 + np.exp(-value["logit_rate"]))}
        q = (torch.as_tensor(values[mine]) for values in (offers.log_offered, offers.log_current))
        rho = probability(rule, *q, **own).numpy()
        lapse = 0.0 if rule == "constant" else 1 / (1 + np.exp(-value["logit_lapse"]))
        p = (1 - lapse) * rho + lapse * b[:, None]
        expected = np.where(offers.accepted[mine] == 1, p, 1 - p).prod(1).mean()
        assert np.log(table.values[(person, *node)]) + table.log_scale[person] == pytest.approx(np.log(expected))


def test_participants_may_have_different_numbers_of_offers(offers):
    kept = np.flatnonzero((offers.person != 1) | (np.arange(len(offers.person)) % 3 == 0))
    some = Offers(offers.names, *(values[kept] for values in offers[1:6]), {})
    for rule in ("mh", "tempered"):
        whole, part = tabulate(offers, rule), tabulate(some, rule)
        for person in (0, 2, 3):
            np.testing.assert_allclose(part.values[person], whole.values[person])
        assert part.log_scale[1] > whole.log_scale[1]


@pytest.mark.parametrize("rule", ["mh", "constant", "tempered"])
def test_the_marginal_and_its_gradient(offers, rule):
    table = tabulate(offers, rule)
    D = len(table.coordinates)
    theta = {"mh": [-1.8], "constant": [0.2], "tempered": [0.2, -0.1, -1.8]}[rule] + [-0.7] * D
    value, slope = marginal(table, *np.split(np.array(theta), 2))
    weights = [node_weights(c.nodes, theta[d], np.exp(theta[D + d]))[0] for d, c in enumerate(table.coordinates)]
    direct = table.values
    for weight in reversed(weights):
        direct = direct @ weight
    np.testing.assert_allclose(value, np.log(direct) + table.log_scale)
    prior_slope = log_prior(table, *np.split(np.array(theta), 2))[1]
    for d in range(2 * D):
        higher, lower = (np.array(theta) + sign * 1e-5 * np.eye(2 * D)[d] for sign in (1, -1))
        pairs = [(marginal(table, *np.split(t, 2))[0], log_prior(table, *np.split(t, 2))[0]) for t in (higher, lower)]
        np.testing.assert_allclose(slope[:, d], (pairs[0][0] - pairs[1][0]) / 2e-5, atol=1e-5)
        assert prior_slope[d] == pytest.approx((pairs[0][1] - pairs[1][1]) / 2e-5, abs=1e-5)


def test_participants_are_drawn_from_their_law(offers):
    table = tabulate(offers, "tempered")
    mu, s = np.array([0.1, 0.2, -2.0]), np.array([0.4, 0.3, 0.5])
    S = 4000
    drawn = draw_people(table, np.tile(mu, (S, 1)), np.tile(s, (S, 1)), np.random.default_rng(0))
    axes = [c.nodes for c in table.coordinates]
    fine = [np.linspace(m - 5 * w, m + 5 * w, 61) for m, w in zip(mu, s, strict=True)]
    grids = np.meshgrid(*fine, indexing="ij")
    points = np.stack([grid.ravel() for grid in grids], 1)
    prior = sum(norm.logpdf(points[:, d], mu[d], s[d]) for d in range(3))
    from scipy.interpolate import RegularGridInterpolator

    for person in range(4):
        inside = np.stack([points[:, d].clip(axes[d][0], axes[d][-1]) for d in range(3)], 1)
        weight = np.exp(prior) * RegularGridInterpolator(axes, table.values[person])(inside)
        weight /= weight.sum()
        mean = weight @ points
        sd = np.sqrt(weight @ (points - mean) ** 2)
        np.testing.assert_allclose(drawn[:, person].mean(0), mean, atol=5 * sd.max() / S**0.5)
        np.testing.assert_allclose(drawn[:, person].std(0), sd, rtol=0.06)


def test_the_score_of_a_participant_left_out(offers):
    table = tabulate(offers, "mh")
    mu, s, weight = scores.hyper_grid("logit_lapse")
    p = np.stack([marginal(table, np.array([m]), np.array([np.log(w)]))[0] for m, w in zip(mu, s, strict=True)], 1)
    whole = np.log((weight * np.exp(p.sum(0))).sum())
    for person, value in enumerate(leave_out(table)):
        others = np.log((weight * np.exp(np.delete(p, person, 0).sum(0))).sum())
        assert value == pytest.approx(whole - others)


def test_a_participant_with_unlikely_answers_has_a_finite_score():
    n = 400
    log_offered, log_current = np.full(n, -0.1), np.full(n, -3.0)
    offers = Offers(["p"], np.zeros(n, dtype=int), log_offered, log_current, np.zeros(n, dtype=int), np.arange(n), {})
    for rule in RULES:
        table = tabulate(offers, rule)
        assert np.isfinite(table.values).all() and np.isfinite(table.log_scale).all()
    assert np.isfinite(hierarchy.marginal(tabulate(offers, "mh"), np.array([-9.0]), np.array([-9.0]))[0]).all()
