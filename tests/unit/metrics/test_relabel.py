"""Relabelling: that numbers going in do not matter, and that switched labels come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhng.experiment.metrics.partitions import contingency
from mhng.experiment.metrics.relabel import relabel, renumber, renumber_words, reorder

C, D, M, N, K = 3, 5, 2, 40, 4


def noisy(seed: int = 0, used: int = K) -> Any:
    """Chains around one partition: each draw has a tenth of the objects elsewhere. And a log joint."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, used, N)
    signs = np.where(rng.random((C, D, M, N)) < 0.1, rng.integers(0, used, (C, D, M, N)), truth)
    return signs, rng.normal(size=(C, D))


def switched(signs: Any, seed: int = 1, *, each: bool = False) -> Any:
    """Every draw under a numbering of its own; of every agent its own too with `each`. And the numberings."""
    rng = np.random.default_rng(seed)
    orders = np.array([[[rng.permutation(K) for _ in range(M)] for _ in range(D)] for _ in range(C)])
    if not each:
        orders = np.repeat(orders[:, :, :1], M, axis=2)
    return np.take_along_axis(orders, signs, axis=-1), orders


@pytest.mark.parametrize("together", [True, False])
def test_the_numbers_that_go_in_do_not_matter(together: bool) -> None:
    signs, log_joint = noisy()
    mu = np.random.default_rng(2).normal(size=(C, D, M, K, 3))
    other, orders = switched(signs, each=not together)
    moved = np.empty_like(mu)
    for place in np.ndindex(C, D, M):
        moved[place][orders[place]] = mu[place]
    one, two = (relabel(each, log_joint, K, together=together) for each in (signs, other))
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(renumber(signs, one.permutation), renumber(other, two.permutation))
    np.testing.assert_array_equal(reorder(mu, one.permutation), reorder(moved, two.permutation))
    assert one.pivot == two.pivot == divmod(int(log_joint.argmax()), D)


def test_switched_labels_are_put_back() -> None:
    signs, log_joint = noisy()
    other, _ = switched(signs)
    assert np.ptp([np.bincount(row, minlength=K)[0] for row in other.reshape(-1, N)]) > 5  # switched they are
    found = relabel(other, log_joint, K, together=True)
    new = renumber(other, found.permutation)
    chain, draw = found.pivot
    # All but the noise agree with the pivot, and so with each other.
    assert (new == new[chain, draw]).mean() > 0.75
    assert found.weight.std((0, 1)).max() < 0.06
    sizes = [np.bincount(new[chain, draw].ravel(), minlength=K).tolist()]
    assert sizes[0] == sorted(sizes[0], reverse=True)  # 0 is the sign that is largest in the pivot


def test_agents_with_one_code_get_one_permutation_and_others_their_own() -> None:
    signs, log_joint = noisy()
    signs[:, :, 1] = (signs[:, :, 1] + 1) % K  # the second agent says the next word
    together = relabel(signs, log_joint, K, together=True)
    assert together.permutation.shape == (C, D, K)
    # A disagreement of codes stays one: relabelling must not hide it.
    new = renumber(signs, together.permutation)
    np.testing.assert_array_equal(new[:, :, 0] == new[:, :, 1], signs[:, :, 0] == signs[:, :, 1])
    apart = relabel(signs, log_joint, K, together=False)
    assert apart.permutation.shape == (C, D, M, K)
    chain, draw = apart.pivot
    assert (
        renumber(signs, apart.permutation)[:, :, 1] == renumber(signs, apart.permutation)[chain, draw, 1]
    ).mean() > 0.7


def test_the_matching_is_the_best_there_is() -> None:
    signs, log_joint = noisy(seed=3)
    found = relabel(signs, log_joint, K, together=True)
    new = renumber(signs, found.permutation)
    pivot = new[found.pivot]
    from itertools import permutations

    for c, d in np.ndindex(C, D):
        kept = (new[c, d] == pivot).sum()
        assert kept == max((np.array(order)[new[c, d]] == pivot).sum() for order in permutations(range(K)))
        assert np.trace(contingency(new[c, d].ravel(), pivot.ravel())) == kept


def test_weights_are_shares_and_permutations_are_permutations() -> None:
    signs, log_joint = noisy(used=2)
    found = relabel(signs, log_joint, 6, together=True)
    np.testing.assert_allclose(found.weight.sum(-1), 1)
    np.testing.assert_array_equal(np.sort(found.permutation, axis=-1), np.broadcast_to(np.arange(6), (C, D, 6)))
    new = renumber(signs, found.permutation)
    for c, d, m in np.ndindex(C, D, M):
        np.testing.assert_array_equal(found.weight[c, d, m], np.bincount(new[c, d, m], minlength=6) / N)


def test_more_signs_than_are_used_come_last_and_a_draw_may_use_more_than_the_pivot() -> None:
    signs, log_joint = noisy(used=2)
    log_joint[1, 2] = 10
    signs[0, 0, :, :3] = 3  # one draw uses a sign that the pivot does not
    found = relabel(signs, log_joint, K, together=True)
    assert (found.weight[1, 2, :, 2:] == 0).all()
    assert found.weight[0, 0, :, 2].tolist() == [3 / N, 3 / N]  # the first free number, whatever it was called
    again = signs.copy()
    again[0, 0][again[0, 0] == 3] = 2
    np.testing.assert_array_equal(relabel(again, log_joint, K, together=True).weight, found.weight)


def test_one_sign_one_object_one_draw() -> None:
    signs = np.zeros((1, 1, 1, 1), dtype=np.int16)
    found = relabel(signs, np.zeros((1, 1)), 1, together=True)
    assert (found.permutation.tolist(), found.weight.tolist(), found.pivot) == ([[[0]]], [[[[1.0]]]], (0, 0))
    np.testing.assert_array_equal(renumber(signs, found.permutation), signs)


def test_a_log_joint_that_is_not_finite_is_no_pivot() -> None:
    signs, log_joint = noisy()
    log_joint[0, 0] = np.nan
    log_joint[2, 3] = 50
    assert relabel(signs, log_joint, K, together=True).pivot == (2, 3)
    assert relabel(signs, np.full((C, D), np.nan), K, together=True).pivot == (0, 0)


def test_raw_numbers_are_what_the_check_would_reject() -> None:
    """The specimen: without relabelling, switched labels do change what has a sign in its name."""
    signs, _ = noisy()
    other, _ = switched(signs)
    raw = [np.bincount(row, minlength=K) for row in signs.reshape(-1, N)]
    assert not np.array_equal(raw, [np.bincount(row, minlength=K) for row in other.reshape(-1, N)])


@pytest.mark.parametrize("kind", ["slots", "words", "bag"])
def test_words_that_a_draw_numbers_otherwise_come_back(kind: str) -> None:
    """Slots change places, all slots share one numbering, or the order in a sentence is open."""
    rng, S, V = np.random.default_rng(3), 3, 5
    pivot = rng.integers(0, V, (60, S))
    numberings = np.array([rng.permutation(V) for _ in range(S)] if kind == "slots" else [rng.permutation(V)] * S)
    words = numberings[np.arange(S), pivot]
    if kind == "slots":
        words = words[:, [2, 0, 1]]
    words[:3] = rng.integers(0, V, (3, S))  # and some objects differ
    if kind == "bag":
        words = rng.permuted(words, axis=1)
    found = renumber_words(words, pivot, V, kind)
    if kind == "bag":
        found, pivot = np.sort(found, axis=1), np.sort(pivot, axis=1)
    assert (found[3:] == pivot[3:]).all()
    assert (renumber_words(pivot, pivot, V, kind) == pivot).all()
