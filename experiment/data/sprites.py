"""Sprites: rendered pictures with four attributes of four values each.

    shape   square, disc, triangle, cross
    hue     red, green, blue, yellow
    size    four radii
    place   left, top, right, bottom

The place is off by at most half a pixel, the brightness by at most 15%, and pixels have noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VALUES = (4, 4, 4, 4)
SIDE = 16

_HUES = np.array([[0.9, 0.15, 0.15], [0.15, 0.8, 0.2], [0.2, 0.3, 0.95], [0.9, 0.8, 0.1]])
_RADII = np.array([1.5, 2.2, 2.9, 3.6])
_PLACES = np.array([[0.0, -3.6], [-3.6, 0.0], [0.0, 3.6], [3.6, 0.0]])  # row and column, from the centre
_NOISE = 0.02


def render(attributes: NDArray[np.int64], random: np.random.RandomState) -> NDArray[np.float32]:
    """Pictures of attributes (N, 4): (N, 3, SIDE, SIDE) in [0, 1]."""
    N = len(attributes)
    shape, hue, size, place = attributes.T
    centre = (SIDE - 1) / 2 + _PLACES[place] + random.uniform(-0.5, 0.5, (N, 2))
    radius = _RADII[size][:, None, None]
    row, column = np.mgrid[:SIDE, :SIDE]
    y, x = row[None] - centre[:, 0, None, None], column[None] - centre[:, 1, None, None]
    # The signed distance from the border, in pixels, of each shape; areas are about equal.
    square = np.maximum(np.abs(x), np.abs(y)) - 0.89 * radius
    disc = np.hypot(x, y) - radius
    triangle = np.maximum(y - 0.9 * radius, (0.87 * np.abs(x) - 0.5 * y) - 0.6 * radius)
    bar = np.minimum(np.abs(x), np.abs(y)) - 0.4 * radius
    cross = np.maximum(bar, np.maximum(np.abs(x), np.abs(y)) - 1.2 * radius)
    distance = np.choose(shape[:, None, None], [square, disc, triangle, cross])
    cover = 1 / (1 + np.exp(3 * distance))
    bright = random.uniform(0.85, 1.0, (N, 1, 1, 1))
    pictures = bright * _HUES[hue][:, :, None, None] * cover[:, None]
    noisy = pictures + _NOISE * random.standard_normal(pictures.shape)
    return np.asarray(np.clip(noisy, 0, 1), dtype=np.float32)
