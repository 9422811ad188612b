"""Data augmentation: small random rotations, scalings, shears and shifts of images.

Images are moved anew in every learning step; the game uses the original views (docs/notes.md has the effect).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

# Largest movements at strength 1: degrees, fractions of the size, and fractions of width and height.
DEGREES, SCALE, SHEAR, SHIFT = 12.0, 0.1, 0.1, 2 / 28


def jitter(images: Tensor, generator: torch.Generator, strength: float, columns: int = 1) -> Tensor:
    """Move images (B, C, H, W) at random, uniformly up to `strength` times the largest movements.

    Bilinear, with 0 beyond the border, so pixels in [0, 1] stay in [0, 1]. Strength 0 returns the images unchanged.
    columns: pictures side by side in an image, each moved independently; W is a multiple.
    """
    if strength == 0:
        return images
    if columns > 1:
        parts = jitter(torch.cat(images.chunk(columns, dim=-1)), generator, strength)
        return torch.cat(parts.chunk(columns), dim=-1)
    draws = torch.rand(6, len(images), generator=generator, device=images.device) * 2 - 1
    turn, wide, tall, shear, right, down = (strength * draws).unsqueeze(-1)  # (B, 1) each
    angle = turn * math.radians(DEGREES)
    cos, sin = angle.cos(), angle.sin()
    x_scale, y_scale = 1 + SCALE * wide, 1 + SCALE * tall
    # The grid of functional.affine_grid as the sum of a row and a column: the matrix product there takes several times
    # as long as the sampling.
    column, row = _centres(images.shape[-1], images), _centres(images.shape[-2], images)
    x_by_row = SHEAR * shear - sin * y_scale
    x = (cos * x_scale * column + 2 * SHIFT * right).unsqueeze(1) + (x_by_row * row).unsqueeze(2)
    y = (sin * x_scale * column + 2 * SHIFT * down).unsqueeze(1) + (cos * y_scale * row).unsqueeze(2)
    return functional.grid_sample(images, torch.stack([x, y], dim=-1), align_corners=False)


def jitter_modalities(
    x: Tensor, shapes: Sequence[tuple[int, ...]], generator: torch.Generator, strength: float, columns: int = 1
) -> Tensor:
    """Move the images among observations; `shapes` has the shape of each modality. columns: see `jitter`.

    With one modality, x is (B, C, H, W), or anything at strength 0. Several modalities lie side by side in (B, D), NaN
    where one is missing. Each image of an object is moved independently, so that the pose in one does not tell that
    in another. Vectors and missing modalities are unchanged, and a missing modality does not change the draws.
    """
    if len(shapes) == 1 or strength == 0:
        return jitter(x, generator, strength, columns)
    parts = []
    for part, shape in zip(x.split([math.prod(shape) for shape in shapes], dim=1), shapes, strict=True):
        if len(shape) == 3:
            moved = jitter(part.unflatten(1, shape), generator, strength, columns).flatten(1)
            # A missing image stays missing: sampling would fill its border with 0.
            part = torch.where(part.isnan(), part, moved)
        parts.append(part)
    return torch.cat(parts, dim=1)


def _centres(size: int, images: Tensor) -> Tensor:
    """The centres of `size` pixels on an axis from -1 to 1."""
    return (2 * torch.arange(size, dtype=images.dtype, device=images.device) + 1) / size - 1
