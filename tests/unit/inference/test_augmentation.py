"""Augmentation: the movements of images, and their generator."""

import pytest
import torch

from mhng.inference import augmentation as module
from mhng.inference.augmentation import jitter, jitter_modalities
from mhng.inference.svi import Learner
from mhng.models.agent import Agent
from mhng.models.rng import stream


def images(count=6):
    return torch.rand(count, 1, 14, 14, generator=stream(0, "x"))


def test_strength_0_returns_the_images_and_draws_nothing():
    generator = stream(0, "jitter")
    before = generator.get_state()
    x = images()
    assert torch.equal(jitter(x, generator, 0.0), x)
    assert torch.equal(generator.get_state(), before)


def test_it_is_repeatable_and_different_for_each_image():
    one = images(1).expand(5, -1, -1, -1)
    moved = jitter(one, stream(0, "jitter"), 1.0)
    assert torch.equal(moved, jitter(one, stream(0, "jitter"), 1.0))
    assert len({tuple(picture.flatten().tolist()) for picture in moved}) == 5
    assert moved.min() >= 0 and moved.max() <= 1 and moved.shape == one.shape


def test_pictures_side_by_side_move_independently():
    pair = images(4).repeat(1, 1, 1, 2)
    moved = jitter(pair, stream(0, "jitter"), 1.0, columns=2)
    left, right = moved.chunk(2, dim=-1)
    assert moved.shape == pair.shape and not torch.isclose(left, right).all()
    single = jitter(torch.cat(pair.chunk(2, dim=-1)), stream(0, "jitter"), 1.0)
    assert torch.equal(torch.cat([left, right]), single)


@pytest.mark.parametrize(("axis", "row"), [(3, 4), (2, 5)])
def test_a_shift_moves_by_pixels(axis, row, monkeypatch):
    """All draws at their largest but one kind: a shift of two of 28 pixels, to one side."""
    draws = torch.full((6, 1), 0.5)
    draws[row] = 0.0
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 10:14, 10:14] = 1
    moved = jitter(x, stream(0, "jitter"), 1.0)
    torch.testing.assert_close(moved, x.roll(2, axis), atol=1e-4, rtol=0)


def test_a_rotation_is_that_of_torchvision(monkeypatch):
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import rotate

    draws = torch.full((6, 1), 0.5)
    draws[0] = 1.0
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 8:20, 12:16] = 1
    expected = rotate(x, module.DEGREES, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(jitter(x, stream(0, "jitter"), 1.0), expected, atol=1e-3, rtol=0)


def test_every_step_has_new_movements_and_the_view_is_unchanged(monkeypatch):
    seen = []
    real = module.jitter

    def spy(x, generator, strength, columns):
        seen.append(real(x, generator, strength))
        return seen[-1]

    monkeypatch.setattr("mhng.inference.augmentation.jitter", spy)
    x = images()
    before = x.clone()
    agent = Agent((1, 14, 14), signs=3, latent=2, generator=stream(0, "A/init"))
    Learner(agent, x, stream(0, "A/learn"), batch_size=6, lr=1e-3, jitter=1.0).learn(2)
    assert torch.equal(x, before)
    assert len(seen) == 2
    totals = [sorted(picture.sum(dim=(1, 2, 3)).tolist()) for picture in seen]
    assert totals[0] != totals[1]


def test_each_modality_moves_independently_and_missing_ones_stay_missing():
    shapes = ((1, 14, 14), (3,), (1, 14, 14))
    one = images()
    x = torch.cat([one.flatten(1), torch.rand(6, 3, generator=stream(1, "x")), one.flatten(1)], dim=1)
    whole = jitter_modalities(x, shapes, stream(0, "jitter"), 1.0)
    first, vector, last = whole.split([196, 3, 196], dim=1)
    assert torch.equal(vector, x[:, 196:199])
    assert torch.equal(first, jitter(one, stream(0, "jitter"), 1.0).flatten(1))
    assert not torch.equal(first, x[:, :196]) and not torch.equal(first, last)
    lacking = x.clone()
    lacking[2, :196] = float("nan")
    lacking[4, 196:199] = float("nan")
    seen = jitter_modalities(lacking, shapes, stream(0, "jitter"), 1.0)
    assert torch.equal(seen.isnan(), lacking.isnan())
    assert torch.equal(seen[~seen.isnan()], whole[~seen.isnan()])
    assert jitter_modalities(lacking, shapes, stream(0, "jitter"), 0.0) is lacking
