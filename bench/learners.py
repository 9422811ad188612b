"""Agents that learn, to measure: by Pyro, as they do, and by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mhng.inference.svi import Learner
from mhng.models.agent import Agent
from mhng.models.rng import stream

BATCH = 128


def images(N: int, device: str = "cpu") -> Tensor:
    """(N, 1, 28, 28) uniform noise: what an image shows takes no time."""
    return torch.rand(N, 1, 28, 28, generator=stream(0, "x", device), device=device)


def learner(network: str, x: Tensor, device: str = "cpu", batch: int = BATCH, graphs: bool = True) -> Learner:
    """An agent ready to learn from x."""
    agent = Agent(
        tuple(x.shape[1:]), signs=10, latent=12, network=network, generator=stream(0, "init", device), device=device
    )
    return Learner(agent, x, stream(0, "learn", device), batch_size=batch, lr=1e-3, graphs=graphs)


def bare_epoch(one: Learner) -> None:
    """An epoch of the same bound by hand: N(0, I) prior, no Pyro."""
    agent, optimiser = one.agent, one.optimiser
    assert optimiser is not None
    for index in torch.randperm(len(one.x), device=one.x.device).split(one.batch_size):
        x = one.x[index]
        loc, scale = agent.encoder(x)
        output = agent.decoder(loc + scale * torch.randn_like(scale))
        reconstruction = nn.functional.binary_cross_entropy_with_logits(output, x, reduction="sum")
        kl = 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log()).sum()
        optimiser.zero_grad()
        ((reconstruction + kl) / len(x)).backward()
        optimiser.step()
