"""Encoders x -> (loc, spread) of q(z | x), and decoders z -> parameter of p(x | z).

    mlp                dense layers; observations of any shape
    patches            the `mlp` of a square, shared by all squares side by side in an image
    linear             linear decoder, and an encoder with one hidden layer of 64; observations of any shape
    conv, conv_large   strided convolutions; images
    resnet             residual blocks (He et al. 2016, arXiv 1603.05027) with group normalisation (Wu and He 2018,
                       arXiv 1803.08494); images up to 64 x 64

A builder takes the shape of one observation, (C, H, W) or (D,), the latent dimension L, and the guide that forms the
last layer of the encoder (`mhng.models.guides`). It returns (encoder, decoder). Inputs are batches: x (B, *shape)
float32, z (B, L) float32. `--network my_module:builder` uses a builder from another module.

No network has batch normalisation or dropout: the output for an object must not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from mhng.models.guides import Diagonal

Guide = Callable[[int, int], nn.Module]  # (width, L) -> the layer
Activation = Callable[[], nn.Module]


class Encoder(nn.Module):
    """Encoder: `body` maps x to `width` features, and the guide maps them to loc and spread."""

    def __init__(self, body: nn.Module, width: int, latent: int, guide: Guide) -> None:
        super().__init__()
        self.body = body
        self.head = guide(width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *shape) -> loc (B, L), and the spread of the guide: (B, L) > 0, or (B, L, L) lower triangular."""
        parameters: tuple[Tensor, Tensor] = self.head(self.body(x))
        return parameters


Pair = tuple[Encoder, nn.Module]

_LEAKY = partial(nn.LeakyReLU, 0.1)

# Hidden units of the encoder of `linear`.
_LINEAR_WIDTH = 64


def mlp(
    shape: tuple[int, ...],
    latent: int,
    guide: Guide = Diagonal,
    hidden: tuple[int, ...] = (512, 512),
    activation: Activation = _LEAKY,
) -> Pair:
    """Dense layers with leaky ReLU (Maas et al. 2013), mirrored in the decoder; observations of any shape.

    It learns digits in fewer epochs than with ReLU (docs/notes.md).
    """
    size = math.prod(shape)
    widths = (size, *hidden)
    body = nn.Sequential(nn.Flatten(), *_dense(widths, activation))
    up = _dense((latent, *reversed(hidden)), activation)
    decoder = nn.Sequential(*up, nn.Linear(hidden[0], size), nn.Unflatten(1, shape))
    return Encoder(body, hidden[-1], latent, guide), decoder


class _PatchEncoder(nn.Module):
    """Encoder of patches side by side in an image: the parameters of q(z | x) of all patches, concatenated."""

    def __init__(self, encoder: Encoder, count: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.count = count

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W) -> loc (B, L), and the spread: (B, L), or (B, L, L) with a block for each patch."""
        loc, spread = self.encoder(torch.cat(x.chunk(self.count, dim=-1)))
        spreads = spread.chunk(self.count)
        return torch.cat(loc.chunk(self.count), dim=-1), _blocks(spreads) if spread.dim() == 3 else torch.cat(
            spreads, dim=-1
        )


class _PatchDecoder(nn.Module):
    """Decoder of patches side by side in an image, each from its part of z."""

    def __init__(self, decoder: nn.Module, count: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.count = count

    def forward(self, z: Tensor) -> Tensor:
        """z (B, L) -> (B, C, H, W)."""
        return torch.cat(self.decoder(torch.cat(z.chunk(self.count, dim=-1))).chunk(self.count), dim=-1)


def _blocks(matrices: Sequence[Tensor]) -> Tensor:
    """Block-diagonal matrices (B, G l, G l) of G matrices (B, l, l)."""
    size = matrices[0].shape[-1]
    rows = [
        torch.nn.functional.pad(matrix, (number * size, (len(matrices) - 1 - number) * size))
        for number, matrix in enumerate(matrices)
    ]
    return torch.cat(rows, dim=1)


def patches(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> tuple[nn.Module, nn.Module]:
    """The `mlp` of a square patch, with ReLU, shared by all patches side by side in an image (C, H, G H).

    Each patch has L / G latents, which no other patch changes. So the network learns from G times as many pictures
    as one that observes the whole image, and what patches show adds up in the latents.

    Raises ValueError for other shapes, and if L is not a multiple of G.
    """
    count = patch_count(shape, latent)
    encoder, decoder = mlp((*shape[:2], shape[1]), latent // count, guide, activation=nn.ReLU)
    return _PatchEncoder(encoder, count), _PatchDecoder(decoder, count)


def patch_count(shape: tuple[int, ...], latent: int) -> int:
    """The number G of square patches side by side in images (C, H, G H). Raises ValueError, see `patches`."""
    if len(shape) != 3:
        raise ValueError(f"requires images; observations have the shape {shape}")
    height, width = shape[1:]
    count, rest = divmod(width, height)
    if rest:
        raise ValueError(
            f"requires images whose width is a multiple of the height; they have {height} x {width} pixels"
        )
    if latent % count:
        raise ValueError(
            f"requires a multiple of {count} latent dimensions, for {count} patches; --latent-dim is {latent}"
        )
    return count


def linear(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Linear decoder, and an encoder with one hidden layer of 64; observations of any shape.

    The latents learn principal components: with a Gaussian likelihood, the decoder is that of probabilistic principal
    component analysis (Tipping and Bishop 1999). So what adds up in observations adds up in latents. The hidden layer
    only speeds up learning.
    """
    size = math.prod(shape)
    body = nn.Sequential(nn.Flatten(), *_dense((size, _LINEAR_WIDTH)))
    decoder = nn.Sequential(nn.Linear(latent, size), nn.Unflatten(1, shape))
    return Encoder(body, _LINEAR_WIDTH, latent, guide), decoder


def conv(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Strided convolutions (32, 64) and a dense layer of 256, mirrored: 1.7 M parameters at 28 x 28."""
    return _convolutional(shape, latent, guide, channels=(32, 64), width=256)


def conv_large(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Strided convolutions (64, 128, 256) and a dense layer of 1024, mirrored: 9.2 M parameters at 28 x 28.

    The network of the public reference code has 14.8 M parameters.
    """
    return _convolutional(shape, latent, guide, channels=(64, 128, 256), width=1024)


def _dense(widths: tuple[int, ...], activation: Activation = nn.ReLU) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return layers


def _convolutional(shape: tuple[int, ...], latent: int, guide: Guide, channels: tuple[int, ...], width: int) -> Pair:
    sizes = [image_size(shape)]
    down: list[nn.Module] = []
    for before, after in zip((shape[0], *channels), channels, strict=False):
        down += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        sizes.append(halved_size(sizes[-1]))
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
        up.append(upsampling(before, after, small, large))
        if step < len(targets) - 1:
            up.append(nn.ReLU())
    return encoder, nn.Sequential(*up)


def halved_size(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width after a convolution of stride 2, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def upsampling(before: int, after: int, small: tuple[int, int], large: tuple[int, int]) -> nn.Module:
    """Transposed convolution from size `small` to `large`, where `small` is `large` halved."""
    # Halving rounds up, so the output for an odd size must be one shorter than double.
    padding = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
    return nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=padding)


def image_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of images (C, H, W). Raises ValueError for other shapes."""
    if len(shape) != 3:
        raise ValueError(f"observations have the shape {shape}; a convolutional network requires images (C, H, W)")
    return shape[1], shape[2]


# Sizes of `resnet`.
_CHANNELS = (32, 64, 128)
_WIDTH = 256
_GROUPS = 8


class Block(nn.Module):
    """Residual block with `channels` feature maps; the shape stays the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # "way" is part of the parameter names in checkpoints.
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
        output: Tensor = x + self.way(x)
        return output


def resnet(shape: tuple[int, ...], latent: int, guide: Guide = Diagonal) -> Pair:
    """Residual encoder and decoder for images (C, H, W). Raises ValueError for other shapes."""
    sizes = [image_size(shape)]
    down: list[nn.Module] = []
    before = shape[0]
    for channels in _CHANNELS:
        down += [nn.Conv2d(before, channels, 3, stride=2, padding=1), Block(channels)]
        sizes.append(halved_size(sizes[-1]))
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
        up += [Block(before), nn.ReLU(), upsampling(before, after, small, large)]
        before = after
    return encoder, nn.Sequential(*up)
