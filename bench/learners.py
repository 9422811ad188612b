"""Training for benchmarks: an agent's SVI learner, and the same epoch in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mhng.inference.svi import Learner
from mhng.models.agent import Agent
from mhng.models.rng import stream

BATCH = 128


def images(N: int, device: str = "cpu") -> Tensor:
    """Uniform noise (N, 1, 28, 28); the content of the images does not affect the time."""
    return torch.rand(N, 1, 28, 28, generator=stream(0, "x", device), device=device)


def learner(network: str, x: Tensor, device: str = "cpu", batch: int = BATCH, graphs: bool = True) -> Learner:
    """A learner of one agent with the data x."""
    agent = Agent(
        tuple(x.shape[1:]), signs=10, latent=12, network=network, generator=stream(0, "init", device), device=device
    )
    return Learner(agent, x, stream(0, "learn", device), batch_size=batch, lr=1e-3, cuda_graphs=graphs)


def plain_epoch(learner: Learner) -> None:
    """One epoch with the same bound in plain PyTorch: prior N(0, I), no Pyro."""
    agent, optimiser = learner.agent, learner.optimiser
    assert optimiser is not None
    for index in torch.randperm(len(learner.x), device=learner.x.device).split(learner.batch_size):
        x = learner.x[index]
        loc, scale = agent.encoder(x)
        output = agent.decoder(loc + scale * torch.randn_like(scale))
        reconstruction = nn.functional.binary_cross_entropy_with_logits(output, x, reduction="sum")
        kl = 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log()).sum()
        optimiser.zero_grad()
        ((reconstruction + kl) / len(x)).backward()
        optimiser.step()
