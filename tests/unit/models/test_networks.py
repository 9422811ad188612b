"""`resnet`: sizes, objects that do not see each other, and the size that its line tells. `patches`: shared weights."""

import re

import pytest
import torch

from mhng.models.guides import Diagonal, Full
from mhng.models.networks import patches, resnet
from mhng.models.registry import NETWORKS
from mhng.models.rng import seeded_global_rng, stream


def built(shape, latent=12, **options):
    with seeded_global_rng(stream(0, "init")):
        return resnet(shape, latent, **options)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 4, 4), (3, 4, 7), (2, 31, 5), (7, 33, 28)])
def test_it_takes_images_of_any_size_and_number_of_channels(shape):
    encoder, decoder = built(shape, 5, guide=Full)
    loc, factor = encoder(torch.rand(2, *shape))
    assert loc.shape == (2, 5) and factor.shape == (2, 5, 5) and decoder(loc).shape == (2, *shape)


def test_what_it_says_of_one_object_does_not_depend_on_others():
    encoder, decoder = (part.double() for part in built((3, 13, 11)))
    x = torch.rand(6, 3, 13, 11, generator=stream(0, "x"), dtype=torch.float64)
    alone = torch.cat([encoder(one.unsqueeze(0))[0] for one in x])
    torch.testing.assert_close(encoder(x)[0], alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(encoder(torch.cat([x[:1], 50 * x[1:]]))[0][0], alone[0], rtol=1e-12, atol=1e-12)
    pictures = torch.cat([decoder(one.unsqueeze(0)) for one in alone])
    torch.testing.assert_close(decoder(alone), pictures, rtol=1e-12, atol=1e-12)
    assert not any(isinstance(part, torch.nn.modules.batchnorm._BatchNorm) for part in encoder.modules())


def test_every_pixel_and_channel_is_seen_and_every_weight_learns():
    encoder, decoder = built((3, 9, 10))
    x = torch.rand(4, 3, 9, 10, generator=stream(0, "x"), requires_grad=True)
    loc, scale = encoder(x)
    (decoder(loc + scale) - x.detach()).square().sum().backward()
    assert (x.grad.abs().sum(0) > 0).all()
    for part in (encoder, decoder):
        for name, weight in part.named_parameters():
            assert weight.grad.abs().sum() > 0, name


def test_its_line_tells_how_many_parameters_it_has():
    told = re.findall(r"(\d\.\d) M(?: parameters)? at (\d+) x (\d+)", NETWORKS["resnet"].description)
    assert [size for _, size, _ in told] == ["28", "64"]
    for (millions, size, _), channels in zip(told, (1, 3), strict=True):
        both = built((channels, int(size), int(size)))
        count = sum(weight.numel() for part in both for weight in part.parameters())
        assert f"{count / 1e6:.1f}" == millions


def test_vectors_are_refused():
    with pytest.raises(ValueError, match="requires images"):
        resnet((5,), 2)


@pytest.mark.parametrize("guide", [Diagonal, Full])
def test_patches_side_by_side_have_the_same_network_and_latents_apart(guide):
    with seeded_global_rng(stream(0, "init")):
        encoder, decoder = patches((2, 4, 12), 6, guide)
    x = torch.rand(3, 2, 4, 12, generator=stream(0, "x"))
    loc, spread = encoder(x)
    order = torch.tensor([2, 0, 1])  # of the patches, and of the pairs of latents
    latents = (2 * order.unsqueeze(1) + torch.arange(2)).flatten()
    moved, moved_spread = encoder(torch.cat([x.chunk(3, dim=-1)[n] for n in order], dim=-1))
    torch.testing.assert_close(moved, loc[:, latents])
    torch.testing.assert_close(
        moved_spread, spread[:, latents][:, :, latents] if guide is Full else spread[:, latents]
    )
    if guide is Full:
        guide.distribution(loc, spread)  # refuses a factor that is not lower triangular
        assert (spread != 0).sum() == 3 * 3 * 3
    pictures = decoder(loc)
    assert pictures.shape == x.shape
    torch.testing.assert_close(decoder(moved), torch.cat([pictures.chunk(3, dim=-1)[n] for n in order], dim=-1))
    changed = loc.clone()
    changed[:, 2:4] += 1
    unlike = (decoder(changed) != pictures).any(0).any(0).any(0)
    assert unlike.tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    ("shape", "latent", "said"),
    [
        ((5,), 2, "requires images"),
        ((1, 4, 6), 2, "multiple of the height; they have 4 x 6"),
        ((1, 4, 12), 4, "multiple of 3 latent dimensions, for 3 patches; --latent-dim is 4"),
    ],
)
def test_patches_refuse_other_shapes_and_latents(shape, latent, said):
    with pytest.raises(ValueError, match=said):
        patches(shape, latent)
