"""Draws of a study: named, without a state, and of the right law."""

import math

import numpy as np

from mhng.experiment.people import draws
from tests.checks import ALPHA, chi_square


def test_a_draw_is_a_function_of_its_name():
    assert draws.uniform(1, "a", 2) == draws.uniform(1, "a", 2)
    assert len({draws.uniform(*name) for name in ((1, "a", 2), (1, "a", 3), (2, "a", 2), (1, "b", 2))}) == 4
    # The value may not change: logs of finished studies are replayed with it.
    assert draws.uniform(0, "people", 0, 5, "offer") == 0.7992882505107165


def test_draws_are_uniform_and_choices_have_their_law():
    u = [draws.uniform(3, "x", n) for n in range(4000)]
    assert chi_square(np.bincount((np.array(u) * 10).astype(int), minlength=10), np.full(10, 0.1)) > ALPHA
    law = np.array([0.5, 0.2, 0.3, 0.0])
    chosen = [draws.choice([math.log(p) if p else -1e9 for p in law], value) for value in u]
    assert chi_square(np.bincount(chosen, minlength=4)[:3], law[:3]) > ALPHA and 3 not in chosen
    assert draws.choice([0.0, 0.0], math.nextafter(1, 0)) == 1 and draws.choice([-1e9, 0.0], 0.0) == 1


def test_an_order_is_a_permutation():
    orders = {tuple(draws.order(4, 0, "order", n)) for n in range(200)}
    assert len(orders) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)
