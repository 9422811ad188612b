"""What an agent imagines when it hears a sign: the decoder's image of percepts that the sign stands for.

    z = mu_k + T scale_tril_k e,   e ~ N(0, I),   image = E[x | z]

T is the temperature: at 1 z is a draw of Normal(mu_k, Lambda_k^-1), what the agent believes of the sign; below, draws
keep to what is typical; at 0 every draw is the mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from models.agent import Agent
from models.mixtures import Components

# Images at once
_CHUNK = 1024


def percepts(components: Components, signs: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One percept for each of the signs (B,), at the given temperature: (B, L)."""
    mu = components.mu[signs]
    noise = torch.randn(mu.shape, dtype=mu.dtype, generator=generator)
    return mu + temperature * (components.scale_tril[signs] @ noise.unsqueeze(-1)).squeeze(-1)


def imagined(
    agent: Agent, components: Components, signs: Tensor, temperature: float, generator: torch.Generator
) -> Iterator[tuple[slice, Tensor]]:
    """An image for each of the signs (N,), by the chunk: which of them, and (B, *shape).

    One number of the stream is used for each of the N x L entries, in order, whatever the temperature.
    """
    for first in range(0, len(signs), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(signs)))
        yield part, agent.imagine(percepts(components, signs[part], temperature, generator))
