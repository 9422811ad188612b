"""An agent of a run: its observations, learner and generators, and what rounds require of it.

An agent in another process has the same interface (`Participant`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mhng.inference.svi import Learner, Loss, elbo
from mhng.inference.types import StartPlayer, Stream
from mhng.models.agent import Agent
from mhng.models.percepts import Percepts
from mhng.models.rng import copy_generator, stream

STREAMS = ("init", "learn", "perceive", "play")


class Participant(Protocol):
    """One agent of the community, in this process or another."""

    @property
    def name(self) -> str:
        """The agent's name."""

    @property
    def play_stream(self) -> Stream:
        """The generator of its draws in the game."""

    def copy_play_stream(self) -> Stream:
        """A copy of `play_stream` in its current state."""

    def train_epochs(
        self, epochs: int, signs: Tensor | None, components: Any, done: int
    ) -> Iterator[tuple[int, Loss]]:
        """As `Learner.train_epochs`. An agent in another process starts at once."""

    def perceive(self) -> StartPlayer:
        """A player of the next game, with new latents."""

    def perceive_expected(self) -> StartPlayer:
        """A player for the search for initial signs, without a random choice of latents where that is possible.

        It changes no later draw. The agent's player of the next game must be made after it.
        """

    def set_log_pi(self, log_pi: Tensor) -> None:
        """Store log pi (K,), as the game drew it for this agent."""


@dataclass
class Member:
    """An agent in this process, with its observations, learner and generators."""

    name: str
    agent: Agent
    x: Tensor
    learner: Learner
    streams: dict[str, torch.Generator]
    percept: str = "draw"  # or "mean", see `Schedule`

    @property
    def count(self) -> int:
        """N."""
        return len(self.x)

    @property
    def device(self) -> torch.device:
        """The device of the agent and its signs."""
        return self.x.device

    @property
    def learns(self) -> bool:
        """Whether the agent has networks."""
        return self.learner.optimiser is not None

    @property
    def play_stream(self) -> torch.Generator:
        """The generator of its draws in the game."""
        return self.streams["play"]

    def copy_play_stream(self) -> torch.Generator:
        """A copy of `play_stream` in its current state."""
        return copy_generator(self.play_stream)

    def train_epochs(
        self, epochs: int, signs: Tensor | None, components: Any, done: int
    ) -> Iterator[tuple[int, Loss]]:
        """As `Learner.train_epochs`."""
        return self.learner.train_epochs(epochs, signs, components, done)

    def perceive(self) -> Percepts:
        """The latents for the next game. The first call also selects the agent's prior scale, if that is left open."""
        generator = self.streams["perceive"]
        self._fit_prior_scale()
        return self.agent.perceive(self.x, generator if self.percept == "draw" else None)

    def perceive_expected(self) -> Percepts:
        """The expected latents under q(z | x) (`Agent.perceive_expected`), or their means if these are played on."""
        self._fit_prior_scale()
        if self.percept == "mean":
            return self.agent.perceive(self.x, None)
        return self.agent.perceive_expected(self.x, copy_generator(self.streams["perceive"]))

    def _fit_prior_scale(self) -> None:
        if self.agent.lacks_scale:
            self.agent.fit_prior_scale(self.x, copy_generator(self.streams["perceive"]))

    def set_log_pi(self, log_pi: Tensor) -> None:
        """Store log pi (K,), as the game drew it for this agent."""
        self.agent.log_pi.copy_(log_pi)

    def elbo(self, seed: int, round: int, signs: Tensor, components: Any) -> Loss | None:
        """The ELBO after `round`, given the agent's signs (N,); None without networks.

        It has a separate generator, so that later draws do not depend on it.
        """
        if self.learner.optimiser is None:
            return None
        generator = stream(seed, f"{self.name}/score/{round}", self.x.device)
        return elbo(self.agent, self.x, generator, signs, components)

    def state(self) -> dict[str, Any]:
        """The agent's part of a checkpoint, as tensors and plain values."""
        agent = self.agent.state_dict()
        for name, buffer in self.agent.named_buffers():  # the game sets them in place
            if name in agent:
                agent[name] = buffer.clone()
        return {
            "agent": agent,
            "optimiser": self.learner.optimiser.state_dict() if self.learner.optimiser else None,
            "streams": {kind: generator.get_state() for kind, generator in self.streams.items()},
            "device": self.x.device.type,
        }

    def restore(self, state: Mapping[str, Any], parts: Sequence[Tensor] | None) -> Any:
        """Restore a `state`; returns the components, made from their tensors `parts`.

        Raises various errors if the state does not fit the agent.
        """
        components = self.agent.restore(state["agent"], parts)
        if state["device"] != self.x.device.type:
            raise StreamDeviceError(state["device"], self.x.device.type)
        if self.learner.optimiser is not None:
            self.learner.optimiser.load_state_dict(state["optimiser"])
        for kind, generator in self.streams.items():
            generator.set_state(state["streams"][kind])
        return components


class StreamDeviceError(Exception):
    """A generator's state was saved on another type of device. Arguments: that type, and the agent's."""


def agent_streams(seed: int, name: str, device: torch.device | str) -> dict[str, torch.Generator]:
    """The generators of an agent, by the names in STREAMS."""
    return {kind: stream(seed, f"{name}/{kind}", device) for kind in STREAMS}
