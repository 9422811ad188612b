"""Objects with several attributes, and combinations that are held out.

    numbers          two digits of scikit-learn side by side, 2 x 8 x 8 grey values as features; a view changes each
                     digit
    mnist-numbers    two MNIST digits of `mnist5k` side by side, images of 28 x 56 pixels; a view changes each digit
    sprites          rendered pictures with shape, hue, size and place (`mhng.experiment.data.sprites`)
    dsprites, 3dshapes   files with known factors (`mhng.experiment.data.builtin.factor_files`)
    attributes:AxV   one object for each combination of A attributes with V values, as A one-hots of V features (the
                     attribute-value vectors of EGG)

The class of an object is its combination, and the name of a class lists the values, as in "3 7". Combinations that are
held out never reach the agents; the command `language` tests them.

    F      a share of the combinations, drawn from the seed; every value of every attribute keeps two combinations
    egg    the two hold-outs of EGG (Chaabouni et al. 2020): all combinations with a value 0 but those with only one
           other value, at most 1 (out of distribution), and 10% of the others (in distribution)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data import sprites
from mhng.experiment.data.builtin import factor_files
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.views import View, apply_views
from mhng.experiment.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

Ints = NDArray[np.int64]

NUMBERS, MNIST_NUMBERS, SPRITES, ATTRIBUTES = (
    "numbers",
    "mnist-numbers",
    "sprites",
    re.compile(r"attributes:([1-9]\d?)x([1-9]\d{0,3})"),
)
PATTERN = "attributes:AxV"  # in the list of data sets
NUMBERS_COUNT, MNIST_COUNT, SPRITES_COUNT = 1000, 5000, 2000
_VALUE = re.compile("[0-9]{1,4}")  # longer numbers are names, such as postal codes
_MOST_OBJECTS = 100_000
_SHARE_IN = 0.1  # of the hold-out `egg` in distribution


def has_combinations(name: str) -> bool:
    """Whether the objects of a data set have several attributes."""
    return name in (NUMBERS, MNIST_NUMBERS, SPRITES, *factor_files.FILES) or ATTRIBUTES.fullmatch(name) is not None


def pixel_shape(name: str) -> tuple[int, int] | None:
    """The height and width of images whose pixels are the features of a data set; None for other features.

    attributes:AxV: a row for each attribute, with a bright pixel at its value; none for more than 20 values.
    """
    if name == NUMBERS:
        return 8, 16
    matched = ATTRIBUTES.fullmatch(name)
    return None if matched is None or int(matched[2]) > 20 else (int(matched[1]), int(matched[2]))


def columns(name: str) -> int:
    """The number of pictures side by side in the images of a data set. Views and augmentation change each of them."""
    return 2 if name == MNIST_NUMBERS else 1


def split_columns(images: Tensor, count: int) -> Tensor:
    """Pictures side by side, (N, C, H, count W), as pictures of their own: (N count, C, H, W)."""
    return images.unflatten(-1, (count, -1)).movedim(-2, 1).flatten(0, 1)


def join_columns(pictures: Tensor, count: int) -> Tensor:
    """The reverse of `split_columns`."""
    return pictures.unflatten(0, (-1, count)).movedim(1, -2).flatten(-2)


def attributes_of(class_names: Sequence[str], labels: Ints) -> Ints | None:
    """The attributes (N, A) that names of classes such as "3 7" list; None for other names."""
    values = [name.split() for name in class_names]
    if len({len(row) for row in values}) != 1 or len(values[0]) < 2:
        return None
    if not all(_VALUE.fullmatch(value) for row in values for value in row):
        return None
    return np.array(values, dtype=np.int64)[labels]


def parse_hold_out(text: str) -> float | str:
    """Parse --hold-out: a share between 0 and 1, or egg. Raises ValueError."""
    if text == "egg":
        return text
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise ValueError(f"is {text!r}; expected a share between 0 and 1, or egg")
    return share


def held_combinations(combinations: Ints, hold_out: str | None, seed: int) -> Ints:
    """Which combinations (K, A) are held out: 0 none, 1 in distribution, 2 out of distribution."""
    held = np.zeros(len(combinations), dtype=np.int64)
    if hold_out is None:
        return held
    share = parse_hold_out(hold_out)
    order = _random(seed, "hold out").permutation(len(combinations))
    if isinstance(share, str):
        with_zero = (combinations == 0).any(1)
        simple = ((combinations != 0).sum(1) <= 1) & (combinations.max(1) <= 1)
        held[with_zero & ~simple] = 2
        share, order = _SHARE_IN, order[~with_zero[order]]
    wanted = round(share * len(order))
    seen = np.zeros((combinations.shape[1], int(combinations.max()) + 1), dtype=np.int64)
    for a, column in enumerate(combinations[held == 0].T):
        seen[a, : column.max() + 1] = np.bincount(column)
    for number in order:
        places = np.arange(combinations.shape[1]), combinations[number]
        if wanted and (seen[places] > 2).all():
            seen[places] -= 1
            held[number] = 1
            wanted -= 1
    return held


def load_combinations(
    name: str,
    *,
    limit: int | None,
    views: Sequence[View],
    names: Sequence[str],
    seed: int,
    hold_out: str | None,
    held: bool = False,
    data_root: Path = Path("data"),
) -> Objects:
    """Load the objects with combinations that are seen, or those that are `held` out. Raises UsageError.

    names: of the views, see `apply_views`.
    """
    if ATTRIBUTES.fullmatch(name):
        combinations, observed = _attributes(name, len(views))
    elif name in (NUMBERS, MNIST_NUMBERS):
        combinations, observed = _numbers(name, limit, views, names, seed)
    else:
        combinations, observed = _pictures(name, limit, views, names, seed, data_root)
    every, labels = np.unique(combinations, axis=0, return_inverse=True)
    held_out = held_combinations(every, hold_out, seed) > 0
    out = held_out[labels.reshape(-1)]
    if hold_out is not None and not out.any():
        raise UsageError(
            f"--hold-out {hold_out} keeps no combination of {name} from the agents: each value must stay in two other "
            "combinations; pass a larger share, or more objects or values"
        )
    indices = np.flatnonzero(out == held)[: None if held else limit]
    if not len(indices):
        raise UsageError(f"--hold-out {hold_out} leaves no objects of {name}; pass a smaller share")
    return Objects(
        name=name,
        views=tuple(view[indices] for view in observed),
        labels=labels.reshape(-1)[indices],
        class_names=tuple(" ".join(map(str, row)) for row in every),
        indices=indices,
        notes=_hold_out_notes(hold_out, int(held_out.sum()), len(every)),
    )


def _hold_out_notes(hold_out: str | None, held: int, count: int) -> tuple[str, ...]:
    """A note if fewer than the given share of the combinations are held out."""
    share = None if hold_out is None else parse_hold_out(hold_out)
    if not isinstance(share, float) or held >= round(share * count):
        return ()
    return (
        f"--hold-out is {hold_out}, but only {held} of {count} combinations can be held out: "
        "each value must stay in two combinations that agents observe",
    )


def _numbers(
    name: str, limit: int | None, views: Sequence[View], names: Sequence[str], seed: int
) -> tuple[Ints, list]:
    """Combinations (N, 2) and each view: features (N, 128), or images (N, 1, 28, 56) of MNIST."""
    from mhng.experiment.data.builtin.registry import BUNDLED

    source = BUNDLED["digits" if name == NUMBERS else "mnist5k"].read()
    count = _count(name, limit, NUMBERS_COUNT if name == NUMBERS else MNIST_COUNT)
    # A held-out combination is drawn as often as another, so more numbers are drawn than are seen.
    picks = _random(seed, name).randint(len(source.images), size=(2 * count, 2))
    assert source.labels is not None
    images = source.images[picks.reshape(-1)]
    turned = apply_views(images, views, names=names, seed=seed)
    if name == NUMBERS:
        return source.labels[picks], [view.reshape(len(picks), -1) for view in turned]
    return source.labels[picks], [join_columns(view, columns(name)) for view in turned]


def _pictures(
    name: str, limit: int | None, views: Sequence[View], names: Sequence[str], seed: int, root: Path
) -> tuple[Ints, list]:
    """Combinations (N, A) and the pictures of each view (N, C, H, W)."""
    random = _random(seed, name)
    if name == SPRITES:
        count = _count(name, limit, SPRITES_COUNT)
        values = [random.randint(most, size=2 * count) for most in sprites.VALUES]
        combinations = np.stack(values, axis=1).astype(np.int64)
        images = sprites.render(combinations, random)
    else:
        combinations, images = factor_files.read(name, root, limit, random)
    return combinations, list(apply_views(images, views, names=names, seed=seed))


def _count(name: str, limit: int | None, default: int) -> int:
    count = default if limit is None else limit
    if count > _MOST_OBJECTS:
        raise UsageError(f"--limit is {count}; {name} has at most {_MOST_OBJECTS} objects")
    return count


def _random(seed: int, name: str) -> np.random.RandomState:
    """A random stream. RandomState: NumPy guarantees its numbers."""
    from mhng.models.rng import random_integer, stream  # torch, which the list of data sets does not need

    return np.random.RandomState(random_integer(stream(seed, name)))


def _attributes(name: str, agents: int) -> tuple[Ints, list]:
    """Combinations (V^A, A) and their one-hots (V^A, A V), the same for each agent."""
    import torch

    matched = ATTRIBUTES.fullmatch(name)
    assert matched is not None
    A, V = int(matched[1]), int(matched[2])
    if V**A > _MOST_OBJECTS or V < 2:
        raise UsageError(f"--dataset {name} has {V}^{A} objects; expected 2 to {_MOST_OBJECTS:,}")
    combinations = np.stack(np.unravel_index(np.arange(V**A), (V,) * A), axis=1).astype(np.int64)
    onehots = torch.nn.functional.one_hot(torch.from_numpy(combinations), V).flatten(1).float()
    return combinations, [onehots] * agents
