"""Scores of a language on small languages whose scores are known."""

import numpy as np
import pytest

from mhng.experiment.metrics.language import edit_distances, fit_decoder, language

ATTRIBUTES = np.array([[a, b] for a in range(4) for b in range(3)])
rng = np.random.default_rng(0)


def test_a_compositional_language_has_the_highest_scores():
    names = np.stack([np.array([2, 0, 3, 1])[ATTRIBUTES[:, 0]], np.array([1, 2, 0])[ATTRIBUTES[:, 1]]], axis=1)
    scores = language(names[:, ::-1], ATTRIBUTES)
    assert scores["topsim"] == pytest.approx(1) and scores["posdis"] == pytest.approx(1)
    assert scores["all_right"] == 1 and scores["right"] == [1, 1]
    assert scores["messages"] == 12 and scores["entropy"] == pytest.approx(np.log2(12))
    assert scores["cbm_slots"] == 1 and scores["length"] == 2
    # A word that stands for a value in each slot is matched with one of them: three with the second attribute.
    assert scores["cbm"] == pytest.approx((3 * 4 + 3) / 24)


def test_a_language_whose_order_does_not_matter():
    """Words of the two attributes differ, and their order is random."""
    names = ATTRIBUTES + [0, 4]
    names = np.where(rng.random(len(names))[:, None] < 0.5, names, names[:, ::-1])
    scores = language(names, ATTRIBUTES)
    assert scores["bosdis"] == pytest.approx(1) and scores["posdis"] < 0.6


def test_a_holistic_language_has_low_scores():
    names = ATTRIBUTES[rng.permutation(len(ATTRIBUTES))]
    scores = language(names, ATTRIBUTES)
    assert scores["topsim"] < 0.5 and scores["all_right"] < 0.7 and scores["messages"] == 12


def test_a_constant_language_has_no_scores():
    scores = language(np.zeros((12, 2), dtype=int), ATTRIBUTES)
    assert all(np.isnan(scores[name]) for name in ("topsim", "posdis", "bosdis"))
    assert scores["entropy"] == scores["entropy_words"] == 0
    assert scores["cbm"] == pytest.approx(4 / 24)  # "0 0" has one word, matched with a value of the second attribute


def test_concept_best_matching():
    """Words 0 to 6 are the values. "0 0" names one value only."""
    words = ATTRIBUTES + [0, 4]
    assert language(words, ATTRIBUTES)["cbm"] == 1
    words[:3] = 0  # these three objects have the value 0 of the first attribute
    assert language(words, ATTRIBUTES)["cbm"] == pytest.approx(21 / 24)
    # A word that belongs to no value costs as much as a value without a word.
    extra = np.concatenate([ATTRIBUTES + [0, 4], np.full((12, 1), 9)], axis=1)
    assert language(extra, ATTRIBUTES)["cbm"] == pytest.approx(24 / 36)


def test_messages_end_at_the_end_word():
    """The words after the end word do not matter."""
    words = np.concatenate([ATTRIBUTES + [1, 5], np.zeros((12, 1), dtype=int)], axis=1)
    words[0, 1] = 0
    noisy = words.copy()
    noisy[0, 2] = 3
    scores = language(words, ATTRIBUTES, end=0)
    assert language(noisy, ATTRIBUTES, end=0) == scores
    assert scores["length"] == pytest.approx(23 / 12) and scores["cbm"] == pytest.approx(23 / 24)
    assert scores["topsim"] < 1
    assert edit_distances(np.array([[1, 2, 0], [0, 1, 1], [1, 0, 2], [1, 2, 3]]), end=0).tolist() == [2, 1, 1, 1, 3, 2]


def test_a_decoder_reads_new_combinations():
    seen = ATTRIBUTES.sum(1) % 5 != 4
    names = np.stack([ATTRIBUTES[:, 1], (ATTRIBUTES[:, 0] + 1) % 4], axis=1)
    decoder = fit_decoder(names[seen], ATTRIBUTES[seen])
    assert (decoder.decode(names[~seen]) == ATTRIBUTES[~seen]).all()
    assert (decoder.decode(names + 9) == -1).all()


def test_fewer_words_than_attributes():
    scores = language(ATTRIBUTES[:, :1], ATTRIBUTES)
    assert scores["right"] == [1, 0] and scores["all_right"] == 0


def test_slots_of_many_attributes_are_matched():
    attributes = rng.integers(3, size=(200, 12))
    order = rng.permutation(12)
    decoder = fit_decoder(attributes[:, order], attributes)
    assert (np.array(decoder.slots) == np.argsort(order)).all()
    fewer = fit_decoder(attributes[:, order[:2]], attributes)
    assert [fewer.slots.index(slot) for slot in (0, 1)] == order[:2].tolist() and fewer.slots.count(-1) == 10


def test_numbers_of_values_do_not_matter():
    words = rng.integers(3, size=(50, 2))
    attributes = rng.integers(3, size=(50, 2))
    scores, spread = language(words, attributes), language(words, attributes * 1_000)
    assert [spread[key] for key in ("cbm", "cbm_slots")] == [scores[key] for key in ("cbm", "cbm_slots")]


def test_edit_distances():
    messages = np.array([[0, 1, 2], [1, 2, 3], [0, 1, 3], [3, 3, 3]])
    assert edit_distances(messages).tolist() == [2, 1, 3, 2, 2, 2]


@pytest.mark.parametrize(
    ("messages", "attributes", "named"),
    [
        (np.zeros(3, dtype=int), ATTRIBUTES[:3], "messages have the shape"),
        (ATTRIBUTES[:3], ATTRIBUTES, "3 objects"),
        (ATTRIBUTES - 1, ATTRIBUTES, "messages are int64 from -1"),
        (ATTRIBUTES, ATTRIBUTES + 0.5, "attributes are float64"),
    ],
)
def test_arrays_that_do_not_fit_are_named(messages, attributes, named):
    with pytest.raises(ValueError, match=named):
        language(messages, attributes)


@pytest.mark.slow
def test_scores_are_those_of_emlangkit():
    metrics = pytest.importorskip("emlangkit.metrics")
    from emlangkit.metrics import entropy

    for seed in range(50):
        draw = np.random.default_rng(seed)
        attributes = draw.integers(0, 4, (40, 3))
        messages = np.where(draw.random((40, 3)) < 0.6, attributes, draw.integers(0, 5, (40, 3)))
        scores = language(messages, attributes)
        assert scores["topsim"] == pytest.approx(
            metrics.compute_topographic_similarity(messages, attributes)[0], abs=1e-6
        )
        assert scores["posdis"] == pytest.approx(metrics.compute_posdis(messages, attributes), abs=1e-6)
        assert scores["entropy"] == pytest.approx(entropy.compute_entropy(messages), abs=1e-6)
        assert scores["entropy_words"] == pytest.approx(entropy.compute_entropy(messages.ravel()), abs=1e-6)
        assert scores["bosdis"] == pytest.approx(metrics.compute_bosdis(messages, attributes), abs=1e-6)
