"""Small random movements of images: an agent that learns to see does not hold its eyes still.

Each image is turned, scaled, sheared and shifted a little, anew at every step of learning, and learned from as it is
then seen; in the game the agent looks at the view itself. Learned on ever new movements, percepts follow the hand
that wrote a digit less and the digit more (docs/results.md has the figures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# The largest movements at strength 1: degrees, shares of the size, and shares of the image's width and height.
DEGREES, SCALE, SHEAR, SHIFT = 12.0, 0.1, 0.1, 2 / 28


def jitter(images: Tensor, generator: torch.Generator, strength: float) -> Tensor:
    """Images (B, C, H, W) moved at random, uniformly up to `strength` times the largest movements; 0 returns them.

    Sampled bilinearly, with 0 beyond the border, so pixels in [0, 1] stay there.
    """
    if strength == 0:
        return images
    draws = torch.rand(6, len(images), generator=generator, device=images.device) * 2 - 1
    turn, wide, tall, shear, right, down = (strength * draws).unsqueeze(-1)  # (B, 1) each
    angle = turn * math.radians(DEGREES)
    cos, sin = angle.cos(), angle.sin()
    x_scale, y_scale = 1 + SCALE * wide, 1 + SCALE * tall
    # Where each pixel looks, as functional.affine_grid says, but as the sum of a row and a column: its product of
    # matrices takes several times as long as the sampling.
    column, row = _centres(images.shape[-1], images), _centres(images.shape[-2], images)
    x_by_row = SHEAR * shear - sin * y_scale
    x = (cos * x_scale * column + 2 * SHIFT * right).unsqueeze(1) + (x_by_row * row).unsqueeze(2)
    y = (sin * x_scale * column + 2 * SHIFT * down).unsqueeze(1) + (cos * y_scale * row).unsqueeze(2)
    return functional.grid_sample(images, torch.stack([x, y], dim=-1), align_corners=False)


def moved(x: Tensor, shapes: Sequence[tuple[int, ...]], generator: torch.Generator, strength: float) -> Tensor:
    """Observations as they are seen in a step of learning; `shapes` are those of the modalities.

    Of one modality x is (B, C, H, W), or anything at strength 0. Several lie side by side, (B, D), NaN where one is
    missing: each image of an object is moved by itself, so that an agent cannot read the pose in one from that in
    the other; vectors, and what is missing, stay. What an object lacks does not change how the others are moved.
    """
    if len(shapes) == 1 or strength == 0:
        return jitter(x, generator, strength)
    found = []
    for part, shape in zip(x.split([math.prod(shape) for shape in shapes], dim=1), shapes, strict=True):
        if len(shape) == 3:
            seen = jitter(part.unflatten(1, shape), generator, strength).flatten(1)
            # Beyond the border there is black, also around an image that is not there.
            part = torch.where(part.isnan(), part, seen)
        found.append(part)
    return torch.cat(found, dim=1)


def _centres(size: int, images: Tensor) -> Tensor:
    """The positions of `size` pixels along an axis that goes from -1 to 1."""
    return (2 * torch.arange(size, dtype=images.dtype, device=images.device) + 1) / size - 1
