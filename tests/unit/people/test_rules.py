"""The acceptance rules, against their formulas in plain numbers."""

import math

import pytest
import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.people.rules import RULES, probability, with_lapses

OFFERED, CURRENT = 0.2, 0.5


@pytest.mark.parametrize(
    ("rule", "parameters", "expected"),
    [
        ("mh", {}, 0.4),
        ("numerator", {}, 0.2),
        ("subtraction", {}, 0.35),
        ("binary", {}, 0.0),
        ("constant", {"rate": 0.7}, 0.7),
        ("tempered", {"bias": 0.3, "temperature": 2.0}, math.exp(0.3) * 0.4**0.5),
    ],
)
def test_each_rule_is_its_formula(rule, parameters, expected):
    offered, current = (torch.tensor(value, dtype=torch.float64).log() for value in (OFFERED, CURRENT))
    assert probability(rule, offered, current, **parameters).item() == pytest.approx(expected)


def test_a_better_sign_is_always_taken_by_mh_and_binary():
    offered, current = torch.tensor([-0.1, -0.5, -3.0]), torch.tensor([-2.0, -0.5, -0.1])
    assert probability("mh", offered, current)[:2].tolist() == [1, 1]
    assert probability("binary", offered, current).tolist() == [1, 1, 0]


def test_every_rule_is_a_probability_and_tempered_holds_mh():
    offered, current = torch.linspace(-30, 0, 61)[:, None], torch.linspace(-30, 0, 61)
    for rule in RULES:
        value = probability(rule, offered, current)
        assert value.shape == (61, 61) and ((value >= 0) & (value <= 1)).all()
    torch.testing.assert_close(probability("tempered", offered, current), probability("mh", offered, current))


def test_lapses_mix_with_the_rule():
    assert with_lapses(torch.tensor(1.0), 0.1, 0.4).item() == pytest.approx(0.94)


def test_an_unknown_rule_is_refused():
    with pytest.raises(UsageError, match="rule is metropolis; expected one of mh, numerator"):
        probability("metropolis", torch.zeros(1), torch.zeros(1))
