"""Protocols that the game requires of agents, and the state of a game between two sweeps.

Shapes: C chains, M agents, N objects, K signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from mhng.models.belief import Response, Rule

# A torch.Generator; for an agent in another process, a handle of its generator there.
Stream = Any


class Belief(Protocol):
    """The belief of an agent about K signs after a redraw, and its answers (`mhng.models.belief`).

    The agent may run in another process, which then answers.
    """

    @property
    def parameters(self) -> Any:
        """phi. A trace stores `phi.mu` (C, K, L), if phi has it."""

    @property
    def log_density(self) -> Tensor:
        """(C,) log p(phi)."""

    @property
    def evidence(self) -> Tensor:
        """(C,) log p(z | signs), phi integrated out."""

    @property
    def stackable(self) -> bool:
        """Whether `stack` can join it with the beliefs of other agents."""

    def propose(self, generator: Any, log_prior: Tensor) -> Tensor:
        """Draw a sign for every object from pi_w p(z | w, phi): (C, N)."""

    def respond(self, generator: Any, proposed: Tensor, current: Tensor, rule: Rule) -> Response:
        """Accept signs `proposed` (C, N) by the acceptance rule, or keep `current` (C, N)."""

    def log_likelihood(self, signs: Tensor) -> Tensor:
        """log p(z | signs, phi), summed over objects: signs (C, N) -> (C,)."""

    def best(self, log_prior: Tensor) -> Tensor:
        """The most probable sign of every object, (C, N)."""


class TableBelief(Belief, Protocol):
    """A belief whose table the game may read: for `gibbs`, `exact` recursion and the variational game."""

    @property
    def table(self) -> Tensor:
        """(C, N, K) log p(z_n | w_n = k, phi)."""

    def pointwise(self, signs: Tensor) -> Tensor:
        """log p(z_n | w_n, phi) of every object: signs (C, N) -> (C, N)."""


class Player(Protocol):
    """An agent in the game. `mhng.models.percepts.Percepts` is one.

    Players with a `batch_key` and a `redraw_batch` (see `Percepts`) may be redrawn together.
    """

    def redraw(self, generator: Any, signs: Tensor, K: int, previous: Any = None) -> Belief:
        """Draw the parameters of K signs given the agent's signs (C, N).

        previous: the agent's last belief; None at the beginning. Independent draws ignore it.
        """


class SplitMergePlayer(Player, Protocol):
    """A player that can also propose and evaluate split-merge steps (`mhng.inference.split_merge`)."""

    def bipartition_logits(self, group: Tensor, seeds: Tensor) -> Tensor:
        """Log odds (C, N) that an object of `group` (C, N) belongs with seed 1 rather than seed 0; seeds (C, 2)."""

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """(C,) log p(z | signs), phi integrated out."""


class StartPlayer(SplitMergePlayer, Protocol):
    """A player that can also find initial signs (`mhng.inference.initialization`)."""

    @property
    def count(self) -> int:
        """N."""

    def is_finite(self) -> bool:
        """Whether all its latents are finite."""

    def clusters(self, generator: Any, chains: int, K: int) -> Tensor:
        """(C, N) cluster the latents by k-means, once for each chain."""

    def from_prior(self, generator: Any, chains: int, K: int) -> Belief:
        """A belief with parameters from the prior."""

    def merge_gain(self, signs: Tensor, K: int, sign: Tensor) -> Tensor:
        """(C, K) change of log evidence if `sign` (C,) were merged with each other sign."""


class State(NamedTuple):
    """What a chain carries from one sweep to the next."""

    signs: Tensor  # (C, M, N) each agent's sign for each object
    private: Tensor  # (C, M, N) each agent's last proposal as a speaker; read by `speaker-sample` only
    beliefs: tuple[Belief, ...]  # one per agent
    log_pi: Tensor | None = None  # (C, M, K) each agent's log pi, if pi is drawn


class Info(NamedTuple):
    """Statistics of one sweep; the next sweep does not need them."""

    accepted: Tensor  # (C, M) accepted proposals with agent m as listener, out of N * encounters (no-com, gibbs: 0)
    encounters: Sequence[int]  # (M) encounters with agent m as listener
    messages: Tensor  # (C,) signs sent from agent to agent, all objects together
    not_a_number: Tensor  # (C,) ratios that were NaN, and therefore rejections
    splits: Tensor  # (C,) accepted split-merge steps
    log_likelihood: Tensor  # (C, M) log p(z | w, phi) of each agent
    log_density: Tensor  # (C, M) log p(phi) of each agent
    log_joint: Tensor  # (C,) log p(w, phi, z) for all agents
    evidence: Tensor  # (C,) sum of log p(z | w) over agents, phi integrated out, and log p(w) if pi is drawn
