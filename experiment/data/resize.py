"""Convert images of any size and colour to the image shape of a run.

    colour   3 channels -> 1: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, Pillow's "L"); 1 -> 3: repeated
    shape    black padding on two sides, equally, to the proportions of the run
    size     bilinear, with antialiasing when shrinking

Images are not centred, cropped or inverted. They must be bright on black, as the run's images are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

RULE = "grey by 0.299 R + 0.587 G + 0.114 B, black padding to keep proportions, bilinear with antialiasing"

_LUMA = (0.299, 0.587, 0.114)


def resize_images(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Convert images (B, c, h, w) in [0, 1] to (B, C, H, W), shape = (C, H, W); c and C are 1 or 3."""
    C, H, W = shape
    if images.shape[1] == 3 and C == 1:
        images = (images * images.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    elif images.shape[1] == 1 and C == 3:
        images = images.expand(-1, 3, -1, -1)
    h, w = images.shape[2:]
    if (h, w) == (H, W):
        return images
    wider, higher = max(w, -(-h * W // H)), max(h, -(-w * H // W))
    left, top = (wider - w) // 2, (higher - h) // 2
    images = functional.pad(images, (left, wider - w - left, top, higher - h - top))
    resized = functional.interpolate(images, (H, W), mode="bilinear", align_corners=False, antialias=True)
    return torch.clamp(resized, 0, 1)
