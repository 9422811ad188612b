"""What an agent is asked in the game, be it here or in another process.

An agent's table of log densities is its own. Of an agent here the game holds the table and works with it; of one that
lives elsewhere it holds an `AfarTable`, and its questions go there: nothing but signs and a few sums is ever told.

Shapes: C chains, N objects, K signs; a table is (C, N, K).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from mhng.inference import metropolis
from mhng.inference.metropolis import Turn, draw
from mhng.inference.proposals import Rule, proposal_logits
from mhng.models.rng import copy_generator


class AfarTable(ABC):
    """The table of an agent in another process, and its owner who answers by it."""

    @abstractmethod
    def speak(self, stream: AfarStream, log_prior: Tensor) -> Tensor:
        """As `speak`."""

    @abstractmethod
    def answer(self, stream: AfarStream, proposed: Tensor, current: Tensor, rule: Rule) -> Turn:
        """As `answer`."""

    @abstractmethod
    def log_likelihood(self, signs: Tensor) -> Tensor:
        """As `log_likelihood`."""

    @abstractmethod
    def best(self, log_prior: Tensor) -> Tensor:
        """As `best`."""


class AfarParameters(ABC):
    """Parameters of an agent in another process: they are read for the record of a run, by no other agent."""

    @abstractmethod
    def read(self) -> Any:
        """The tensors, as a belief here has them."""


class AfarStream(ABC):
    """A random stream of an agent in another process: it is drawn from there."""

    @abstractmethod
    def copied(self) -> AfarStream:
        """One that goes on as this one would, and leaves it where it is."""


Table = Any  # a Tensor (C, N, K), or an AfarTable
Stream = Any  # a torch.Generator, or an AfarStream


def speak(stream: Stream, log_prior: Tensor, table: Table) -> Tensor:
    """The agent's own draw for every object, (C, N): log_prior (K,), or (C, 1, K) where chains differ."""
    if isinstance(table, AfarTable):
        return table.speak(stream, log_prior)
    return draw(stream, proposal_logits(log_prior, table))


def answer(stream: Stream, table: Table, proposed: Tensor, current: Tensor, rule: Rule) -> Turn:
    """The agent accepts what is `proposed` (C, N), or keeps its `current` (C, N)."""
    if isinstance(table, AfarTable):
        return table.answer(stream, proposed, current, rule)
    return metropolis.answer(stream, table, proposed, current, rule)


def log_likelihood(table: Table, signs: Tensor) -> Tensor:
    """log p(z | signs, phi), summed over objects: signs (C, N) -> (C,)."""
    if isinstance(table, AfarTable):
        return table.log_likelihood(signs)
    found: Tensor = table.gather(-1, signs.unsqueeze(-1)).sum((-2, -1))
    return found


def best(log_prior: Tensor, table: Table) -> Tensor:
    """What the agent would say by itself: the best sign of its own posterior, (C, N)."""
    found: Tensor = table.best(log_prior) if isinstance(table, AfarTable) else (log_prior + table).argmax(-1)
    return found


def read(parameters: Any) -> Any:
    """Parameters as tensors, for the record."""
    return parameters.read() if isinstance(parameters, AfarParameters) else parameters


def copy_of(stream: Stream) -> Stream:
    """A stream that goes on as this one would, and leaves it where it is."""
    return stream.copied() if isinstance(stream, AfarStream) else copy_generator(stream)
