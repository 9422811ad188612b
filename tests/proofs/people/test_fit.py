"""The fit against sums over a grid, and its error rates on simulated studies."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mhng.experiment.people import scores
from mhng.experiment.people.fit import CHOICES, choose, marginals
from mhng.experiment.people.hierarchy import COORDINATES, PARAMETERS, marginal, sample, tabulate
from mhng.experiment.people.power import analyse, leave_out, power, study_of
from mhng.experiment.people.simulated import Person, simulate

LEVEL = 0.9


def test_nuts_samples_the_posterior_of_the_group():
    table = tabulate(simulate(Person("mh"), 10, 40, 0).offers(), "mh")
    drawn = sample(table, chains=2, draws=400, warmup=200)
    mu, s, weight = scores.hyper_grid("logit_lapse", 60, 60)
    log_p = [marginal(table, np.array([m]), np.array([np.log(w)]))[0].sum() for m, w in zip(mu, s, strict=True)]
    weight = weight * np.exp(np.array(log_p) - np.max(log_p))
    weight /= weight.sum()
    for draws, values in ((drawn.mu, mu), (drawn.s, s)):
        mean = weight @ values
        sd = (weight @ (values - mean) ** 2) ** 0.5
        assert draws.mean() == pytest.approx(mean, abs=0.25 * sd)
        assert draws.std() == pytest.approx(sd, rel=0.2)


def test_psis_leaves_a_participant_out_as_exactly_as_the_grid():
    found = simulate(Person("subtraction"), 8, 40, 1).offers()
    table = tabulate(found, "subtraction")
    drawn = sample(table, chains=2, draws=400, warmup=200)
    left_out = scores.leave_one_out(marginals(table, drawn))["pointwise"]
    np.testing.assert_allclose(left_out, leave_out(table), atol=0.1)


def right_rules(participants: int, offers: int, lapse: float = 0.1, seed: int = 0) -> dict[str, float]:
    """Share of participants of each rule whose answers favour it; those of constant have rates from 0.1 to 0.9."""
    right = {}
    for number, rule in enumerate(CHOICES):
        rate = 0.1 + 0.8 * (torch.arange(participants, dtype=torch.float64) + 0.5) / participants
        found = simulate(Person(rule, lapse=lapse, rate=rate), participants, offers, seed + number).offers()
        chosen = choose({other: tabulate(found, other) for other in CHOICES}).argmax(0)
        right[rule] = float((chosen == number).mean())
    return right


@pytest.mark.parametrize(("offers", "least"), [(100, 0.90), (200, 0.97)])
def test_the_right_rule_of_a_participant(offers, least):
    right = right_rules(200, offers)
    print(offers, right, np.mean(list(right.values())))
    assert np.mean(list(right.values())) >= least
    assert right["mh"] >= least


@pytest.mark.slow
def test_intervals_of_200_studies_cover_the_truth():
    studies, people, offers = 200, 20, 50
    generator = np.random.default_rng(0)
    names = PARAMETERS["tempered"]
    # mu and s from their prior, and the participants from them.
    mu = np.stack([generator.normal(c.place, c.width, studies) for c in map(COORDINATES.get, names)], 1)
    s = np.stack([np.abs(generator.normal(0, c.spread, studies)) for c in map(COORDINATES.get, names)], 1)
    own = mu[:, None] + s[:, None] * generator.normal(size=(studies, people, 3))
    bias, log_temperature, logit_lapse = torch.as_tensor(own.reshape(-1, 3)).T
    rate = torch.as_tensor(generator.random(studies * people))
    person = Person(
        "tempered", bias=bias, log_temperature=log_temperature, lapse=logit_lapse.sigmoid(), lapse_rate=rate
    )
    played = simulate(person, studies * people, offers, 0)
    covered = np.zeros((studies, 6), dtype=bool)
    for number in range(studies):
        table = tabulate(study_of(played, number, people), "tempered")
        drawn = sample(table, chains=1, draws=250, warmup=150, seed=number)
        values = np.concatenate([drawn.mu, drawn.s], -1).reshape(-1, 6)
        low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        truth = np.concatenate([mu[number], s[number]])
        covered[number] = (low < truth) & (truth < high)
    print("coverage", covered.mean(0), covered.mean())
    assert 0.86 <= covered.mean() <= 0.94
    # Each number alone: four standard errors of 200 studies.
    assert (np.abs(covered.mean(0) - LEVEL) < 4 * (LEVEL * (1 - LEVEL) / studies) ** 0.5).all()


@pytest.mark.slow
def test_mh_is_rarely_better_than_binary_if_people_are_binary():
    report = power(20, 50, studies=200, rules=("binary",))
    print(report)
    assert report["rules"]["binary"]["mh_better"]["binary"]["share"] <= 0.05


@pytest.mark.slow
def test_power_finds_what_nuts_and_psis_find():
    """The same small studies, with a power far from 0 and 1, by the grid of `power` and as `fit` does it."""
    people, offers, studies = 4, 12, 40
    played = simulate(Person("mh"), people * studies, offers, 5)
    grid, full = [], []
    for number in range(studies):
        found = study_of(played, number, people)
        quick = analyse(found)
        left_out = {}
        for rule in CHOICES:
            table = tabulate(found, rule)
            drawn = sample(table, chains=2, draws=100, warmup=100, seed=number)
            left_out[rule] = scores.leave_one_out(marginals(table, drawn))["pointwise"]
        better = [scores.difference(left_out["mh"], left_out[rule])["better"] for rule in quick["mh_better"]]
        grid.append([quick["best"] == "mh", *quick["mh_better"].values()])
        full.append([max(CHOICES, key=lambda rule: left_out[rule].sum()) == "mh", *better])
    print("power", np.mean(grid, 0), "fit", np.mean(full, 0))
    np.testing.assert_allclose(np.mean(grid, 0), np.mean(full, 0), atol=0.05)


def test_the_normal_law_of_the_simulation_is_that_of_the_prior():
    """The hyperparameters on the grid of `power` have the moments of their prior."""
    for name, c in COORDINATES.items():
        mu, s, weight = scores.hyper_grid(name)
        assert weight @ mu == pytest.approx(c.place, abs=1e-6)
        assert weight @ mu**2 - c.place**2 == pytest.approx(c.width**2, rel=0.1)
        assert weight @ s == pytest.approx(c.spread * norm.pdf(0) * 2, rel=0.05)
