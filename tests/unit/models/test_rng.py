"""Generators that are spawned from others."""

import torch

from mhng.models.rng import spawn, stream


def test_spawned_generators_differ_and_follow_the_first() -> None:
    def draws(seed: int) -> list[list[float]]:
        return [torch.rand(3, generator=made).tolist() for made in spawn(stream(seed, "play"), 3)]

    assert draws(0) == draws(0)
    assert len({number for row in (*draws(0), *draws(1)) for number in row}) == 18


def test_a_handle_of_a_generator_elsewhere_makes_the_handles() -> None:
    class Handle:
        def spawn(self, count: int) -> list[str]:
            return ["play"] * count

    assert spawn(Handle(), 2) == ["play", "play"]
