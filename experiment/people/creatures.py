"""Drawn creatures with two groups of features: the body, and its ornaments.

A class has a mean body (width, height, hue) and a mean ornament (horns, spots, tail). Bodies of two classes look
alike, and ornaments of two other classes do, so neither side alone can tell all classes apart. The person sees the
body, the partner the ornaments.
"""

from __future__ import annotations

import colorsys
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 240
_DRAWN = 3 * SIZE  # drawn large and shrunk, for smooth edges
_PAPER = (250, 250, 247)
_SPREAD = 0.09  # standard deviation of a feature in its class


class Creatures(NamedTuple):
    """N creatures. body, ornament: features (N, 3) in [0, 1]. classes: (N,)."""

    body: NDArray[np.float64]
    ornament: NDArray[np.float64]
    classes: NDArray[np.int64]


def draw_features(count: int, classes: int, generator: np.random.RandomState) -> Creatures:
    """Features of `count` creatures, each class equally often."""
    labels = generator.permutation(np.arange(count) % classes)
    # Classes 2k and 2k + 1 share a body, and 2k + 1 and 2k + 2 an ornament.
    kinds = np.arange(classes)
    bodies, ornaments = _spread_out(kinds // 2), _spread_out((kinds + 1) // 2 % max(1, (classes + 1) // 2))
    noise = generator.normal(scale=_SPREAD, size=(2, count, 3))
    return Creatures(
        np.clip(bodies[labels] + noise[0], 0, 1), np.clip(ornaments[labels] + noise[1], 0, 1), labels.astype(np.int64)
    )


def body_picture(features: NDArray[np.float64]) -> Image.Image:
    """A creature without ornaments: features (3,)."""
    return _picture(features, None)


def ornament_picture(features: NDArray[np.float64]) -> Image.Image:
    """Horns, spots and a tail on a grey creature: features (3,)."""
    return _picture(None, features)


def _spread_out(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (K, 3) in [0.15, 0.85], far apart for different places."""
    golden = np.array([0.6180339887, 0.7548776662, 0.5698402910])
    return 0.15 + 0.7 * ((0.3 + np.outer(places, golden)) % 1)


def _picture(body: NDArray[np.float64] | None, ornament: NDArray[np.float64] | None) -> Image.Image:
    image = Image.new("RGB", (_DRAWN, _DRAWN), _PAPER)
    pen = ImageDraw.Draw(image)
    width, height, hue = (0.5, 0.5, 0.0) if body is None else body
    horns, spots, tail = (0.0, 0.0, 0.0) if ornament is None else ornament
    fill = (186, 186, 182) if body is None else _colour(0.02 + 0.8 * hue, 0.52, 0.86)
    dark = (70, 70, 70) if body is None else _colour(0.02 + 0.8 * hue, 0.7, 0.45)
    centre, middle = _DRAWN / 2, _DRAWN * 0.56
    across, up = _DRAWN * (0.14 + 0.2 * width), _DRAWN * (0.14 + 0.18 * height)
    line = _DRAWN // 70
    if ornament is not None:
        _tail(pen, centre + 0.85 * across, middle + 0.2 * up, tail, line)
        for side in (-1, 1):
            _horn(pen, centre + side * 0.5 * across, middle - 0.8 * up, side, horns)
    for side in (-1, 1):  # feet
        x = centre + side * 0.45 * across
        pen.ellipse((x - 0.2 * across, middle + 0.82 * up, x + 0.2 * across, middle + 1.12 * up), fill=dark)
    pen.ellipse((centre - across, middle - up, centre + across, middle + up), fill=fill, outline=dark, width=line)
    if ornament is not None:
        _spots(pen, centre, middle, across, up, spots)
    eye = _DRAWN * 0.035
    for side in (-1, 1):
        x, y = centre + side * 0.33 * across, middle - 0.35 * up
        pen.ellipse((x - eye, y - eye, x + eye, y + eye), fill="white", outline=dark, width=line // 2)
        pen.ellipse((x - eye / 2.4, y - eye / 2.4, x + eye / 2.4, y + eye / 2.4), fill=(30, 30, 30))
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _horn(pen: ImageDraw.ImageDraw, x: float, y: float, side: int, length: float) -> None:
    base, tip = _DRAWN * 0.035, _DRAWN * (0.03 + 0.25 * length)
    pen.polygon([(x - base, y + base), (x + base, y + base), (x + side * tip * 0.35, y - tip)], fill=(120, 84, 40))


def _tail(pen: ImageDraw.ImageDraw, x: float, y: float, length: float, line: int) -> None:
    points = [
        (x + _DRAWN * (0.02 + 0.26 * length) * step / 20, y - _DRAWN * 0.06 * math.sin(step / 20 * 2 * math.pi))
        for step in range(21)
    ]
    pen.line(points, fill=(70, 70, 70), width=2 * line, joint="curve")
    (end_x, end_y), radius = points[-1], _DRAWN * 0.025
    pen.ellipse((end_x - radius, end_y - radius, end_x + radius, end_y + radius), fill=(160, 50, 50))


def _spots(pen: ImageDraw.ImageDraw, centre: float, middle: float, across: float, up: float, size: float) -> None:
    radius = _DRAWN * (0.008 + 0.045 * size)
    for dx, dy in ((-0.55, 0.1), (0.5, 0.12), (-0.15, 0.3), (0.25, 0.55), (-0.35, 0.6), (0.02, 0.02)):
        x, y = centre + dx * across, middle + dy * up
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(52, 92, 150))


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
