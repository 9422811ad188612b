"""Decode signs into observations: sample a latent from the sign's component, then decode it.

    z = mu_k + T scale_tril_k e,   e ~ N(0, I),   image = E[x | z]        (for a Gaussian mixture)

T is the temperature. T = 1 samples from p(z | w = k, phi); a smaller T stays closer to the mean; T = 0 gives the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.text import short_repr
from mhng.models.agent import Agent
from mhng.models.rng import stream

# Above this temperature the networks overflow.
MAX_TEMPERATURE = 100.0

_CHUNK = 1024

# Chunks of images, each with the positions that it covers
Chunks = Iterator[tuple[slice, Tensor]]


def check_temperature(option: str, temperature: float) -> None:
    """Raise UsageError, with the name of the `option`, if the temperature is out of range."""
    if isinstance(temperature, str) or not 0 <= temperature <= MAX_TEMPERATURE:  # also true for NaN
        shown = short_repr(temperature) if isinstance(temperature, str) else f"{temperature:g}"
        raise UsageError(f"{option} is {shown}; expected 0 to {MAX_TEMPERATURE:g}")


def decode_signs(
    agent: Agent, parameters: Any, signs: Tensor, temperature: float, generator: torch.Generator
) -> Chunks:
    """Decode each of the signs (N,) into an observation, chunk by chunk: (B, *shape), or (B, D) with modalities.

    The generator draws N x L numbers in order, whatever the temperature.
    """
    for first in range(0, len(signs), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(signs)))
        yield part, agent.decode(agent.mixture.sample_percepts(generator, parameters, signs[part], temperature))


def recall_signs(run: SavedRun, name: str, draws: int, temperature: float) -> Iterator[Chunks]:
    """Decode all K signs by the agent called `name`: first at the component means, then `draws` times around them.

    Each of the 1 + draws iterators must be exhausted before the next. The agent's random stream is fixed by the seed,
    so the draws are the same in every call.
    """
    agent, parameters = run.models[name], run.parameters[name]
    generator = stream(run.config.seed, f"{name}/recall")
    for column in range(1 + draws):
        yield decode_signs(agent, parameters, torch.arange(agent.signs), temperature if column else 0.0, generator)


def recall_across(run: SavedRun, speaker: str, listener: str, signs: Tensor, temperature: float) -> Chunks:
    """Decode, by the listener, the speaker's sign for each object: signs (N,)."""
    generator = stream(run.config.seed, f"{speaker}->{listener}/recall")
    return decode_signs(run.models[listener], run.parameters[listener], signs, temperature, generator)
