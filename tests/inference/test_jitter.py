"""Movements of images: what they do to a picture, and that they come from the agent's own stream."""

import pytest
import torch

from inference import jitter as module
from inference.jitter import jitter
from inference.svi import Learner
from models.agent import Agent
from models.randomness import stream


def images(count=6):
    return torch.rand(count, 1, 14, 14, generator=stream(0, "x"))


def test_strength_0_is_no_movement_and_draws_nothing():
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


def test_a_turn_is_the_rotation_of_torchvision(monkeypatch):
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import rotate

    draws = torch.full((6, 1), 0.5)
    draws[0] = 1.0
    monkeypatch.setattr(torch, "rand", lambda *_, **__: draws)
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 8:20, 12:16] = 1
    expected = rotate(x, module.DEGREES, interpolation=InterpolationMode.BILINEAR)
    torch.testing.assert_close(jitter(x, stream(0, "jitter"), 1.0), expected, atol=1e-3, rtol=0)


def test_learning_sees_other_pictures_every_time_and_leaves_the_view_alone(monkeypatch):
    seen = []
    real = module.jitter

    def spy(x, generator, strength):
        seen.append(real(x, generator, strength))
        return seen[-1]

    monkeypatch.setattr("inference.svi.jitter", spy)
    x = images()
    before = x.clone()
    agent = Agent((1, 14, 14), signs=3, latent=2, generator=stream(0, "A/init"))
    Learner(agent, x, stream(0, "A/learn"), batch_size=6, lr=1e-3, jitter=1.0).learn(2)
    assert torch.equal(x, before)
    assert len(seen) == 2
    totals = [sorted(picture.sum(dim=(1, 2, 3)).tolist()) for picture in seen]
    assert totals[0] != totals[1]
