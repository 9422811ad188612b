"""The distance to the enumerated posterior: of laws that are known, and of sampled ones."""

from __future__ import annotations

import numpy as np
import pytest

from mhng.experiment.diagnostics.exact import (
    canonical_partitions,
    check_size,
    compare_draws,
    expected_distance,
    partition_codes,
    partition_law,
)
from mhng.experiment.errors import UsageError
from mhng.inference.enumeration import all_signs

ASSIGNMENTS = all_signs(4, 3).numpy()


def uniform() -> np.ndarray:
    return np.full(81, 1 / 81)


def test_partitions_are_the_same_under_every_numbering() -> None:
    rows = np.array([[2, 2, 0, 1], [0, 0, 1, 2], [1, 1, 2, 0], [1, 0, 1, 1]])
    assert canonical_partitions(rows).tolist() == [[0, 0, 1, 2]] * 3 + [[0, 1, 0, 0]]
    assert len(set(partition_codes(ASSIGNMENTS, 3).tolist())) == 14  # partitions of four things into at most three


def test_the_law_of_partitions_adds_up() -> None:
    law = np.random.default_rng(0).dirichlet(np.ones(81))
    summed = partition_law(ASSIGNMENTS, law, 3)
    assert summed.sum() == pytest.approx(1)
    same = (ASSIGNMENTS[:, :1] == ASSIGNMENTS).all(1)
    assert summed[0] == pytest.approx(law[same].sum())


@pytest.mark.parametrize("draws", [1, 7, 200])
def test_the_noise_of_independent_draws_is_the_one_they_have(draws: int) -> None:
    rng = np.random.default_rng(1)
    law = rng.dirichlet(np.ones(9))
    found = np.abs(rng.multinomial(draws, law, 20_000) / draws - law).sum(1) / 2
    assert expected_distance(law, draws) == pytest.approx(found.mean(), abs=5 * found.std() / np.sqrt(20_000))


def test_draws_of_the_law_have_its_noise_and_others_do_not() -> None:
    rng = np.random.default_rng(2)
    law = rng.dirichlet(np.ones(81))
    right = ASSIGNMENTS[rng.choice(81, (50, 40), p=law)]
    found = compare_draws(right, ASSIGNMENTS, law, 3)
    assert found["total_variation"] < 2 * found["noise_of_all_draws"] < found["noise_of_one_draw_a_chain"]
    assert found["co_assignment_largest_gap"] < 0.06
    # Renumbered draws are as good: the labels have no say.
    again = compare_draws((right + 1) % 3, ASSIGNMENTS, law, 3)
    assert again["total_variation"] == pytest.approx(found["total_variation"])
    wrong = compare_draws(ASSIGNMENTS[rng.choice(81, (50, 40))], ASSIGNMENTS, law, 3)
    assert wrong["total_variation"] > 4 * wrong["noise_of_all_draws"]


def test_one_object_has_one_partition() -> None:
    found = compare_draws(np.zeros((2, 3, 1), dtype=int), all_signs(1, 3).numpy(), np.full(3, 1 / 3), 3)
    assert found["total_variation"] == found["co_assignment_mean_gap"] == 0 and found["partitions"] == 1


def test_what_is_too_large_says_how_large() -> None:
    check_size(20, 2)
    check_size(5, 1)
    for N, K in ((21, 2), (600, 6), (13, 3)):
        with pytest.raises(UsageError, match=rf"--exact .* {K} signs for {N} objects"):
            check_size(N, K)
