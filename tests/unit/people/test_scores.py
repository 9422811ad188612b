"""Scores of rules against formulas."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest, linregress

from mhng.experiment.errors import UsageError
from mhng.experiment.people import scores
from mhng.experiment.people.fit import CHOICES
from mhng.experiment.people.power import power
from mhng.experiment.people.simulated import Person, simulate, simulated


def test_wilsons_interval():
    for hits, count in ((0, 5), (3, 10), (190, 200)):
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert scores.wilson(hits, count) == pytest.approx((expected.low, expected.high))


def test_slopes_are_least_squares():
    offers = simulate(Person("mh"), 3, 40, 0).offers()
    x = np.exp(np.minimum(offers.log_r, 0))
    for person, slope in enumerate(scores.slopes(offers, offers.accepted)):
        mine = offers.person == person
        assert slope == pytest.approx(linregress(x[mine], offers.accepted[mine]).slope)


def test_one_offer_a_participant_has_no_slope():
    offers = simulate(Person("mh"), 3, 1, 0).offers()
    fit = scores.linear(offers, {"mh": np.full(3, 0.5)})
    assert fit["slope"] is None and fit["predicted"] == {"mh": None}


def test_a_difference_has_an_interval_over_participants():
    found = scores.difference(np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    assert found["nats"] == pytest.approx(6)
    assert found["low"] == pytest.approx(6 - 4.302653 * 3**0.5) and found["better"]
    assert scores.difference(np.ones(1), np.zeros(1)) == {"nats": 1.0, "low": None, "high": None, "better": None}


def test_calibration_counts_every_offer_once():
    offers = simulate(Person("mh"), 5, 50, 1).offers()
    rows = scores.calibration(offers, {"mh": np.full(250, 0.4)})
    assert sum(row["offers"] for row in rows) == 250 and len(rows) <= scores.DECILES
    assert sum(row["observed"] * row["offers"] for row in rows) == pytest.approx(offers.accepted.sum())
    assert all(row["predicted"]["mh"] == pytest.approx(0.4) for row in rows)
    assert all(first["to"] < second["from"] for first, second in pairwise(rows))


def test_power_is_reproducible_and_says_that_it_is_simulated():
    report = power(3, 20, studies=4, rules=("mh", "binary"))
    assert report == power(3, 20, studies=4, rules=("mh", "binary")) and report["simulated"]
    assert set(report["rules"]) == {"mh", "binary"}
    row = report["rules"]["mh"]
    assert row["participants"]["of"] == 12 and row["group"]["of"] == 4
    assert sum(row["chosen"].values()) == pytest.approx(1) and set(row["chosen"]) == set(CHOICES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 20), "--participants is 1; expected 2 to 1,000"),
        ((5, 0), "--offers is 0; expected 1 to"),
        ((5, 5, 0), "--studies is 0"),
        ((5, 5, 5, 1.0), "--lapse is 1.0"),
    ],
)
def test_power_refuses_sizes_out_of_range(arguments, message):
    participants, offers, *rest = arguments
    with pytest.raises(UsageError, match=message):
        power(participants, offers, **dict(zip(("studies", "lapse"), rest, strict=False)))


def test_simulated_trials_of_an_unknown_rule_are_refused():
    with pytest.raises(UsageError, match=r"--rule is binry; expected one of .*did you mean binary"):
        simulated("binry", 2, 2)
