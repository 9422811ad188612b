"""What the game needs of an agent, and what one sweep carries on or only shows.

Shapes: C chains, M agents, N objects, K signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from mhng.inference.remote import Table


class Belief(Protocol):
    """What an agent holds about the K signs after a redraw."""

    @property
    def table(self) -> Table:
        """(C, N, K) log p(z_n | w_n = k, phi), or who keeps it."""

    @property
    def parameters(self) -> Any:
        """phi. The game does not look into it; its trace keeps `phi.mu` (C, K, L) if there is such a thing."""

    @property
    def log_density(self) -> Tensor:
        """(C,) log p(phi)."""

    @property
    def evidence(self) -> Tensor:
        """(C,) log p(z | signs), phi integrated out."""


class Player(Protocol):
    """An agent in the game: it judges signs by its own percepts, which nobody else sees.

    Its `generator` is a Stream of `mhng.inference.remote`: of its own kind, here or afar.
    """

    def redraw(self, generator: Any, signs: Tensor, K: int, before: Any = None) -> Belief:
        """Draw the parameters of K signs given its signs (C, N).

        before: the `parameters` of its last belief, None at the beginning. A player whose draws are independent
        ignores it.
        """


class Divider(Player, Protocol):
    """A player that can also propose and judge a step of `mhng.inference.split_merge`."""

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) is of the kind of seed 1, not of seed 0; seeds (C, 2)."""

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """(C,) log p(z | signs), phi integrated out."""


class Starter(Divider, Protocol):
    """A player that can also begin a chain (`mhng.inference.initialization`)."""

    @property
    def count(self) -> int:
        """N."""

    def is_finite(self) -> bool:
        """Whether all its percepts are numbers."""

    def clusters(self, generator: Any, chains: int, K: int) -> Tensor:
        """(C, N) signs by clusters of its own percepts, found anew for each chain."""

    def from_prior(self, generator: Any, chains: int, K: int) -> Belief:
        """A belief before any sign was heard."""

    def merge_gain(self, signs: Tensor, K: int, one: Tensor) -> Tensor:
        """(C, K) change of log evidence if sign `one` (C,) of each chain became one with each other sign."""


class State(NamedTuple):
    """What a chain carries from one sweep to the next."""

    signs: Tensor  # (C, M, N) each agent's sign for each object
    private: Tensor  # (C, M, N) the last sample of each agent as a speaker; read by `speaker-sample` only
    beliefs: tuple[Belief, ...]  # one per agent
    log_pi: Tensor | None = None  # (C, M, K) each agent's weights of the signs, where they are drawn


class Info(NamedTuple):
    """What one sweep shows; nothing of it is needed by the next."""

    accepted: Tensor  # (C, M) proposals accepted with agent m as listener, of N * heard (no-com and gibbs: 0)
    heard: Sequence[int]  # (M) encounters in which agent m was the listener
    messages: Tensor  # (C,) names said by one agent to another, of all objects
    not_a_number: Tensor  # (C,) ratios that were NaN, and therefore rejections
    splits: Tensor  # (C,) steps of `mhng.inference.split_merge` that were accepted
    log_joint: Tensor  # (C,) log p(w, phi, z) of all agents, see `game.log_joint`
    evidence: Tensor  # (C,) sum over agents of log p(z | w), phi integrated out; and log p(w) where pi is drawn
