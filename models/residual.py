"""`resnet`: a small residual convolutional network for images, colour included, learned from scratch.

    encoder   three stages of [convolution with stride 2, residual block], 32, 64, 128 channels; a dense layer of 256
    decoder   the same backwards: a dense layer, three stages of [residual block, transposed convolution]

A block is x + conv(relu(norm(conv(relu(norm(x)))))), with nothing on the way from input to output (He, Zhang, Ren and
Sun, "Identity mappings in deep residual networks", ECCV 2016, arXiv 1603.05027). The norm is GroupNorm (Wu and He,
ECCV 2018, arXiv 1803.08494), which looks at one object at a time. Made for images up to 64 x 64; larger ones cost
more.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from mhng.models.guides import Diagonal
from mhng.models.networks import Encoder, Guide, Pair, doubling, halved, image_size

_CHANNELS = (32, 64, 128)
_WIDTH = 256
_GROUPS = 8


class Block(nn.Module):
    """A residual block of `channels` maps; sizes stay as they are."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.GroupNorm(_GROUPS, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(_GROUPS, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        found: Tensor = x + self.way(x)
        return found


def resnet(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Encoder and decoder for images (C, H, W) of any size. ValueError for other observations."""
    sizes = [image_size(shape)]
    down: list[nn.Module] = []
    before = shape[0]
    for channels in _CHANNELS:
        down += [nn.Conv2d(before, channels, 3, stride=2, padding=1), Block(channels)]
        sizes.append(halved(sizes[-1]))
        before = channels
    flat = before * math.prod(sizes[-1])
    body = nn.Sequential(*down, nn.ReLU(), nn.Flatten(), nn.Linear(flat, _WIDTH), nn.ReLU())
    encoder = Encoder(body, _WIDTH, latent, guide)

    up: list[nn.Module] = [
        nn.Linear(latent, _WIDTH),
        nn.ReLU(),
        nn.Linear(_WIDTH, flat),
        nn.Unflatten(1, (before, *sizes[-1])),
    ]
    for after, small, large in zip((*_CHANNELS[-2::-1], shape[0]), sizes[:0:-1], sizes[-2::-1], strict=True):
        up += [Block(before), nn.ReLU(), doubling(before, after, small, large)]
        before = after
    return encoder, nn.Sequential(*up)
