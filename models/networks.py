"""Encoders x -> (loc, spread) of q(z|x) and decoders z -> the parameter of p(x|z).

A builder takes the shape of one observation, (C, H, W) or (D,), the latent dimension L, and the guide whose layer
ends the encoder (`mhng.models.guides`), and returns (encoder, decoder). Both take a batch: x (B, *shape) float32,
z (B, L) float32. A builder of one's own is given on the command line as `--network my_module:builder`.

None of the nets has batch normalisation or dropout: what a network says of one object must not depend on
which other objects share its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from mhng.models.guides import Diagonal

Guide = Callable[[int, int], nn.Module]  # (width, L) -> the layer


class Encoder(nn.Module):
    """q(z|x) as a Gaussian: `body` maps x to `width` features, the guide's layer reads loc and spread from them."""

    def __init__(self, body: nn.Module, width: int, latent: int, guide: Guide) -> None:
        super().__init__()
        self.body = body
        self.head = guide(width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *shape) -> loc (B, L), and the guide's spread: (B, L) > 0, or (B, L, L) lower triangular."""
        found: tuple[Tensor, Tensor] = self.head(self.body(x))
        return found


Pair = tuple[Encoder, nn.Module]


def mlp(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal, hidden: tuple[int, ...] = (512, 512)) -> Pair:
    """Dense layers with ReLU, mirrored; observations of any shape."""
    size = math.prod(shape)
    widths = (size, *hidden)
    body = nn.Sequential(nn.Flatten(), *_dense(widths))
    decoder = nn.Sequential(*_dense((latent, *reversed(hidden))), nn.Linear(hidden[0], size), nn.Unflatten(1, shape))
    return Encoder(body, hidden[-1], latent, guide), decoder


def conv(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Strided convolutions 32, 64 and a dense layer of 256 on each side: 1.7 M parameters at 28 x 28."""
    return _convolutional(shape, latent, guide, channels=(32, 64), width=256)


def conv_large(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Strided convolutions 64, 128, 256 and a dense layer of 1024 on each side: 9.2 M parameters at 28 x 28.

    Of the size of the public reference's net, which has 14.8 M.
    """
    return _convolutional(shape, latent, guide, channels=(64, 128, 256), width=1024)


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers


def _convolutional(shape: tuple[int, ...], latent: int, guide: Guide, channels: tuple[int, ...], width: int) -> Pair:
    sizes = [image_size(shape)]
    down: list[nn.Module] = []
    for before, after in zip((shape[0], *channels), channels, strict=False):
        down += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        sizes.append(halved(sizes[-1]))
    flat = channels[-1] * math.prod(sizes[-1])
    encoder = Encoder(nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, width), nn.ReLU()), width, latent, guide)

    up: list[nn.Module] = [
        nn.Linear(latent, width),
        nn.ReLU(),
        nn.Linear(width, flat),
        nn.ReLU(),
        nn.Unflatten(1, (channels[-1], *sizes[-1])),
    ]
    targets = (*reversed(channels[:-1]), shape[0])
    for step, after in enumerate(targets):
        before = channels[len(channels) - 1 - step]
        small, large = sizes[len(channels) - step], sizes[len(channels) - step - 1]
        up.append(doubling(before, after, small, large))
        if step < len(targets) - 1:
            up.append(nn.ReLU())
    return encoder, nn.Sequential(*up)


def halved(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width after a convolution of stride 2: halving rounds up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def doubling(before: int, after: int, small: tuple[int, int], large: tuple[int, int]) -> nn.Module:
    """The transposed convolution from maps of size `small` back to `large`, of which `small` is the half."""
    # Halving rounds up, so an odd size is doubled to one too many unless the output is shortened by one.
    shorten = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
    return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=shorten)


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of images (C, H, W); ValueError for other observations."""
    if len(shape) != 3:
        raise ValueError(f"a convolutional network needs images (C, H, W); the observations are {shape}")
    return shape[1], shape[2]


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
