"""Sprites: rendered pictures with four attributes of four values each.

    hue     of the ground: red, green, blue, yellow
    size    of a dark disc and the light sign on it
    shape   of the sign: triangle with its tip at the top, at the bottom or on the left, lying bar
    place   of disc and sign: left, top, right, centre

Edges are soft. The place is off by at most 0.15 pixels, the brightness by at most 5%, and pixels have noise.

Each attribute changes other pixels than the others, so that pictures are nearly sums over attributes: the ground has
the hue, the border of the disc the size and the place, its inside the shape. docs/notes.md has the shares of variance.
The four values of an attribute are not two binary differences, as the corners of a square are: one of these could be
swapped with that of another attribute, without a change of any sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

VALUES = (4, 4, 4, 4)
SIDE = 24

_HUES = np.array([[0.82, 0.43, 0.43], [0.40, 0.77, 0.43], [0.43, 0.46, 0.82], [0.72, 0.66, 0.30]])
_DARK, _LIGHT = 0.08, 0.68
_RADII = np.array([6.3, 7.1, 7.9, 9.5])
_PLACES = np.array([[0.0, -1.1], [-1.1, 0.0], [0.0, 1.1], [0.0, 0.0]])  # row and column, from the centre
_OFF = 0.15
_NOISE = 0.02


def render(attributes: NDArray[np.int64], random: np.random.RandomState) -> NDArray[np.float32]:
    """Pictures of attributes (N, 4): (N, 3, SIDE, SIDE) in [0, 1]."""
    N = len(attributes)
    shape, hue, size, place = attributes.T
    centre = (SIDE - 1) / 2 + _PLACES[place] + random.uniform(-_OFF, _OFF, (N, 2))
    radius = _RADII[size][:, None, None]
    row, column = np.mgrid[:SIDE, :SIDE]
    y, x = row[None] - centre[:, 0, None, None], column[None] - centre[:, 1, None, None]
    signs = [_triangle(y, x, radius), _triangle(-y, x, radius), _triangle(x, y, radius), _bar(y, x, radius)]
    disc, sign = _cover(np.hypot(y, x) - radius), _cover(np.choose(shape[:, None, None], signs))
    pictures = sign * _LIGHT + (1 - sign) * (disc * _DARK + (1 - disc) * _HUES[hue][:, :, None, None])
    pictures = random.uniform(0.95, 1.0, (N, 1, 1, 1)) * pictures
    noisy = pictures + _NOISE * random.standard_normal(pictures.shape)
    return np.asarray(np.clip(noisy, 0, 1), dtype=np.float32)


def _cover(distance: Floats) -> Floats:
    """The share of each pixel that a form covers, given the signed distance from its border: (N, 1, SIDE, SIDE)."""
    return np.asarray(1 / (1 + np.exp(distance)))[:, None]


def _triangle(y: Floats, x: Floats, radius: Floats) -> Floats:
    """Distance from a triangle with its tip at the top."""
    return np.asarray(np.maximum(y - 0.375 * radius, 0.87 * np.abs(x) - 0.5 * y - 0.375 * radius))


def _bar(y: Floats, x: Floats, radius: Floats) -> Floats:
    """Distance from a lying bar."""
    return np.asarray(np.maximum(np.abs(x) - 0.62 * radius, np.abs(y) - 0.33 * radius))
