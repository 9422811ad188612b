"""Objects with several attributes, and the combinations that are held out."""

import numpy as np
import pytest

from mhng.experiment.data.combinations import attributes_of, held_combinations, parse_hold_out
from mhng.experiment.data.loading import load
from mhng.experiment.errors import UsageError

EVERY = np.array([[a, b] for a in range(6) for b in range(6)])


def loaded(name, hold_out="0.25", held=False, limit=None):
    return load(
        name, data_root=None, download=False, limit=limit, views=("0", "20"), seed=0, hold_out=hold_out, held=held
    )


def test_held_out_combinations_leave_every_value_in_every_place():
    held = held_combinations(EVERY, "0.5", 3)
    assert held.sum() == 18
    for a in range(2):
        assert (np.bincount(EVERY[held == 0, a], minlength=6) >= 2).all()
    assert (held_combinations(EVERY, "0.5", 3) == held).all() and (held_combinations(EVERY, "0.5", 4) != held).any()
    assert not held_combinations(EVERY, None, 3).any()


def test_the_hold_outs_of_egg():
    held = held_combinations(EVERY, "egg", 0)
    seen_with_zero = [row.tolist() for row, out in zip(EVERY, held, strict=True) if not out and (row == 0).any()]
    assert seen_with_zero == [[0, 0], [0, 1], [1, 0]]
    assert (held == 2).sum() == 11 - 3 and (held == 1).sum() == round(0.1 * 25)


@pytest.mark.parametrize("name", ["numbers", "attributes:2x6"])
def test_seen_and_held_objects_have_no_combination_in_common(name):
    seen, held = loaded(name), loaded(name, held=True)
    assert not set(seen.labels) & set(held.labels) and not set(seen.indices) & set(held.indices)
    assert seen.class_names == held.class_names
    assert seen.views[0].shape[1:] == held.views[0].shape[1:]


def test_numbers_are_two_digits_seen_by_each_agent():
    objects = loaded("numbers", hold_out=None, limit=50)
    assert objects.count == 50 and objects.views[0].shape == (50, 128)
    assert not objects.views[0].equal(objects.views[1])
    attributes = attributes_of(objects.class_names, objects.labels)
    assert attributes.shape == (50, 2) and attributes.max() <= 9
    assert objects.class_names[objects.labels[0]] == " ".join(map(str, attributes[0]))


def test_attributes_are_one_hots():
    objects = loaded("attributes:3x2", hold_out=None)
    assert objects.count == 8 and objects.views[0].sum(1).eq(3).all()


def test_names_without_values_have_no_attributes():
    assert attributes_of(("cat", "dog"), np.array([0, 1])) is None
    assert attributes_of(("0", "1"), np.array([0, 1])) is None


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "half", "nan"])
def test_a_bad_share_is_refused(text):
    with pytest.raises(ValueError, match="egg"):
        parse_hold_out(text)


@pytest.mark.parametrize("name", ["attributes:9x99", "attributes:2x1", "attributes:AxV"])
def test_bad_sizes_are_refused(name):
    with pytest.raises(UsageError, match="attributes:"):
        loaded(name)
