"""Directions of latents are grouped by the words whose clusters they share."""

import numpy as np

from mhng.models.direction_groups import best_groups

# Four points that are no parallelogram, and four that are a square.
BENT = np.array([[0.0, -1.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
SQUARE = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])


def components(*slots, N=400):
    """Latents with two directions for each slot, whitened, in the order first, first, second, ...; and their slots."""
    random = np.random.RandomState(0)
    parts = [points[random.randint(4, size=N)] + 0.1 * random.standard_normal((N, 2)) for points in slots]
    every = np.concatenate(parts, axis=1)
    return (every - every.mean(0)) / every.std(0)


def grouped(z, rank=0):
    return best_groups(z, z.shape[1] // 2, 4, rank, 0).tolist()


def test_directions_of_one_word_are_one_group():
    z = components(BENT, BENT, SQUARE)
    order = [4, 0, 3, 1, 5, 2]
    assert grouped(z[:, order]) == [0, 1, 2, 1, 0, 2]


def test_starts_differ_where_directions_fit_several_words():
    """Two squares are four independent binary directions: three ways to pair them."""
    z = components(SQUARE, SQUARE)
    assert {tuple(grouped(z, rank)) for rank in range(3)} == {(0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0)}
