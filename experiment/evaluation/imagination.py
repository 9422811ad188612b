"""What an agent imagines when it hears a sign: the decoder's image of percepts that the sign stands for.

    z = mu_k + T scale_tril_k e,   e ~ N(0, I),   image = E[x | z]        (of a Gaussian mixture)

T is the temperature: at 1 z is a draw of p(z | w = k, phi), what the agent believes of the sign; below, draws
keep to what is typical; at 0 every draw is the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.training.restore import Trained
from mhng.models.agent import Agent
from mhng.models.rng import stream

# Far beyond it the networks overflow.
HIGHEST_TEMPERATURE = 100.0

# Images at once
_CHUNK = 1024


def check_temperature(place: str, temperature: float) -> None:
    """UsageError naming `place` if draws cannot be taken at that temperature."""
    if not 0 <= temperature <= HIGHEST_TEMPERATURE:  # NaN is in no interval
        raise UsageError(f"{place} must be 0 to {HIGHEST_TEMPERATURE:g}; it is {temperature:g}")


def imagined(
    agent: Agent, components: Any, signs: Tensor, temperature: float, generator: torch.Generator
) -> Iterator[tuple[slice, Tensor]]:
    """An image for each of the signs (N,), by the chunk: which of them, and (B, *shape), or of modalities (B, D).

    One number of the stream is used for each of the N x L entries, in order, whatever the temperature.
    """
    for first in range(0, len(signs), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(signs)))
        yield part, agent.decode(agent.mixture.sample_percepts(generator, components, signs[part], temperature))


def meant(trained: Trained, name: str, draws: int, temperature: float) -> Iterator[Iterator[tuple[slice, Tensor]]]:
    """What the agent means by each of its K signs: images at the means, then `draws` times images around them.

    Each of the 1 + draws is by the chunk, as in `imagined`, and must be used up before the next. The stream is the
    agent's own, so that the same draws come each time.
    """
    agent, components = trained.agents[name], trained.mind(name)
    generator = stream(trained.config.seed, f"{name}/recall")
    for column in range(1 + draws):
        yield imagined(agent, components, torch.arange(agent.signs), temperature if column else 0.0, generator)


def heard(
    trained: Trained, speaker: str, listener: str, signs: Tensor, temperature: float
) -> Iterator[tuple[slice, Tensor]]:
    """What the listener imagines on hearing the speaker's sign for each object, signs (N,), by the chunk."""
    generator = stream(trained.config.seed, f"{speaker}->{listener}/recall")
    return imagined(trained.agents[listener], trained.mind(listener), signs, temperature, generator)
