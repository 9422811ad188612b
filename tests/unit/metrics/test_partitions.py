"""Scores against scikit-learn and values worked out by hand, and the edges their docstring promises."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score, normalized_mutual_info_score

from mhng.experiment.metrics import partitions as scores

SEEDS = range(8)


def partitions(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Signs that follow the labels in part; the number of signs and of classes differs from seed to seed."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2 + seed, n)
    signs = np.where(rng.random(n) < 0.6, (labels * 3 + 1) % 7, rng.integers(0, 7, n))
    return signs, labels


@pytest.mark.parametrize("seed", SEEDS)
def test_ari_and_nmi_equal_scikit_learn(seed: int) -> None:
    signs, labels = partitions(seed)
    assert scores.ari(signs, labels) == pytest.approx(adjusted_rand_score(labels, signs), abs=1e-14)
    assert scores.nmi(signs, labels) == pytest.approx(normalized_mutual_info_score(labels, signs), abs=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_kappa_equals_scikit_learn(seed: int) -> None:
    a, b = partitions(seed)
    assert scores.kappa(a, b) == pytest.approx(cohen_kappa_score(a, b), abs=1e-14)


def test_renumbered_partition_is_one_for_ari_and_disagreement_for_raw_kappa() -> None:
    a, b = np.array([0, 1, 2] * 10), np.array([1, 2, 0] * 10)
    assert scores.ari(a, b) == 1.0
    assert scores.nmi(a, b) == pytest.approx(1.0)
    assert scores.accuracy(a, b) == 1.0
    assert scores.kappa(a, b) == pytest.approx(-0.5)
    assert scores.matched_kappa(a, b) == 1.0


def test_unmatched_signs_and_classes_count_as_errors() -> None:
    # five signs, three classes: class 0 is split over signs 0 (3 objects) and 3 (1), class 2 over 2 (2) and
    # 4 (1)
    labels = [0, 0, 0, 0, 1, 1, 2, 2, 2]
    signs = [0, 0, 0, 3, 1, 1, 2, 2, 4]
    assert scores.accuracy(signs, labels) == pytest.approx(7 / 9)
    assert scores.accuracy([0, 0, 0, 0], [0, 1, 2, 2]) == 0.5


def test_accuracy_takes_the_best_matching_not_the_greedy_one() -> None:
    # greedy would pair sign 0 with class 0 (5 objects) and be left with 0 for sign 1; the best pairing gets
    # 4 + 4
    labels = [0] * 5 + [1] * 4 + [0] * 4
    signs = [0] * 9 + [1] * 4
    assert scores.accuracy(signs, labels) == pytest.approx(8 / 13)


def test_matched_kappa_is_symmetric_and_not_below_the_raw_one() -> None:
    a, b = partitions(5)
    assert scores.matched_kappa(a, b) == pytest.approx(scores.matched_kappa(b, a))
    assert scores.matched_kappa(a, b) > scores.kappa(a, b)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.int64, np.uint64])
def test_small_integer_types_do_not_overflow(kind: type) -> None:
    a = np.arange(100) % 20
    b = np.where(np.arange(100) < 80, a, 19 - a)
    expected = cohen_kappa_score(a, b)
    assert scores.kappa(a.astype(kind), b.astype(kind)) == pytest.approx(expected)
    assert scores.ari(a.astype(kind), b.astype(kind)) == pytest.approx(adjusted_rand_score(a, b))
    assert scores.accuracy(a.astype(kind), a.astype(kind)) == 1.0


@pytest.mark.parametrize("names", [[3, 7, 1_000_000], [-1, 0, 1], ["cat", "dog", "Ünï"], [0.5, 1.0, 2.0]])
def test_labels_may_have_gaps_signs_and_names(names: list) -> None:
    signs = np.array([0, 1, 2, 2] * 5)
    labels = np.array(names)[[0, 1, 2, 0] * 5]
    plain = np.array([0, 1, 2, 0] * 5)
    for score in (scores.ari, scores.nmi, scores.accuracy):
        assert score(signs, labels) == score(signs, plain)


def test_large_sign_numbers_keep_their_meaning_between_agents() -> None:
    assert scores.kappa([5000, 5000, 6000, 6000], [5000, 5000, 6000, 5000]) == pytest.approx(0.5)
    assert scores.kappa([5000, 5000, 6000, 6000], [6000, 6000, 5000, 5000]) == pytest.approx(-1.0)


@pytest.mark.parametrize("score", [scores.ari, scores.nmi, scores.accuracy])
def test_without_labels_there_is_no_score(score: Callable) -> None:
    assert score([0, 1, 1], None) is None


def test_one_object() -> None:
    assert scores.ari([4], [0]) == scores.nmi([4], [0]) == scores.accuracy([4], [0]) == 1.0
    assert scores.kappa([4], [4]) == scores.matched_kappa([4], [0]) == 1.0
    assert scores.kappa([4], [0]) == 0.0


def test_one_sign() -> None:
    signs, labels = np.zeros(12, int), np.repeat([0, 1, 2], [6, 4, 2])
    assert scores.ari(signs, labels) == 0.0
    assert scores.nmi(signs, labels) == 0.0
    assert scores.accuracy(signs, labels) == 0.5
    assert scores.ari(signs, signs) == scores.nmi(signs, signs) == scores.accuracy(signs, signs) == 1.0


def test_constant_raters_have_a_kappa() -> None:
    assert scores.kappa([3, 3, 3], [3, 3, 3]) == 1.0
    assert scores.kappa([3, 3, 3], [4, 4, 4]) == 0.0
    assert scores.kappa([3, 3, 3], [3, 3, 4]) == 0.0


def test_many_classes_for_few_objects_warn_of_nothing() -> None:
    labels = np.arange(30)  # scikit-learn would ask whether this is a regression
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores.ari(labels, labels) == 1.0
        assert scores.nmi(labels, labels) == pytest.approx(1.0)
        assert scores.nmi(labels % 2, labels) == pytest.approx(normalized_mutual_info_score(labels, labels % 2))


def test_ari_does_not_overflow_on_many_objects() -> None:
    labels = np.repeat(np.arange(2), 300_000)
    signs = np.roll(labels, 1000)
    assert scores.ari(signs, labels) == pytest.approx(adjusted_rand_score(labels, signs), abs=1e-12)


def test_mean_pairwise_kappa() -> None:
    signs = np.array([[0, 1, 2, 0], [0, 1, 2, 1], [2, 1, 0, 0]])
    pairs = [scores.kappa(signs[i], signs[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert scores.mean_pairwise_kappa(signs) == pytest.approx(np.mean(pairs))
    assert scores.mean_pairwise_kappa(signs[:2]) == scores.kappa(signs[0], signs[1])
    with pytest.raises(ValueError, match="two or more agents"):
        scores.mean_pairwise_kappa(signs[:1])


def test_the_matrix_of_kappas_is_kappa_of_each_pair_to_the_last_bit() -> None:
    signs = np.random.default_rng(0).choice(4, p=[0.6, 0.2, 0.15, 0.05], size=(5, 37))
    signs[3] = 2
    signs[4] = 2
    matrix = scores.kappa_matrix(signs)
    for i in range(5):
        for j in range(5):
            assert matrix[i, j] == scores.kappa(signs[i], signs[j])


def test_fleiss_kappa_is_what_its_definition_says() -> None:
    signs = np.random.default_rng(1).choice(3, p=[0.7, 0.2, 0.1], size=(4, 50))
    signs[1:, :30] = signs[0, :30]
    counts = np.stack([(signs == k).sum(0) for k in range(3)], axis=1)  # (N, K), as Fleiss lays them out
    per_object = ((counts**2).sum(1) - 4) / (4 * 3)
    chance = ((counts.sum(0) / (4 * 50)) ** 2).sum()
    assert scores.fleiss_kappa(signs) == pytest.approx((per_object.mean() - chance) / (1 - chance))
    assert scores.fleiss_kappa(np.tile(signs[0], (3, 1))) == pytest.approx(1.0)
    assert scores.fleiss_kappa(np.full((3, 5), 2)) == 1.0
    with pytest.raises(ValueError, match="two or more agents"):
        scores.fleiss_kappa(signs[:1])


def test_successive_ari_compares_neighbours_only() -> None:
    draws = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 0, 1]])
    np.testing.assert_allclose(scores.successive_ari(draws), [1.0, -0.5])
    assert scores.successive_ari(draws[:1]).shape == (0,)


@pytest.mark.parametrize(("a", "b"), [([], []), ([0, 1], [0]), ([[0, 1]], [[0, 1]])])
def test_shapes_that_do_not_fit_are_refused(a: list, b: list) -> None:
    for score in (scores.ari, scores.accuracy, scores.kappa, scores.nmi):
        with pytest.raises(ValueError, match="same N >= 1 objects"):
            score(a, b)


def test_a_sweep_of_ten_thousand_objects_is_scored_in_no_time() -> None:
    signs, labels = partitions(3, n=10_000)
    best = min(_seconds(lambda: (scores.ari(signs, labels), scores.kappa(signs, labels))) for _ in range(20))
    assert best < 0.003  # 0.2 ms here; scikit-learn's own two take 5 ms


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def test_tables_that_are_too_large_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(0)
    a, b = random.randint(9, size=(2, 200))
    b[:80] = (a[:80] + 1) % 9
    kinds = (scores.ari, scores.nmi, scores.accuracy, scores.matched_kappa, scores.kappa)
    before = [kind(a, b) for kind in kinds]
    monkeypatch.setattr(scores, "_MOST_ENTRIES", 10)
    assert [kind(a, b) for kind in kinds] == pytest.approx(before, abs=1e-12)
    names = 1000 * np.arange(3000)
    assert scores.accuracy(names, names[::-1]) == scores.ari(names, names) == 1
