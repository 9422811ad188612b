"""Encoders x -> (loc, scale) of q(z|x) and decoders z -> the parameter of p(x|z).

A builder takes the shape of one observation, (C, H, W) or (D,), and the latent dimension L, and returns
(encoder, decoder). Both take a batch: x (B, *shape) float32, z (B, L) float32.

None of the nets has batch normalisation or dropout: what a network says of one object must not depend on
which other objects share its batch.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

# exp of an unbounded output is 0 or inf sooner or later, and either ends a run. Within these bounds a scale
# is neither a point nor beyond any prior that these data can have.
LOG_SCALE_BOUNDS = (-7.0, 3.0)


class Encoder(nn.Module):
    """q(z|x) as a diagonal Gaussian: `body` maps x to `width` features, two heads read loc and scale."""

    def __init__(self, body: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 2 * latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, *shape) -> loc (B, L), scale (B, L) > 0."""
        loc, log_scale = self.head(self.body(x)).chunk(2, dim=-1)
        return loc, log_scale.clamp(*LOG_SCALE_BOUNDS).exp()


Pair = tuple[Encoder, nn.Module]


def mlp(shape: tuple[int, ...], latent: int, hidden: tuple[int, ...] = (512, 512)) -> Pair:
    """Dense layers with ReLU, mirrored; observations of any shape."""
    size = math.prod(shape)
    widths = (size, *hidden)
    body = nn.Sequential(nn.Flatten(), *_dense(widths))
    decoder = nn.Sequential(*_dense((latent, *reversed(hidden))), nn.Linear(hidden[0], size), nn.Unflatten(1, shape))
    return Encoder(body, hidden[-1], latent), decoder


def conv(shape: tuple[int, ...], latent: int) -> Pair:
    """Strided convolutions 32, 64 and a dense layer of 256 on each side: 1.7 M parameters at 28 x 28."""
    return _convolutional(shape, latent, channels=(32, 64), width=256)


def conv_large(shape: tuple[int, ...], latent: int) -> Pair:
    """The net of the public reference: strided convolutions 64, 128, 256 and a dense layer of 1024."""
    return _convolutional(shape, latent, channels=(64, 128, 256), width=1024)


def _dense(widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers


def _convolutional(shape: tuple[int, ...], latent: int, channels: tuple[int, ...], width: int) -> Pair:
    if len(shape) != 3:
        raise ValueError(f"a convolutional network needs images (C, H, W); the observations are {shape}")
    sizes = [(shape[1], shape[2])]
    down: list[nn.Module] = []
    for before, after in zip((shape[0], *channels), channels, strict=False):
        down += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    flat = channels[-1] * math.prod(sizes[-1])
    encoder = Encoder(nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, width), nn.ReLU()), width, latent)

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
        # Halving rounds up, so an odd size is doubled to one too many unless the output is shortened by one.
        shorten = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
        up.append(nn.ConvTranspose2d(before, after, 3, stride=2, padding=1, output_padding=shorten))
        if step < len(targets) - 1:
            up.append(nn.ReLU())
    return encoder, nn.Sequential(*up)
