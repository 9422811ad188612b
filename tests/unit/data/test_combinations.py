"""Objects with several attributes, and the combinations that are held out."""

import h5py
import numpy as np
import pytest

from mhng.experiment.data.builtin import factor_files
from mhng.experiment.data.combinations import attributes_of, columns, held_combinations, parse_hold_out
from mhng.experiment.data.loading import load
from mhng.experiment.data.sprites import VALUES, render
from mhng.experiment.errors import UsageError

EVERY = np.array([[a, b] for a in range(6) for b in range(6)])
SPRITES = np.stack(np.unravel_index(np.arange(256), VALUES), axis=1).astype(np.int64)


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


def test_a_share_that_cannot_be_held_out_gives_a_note():
    (note,) = loaded("attributes:2x4", hold_out="0.7").notes
    held = held_combinations(np.array([[a, b] for a in range(4) for b in range(4)]), "0.7", 0)
    assert held.sum() < 11 and f"--hold-out is 0.7, but only {held.sum()} of 16 combinations can be held out" in note
    assert loaded("attributes:2x6").notes == () == loaded("attributes:2x6", hold_out="egg").notes


def test_the_hold_outs_of_egg():
    held = held_combinations(EVERY, "egg", 0)
    seen_with_zero = [row.tolist() for row, out in zip(EVERY, held, strict=True) if not out and (row == 0).any()]
    assert seen_with_zero == [[0, 0], [0, 1], [1, 0]]
    assert (held == 2).sum() == 11 - 3 and (held == 1).sum() == round(0.1 * 25)


@pytest.mark.parametrize("name", ["numbers", "attributes:2x6", "sprites"])
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
    assert attributes_of(("20231201 1", "20231202 2"), np.array([0, 1])) is None  # no table is as wide
    assert attributes_of(("\u00b2 1", "1 1"), np.array([0, 1])) is None  # a digit that no whole number is


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "half", "nan"])
def test_a_bad_share_is_refused(text):
    with pytest.raises(ValueError, match="egg"):
        parse_hold_out(text)


@pytest.mark.parametrize("name", ["attributes:9x99", "attributes:2x1", "attributes:AxV"])
def test_bad_sizes_are_refused(name):
    with pytest.raises(UsageError, match="attributes:"):
        loaded(name)


def test_sprites_show_their_attributes():
    objects = loaded("sprites", hold_out=None, limit=60)
    assert objects.views[0].shape == (60, 3, 24, 24) and 0 <= objects.views[0].min() <= objects.views[0].max() <= 1
    assert attributes_of(objects.class_names, objects.labels).max(0).tolist() == [3, 3, 3, 3]
    pictures = render(SPRITES, np.random.RandomState(0))
    shape, hue, size, place = SPRITES.T
    # The hue: red, green and blue grounds have one strong channel, yellow ones have a weak one.
    channels = pictures[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].mean(-1)
    assert (channels[hue < 3].argmax(1) == hue[hue < 3]).all() and (channels[hue == 3].argmin(1) == 2).all()
    # The place and the size of the dark disc with its sign.
    row, column = np.mgrid[:24, :24] - 11.5
    other = np.abs(pictures - channels[:, :, None, None]).sum(1)
    other *= other > 0.3
    centres = np.stack([(other * axis).sum((1, 2)) / other.sum((1, 2)) for axis in (row, column)], axis=1)
    means = [centres[place == value].mean(0) for value in range(4)]
    assert np.abs(np.array(means) - [[0, -1.1], [-1.1, 0], [0, 1.1], [0, 0]]).max() < 0.2
    areas = (other > 0).sum((1, 2))
    assert all(areas[size == value].max() < areas[size == value + 1].min() for value in range(3))
    # The shape: triangles have more light at the ends of their base, the bar along one axis.
    light = pictures.min(1) * (np.hypot(row, column) < 5)
    weights = (row * column**2, -row * column**2, column * row**2, (column**2 - row**2) / 2)
    moments = np.array([[(light[shape == value] * w).sum((1, 2)).mean() for w in weights] for value in range(4)])
    assert (moments.argmax(1) == range(4)).all() and moments.diagonal().min() > 20


def test_sprites_are_nearly_sums_over_attributes():
    """Centred one-hots of four attributes explain the variance of each of the first seven components."""
    pictures = render(SPRITES, np.random.RandomState(0)).reshape(len(SPRITES), -1)
    left, variances, _ = np.linalg.svd(pictures - pictures.mean(0), full_matrices=False)
    values = np.concatenate([np.eye(4)[column] for column in SPRITES.T], axis=1) - 0.25
    # In the set of all combinations, the values of different attributes are uncorrelated.
    explained = ((values.T @ left) ** 2).sum(0) / 64
    assert (explained[:7] > 0.85).all() and (variances[6] / variances[7]) ** 2 > 1.3


def test_numbers_of_mnist_are_pictures_side_by_side():
    objects = loaded("mnist-numbers", hold_out=None, limit=20)
    assert objects.views[0].shape[-1] == columns("mnist-numbers") * objects.views[0].shape[-2]
    assert objects.views[0].shape == (20, 1, 28, 56)
    assert attributes_of(objects.class_names, objects.labels).shape == (20, 2)


def dsprites(folder):
    factors = np.stack(np.unravel_index(np.arange(0, 737_280, 977), (1, 3, 6, 40, 32, 32)), axis=1)
    images = np.zeros((len(factors), 64, 64), dtype=np.uint8)
    images[:, :8, :8] = 1
    np.savez(folder / factor_files.FILES["dsprites"], imgs=images, latents_classes=factors)
    return factors


def shapes(folder):
    values = (10, 10, 10, 8, 4, 15)
    labels = np.stack(np.unravel_index(np.arange(0, 480_000, 977), values), axis=1) / np.array(values)
    with h5py.File(folder / factor_files.FILES["3dshapes"], "w") as file:
        file["labels"] = labels
        file["images"] = np.full((len(labels), 64, 64, 3), 51, dtype=np.uint8)


@pytest.mark.parametrize(("name", "write", "channels", "values"), [
    ("dsprites", dsprites, 1, [3, 6, 4, 4]), ("3dshapes", shapes, 3, [10, 10, 10, 8, 4]),
])  # fmt: skip
def test_files_with_factors(tmp_path, name, write, channels, values):
    def read(**changes):
        given = {"limit": 300, "views": ("0", "0"), "seed": 0, "hold_out": None, "data_root": tmp_path} | changes
        return load(name, download=False, **given)

    with pytest.raises(UsageError, match=f"no .*{factor_files.FILES[name]}; pass --data-root DIR"):
        read()
    write(tmp_path)
    objects = read()
    assert objects.views[0].shape == (300, channels, 32, 32)
    assert objects.views[0][0, :, :4, :4].numpy() == pytest.approx(1 if name == "dsprites" else 0.2)
    every = attributes_of(objects.class_names, objects.labels)
    assert (every.max(0) + 1).tolist() == values
    held = read(hold_out="0.2", held=True)
    assert held.count and not set(held.labels) & set(read(hold_out="0.2").labels)
    (tmp_path / factor_files.FILES[name]).write_bytes(b"no file")
    with pytest.raises(UsageError, match=factor_files.FILES[name]):
        read()
