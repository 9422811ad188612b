"""Small random movements of images: an agent that learns to see does not hold its eyes still.

Each image is turned, scaled, sheared and shifted a little, anew at every step of learning, and learned from as it is
then seen; in the game the agent looks at the view itself. Learned on ever new movements, percepts follow the hand
that wrote a digit less and the digit more (docs/results.md has the figures).
"""

from __future__ import annotations

import math

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
    turn, wide, tall, shear, right, down = strength * draws
    angle = turn * math.radians(DEGREES)
    cos, sin = angle.cos(), angle.sin()
    x_scale, y_scale = 1 + SCALE * wide, 1 + SCALE * tall
    matrix = torch.stack(
        [
            torch.stack([cos * x_scale, SHEAR * shear - sin * y_scale, 2 * SHIFT * right], dim=1),
            torch.stack([sin * x_scale, cos * y_scale, 2 * SHIFT * down], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
