"""The rules of a naming game: what is played, who may know what, and by whose rule a sign is accepted."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mhng.inference.proposals import Rule, acceptance_rule
from mhng.inference.recursive import inner_length
from mhng.inference.topology import Meetings, Together
from mhng.models.sign_prior import SignPrior


@dataclass(frozen=True)
class Game:
    """The rules of one game. `log_prior` (K,) is log pi, where it is known.

    weights: the prior of pi, where it is not: each agent draws its own given its signs, all one where signs are
    shared. split_merge: steps of `mhng.inference.split_merge` that each agent proposes in a sweep; more than 0 only
    where one
    sign is shared (ValueError otherwise).
    acceptance: the rule of every listener, or one for each agent (Okumura et al. 2023 find people to differ so).
    graphs: many sweeps on a CUDA device are captured and replayed (`mhng.inference.cuda_graphs`). No run does so
    yet: on a
    card that other programs used too, replayed sweeps were not always those made kernel by kernel
    (docs/performance.md).
    meetings: who meets whom. recursion, inner_start: how three or more in an encounter make a proposal.
    newcomers: what an agent that met nobody so far does with the first names that it hears: `keep`: it answers them by
    its rule, with names of its own; `take`: it takes them over.
    """

    log_prior: Tensor
    mode: str = "com"
    listener_state: str = "chain"
    acceptance: str | tuple[str, ...] = "mh"
    split_merge: int = 0
    meetings: Meetings = Together()
    recursion: str = "os"
    inner_start: str = "listener"
    weights: SignPrior | None = None
    graphs: bool = False
    newcomers: str = "keep"

    def __post_init__(self) -> None:
        if self.split_merge and not shares(self):
            raise ValueError("split-merge steps need signs that agents share: mode gibbs, or listener state shared")
        if self.weights is not None and self.mode == "variational":
            raise ValueError("the variational game is for weights of signs that are known")
        inner_length(self.recursion)

    @property
    def K(self) -> int:  # noqa: N802 - the letter of the mathematics
        """How many signs there are."""
        return len(self.log_prior)


def shares(game: Game) -> bool:
    """Whether all agents hold one and the same sign for an object."""
    return game.mode == "gibbs" or (game.mode in ("com", "all") and game.listener_state == "shared")


def rules_of(game: Game, M: int) -> list[Rule]:
    """The acceptance rule of each agent."""
    if game.mode == "all":
        return [acceptance_rule("constant:1")] * M
    if isinstance(game.acceptance, str):
        return [acceptance_rule(game.acceptance)] * M
    return [acceptance_rule(name) for name in game.acceptance]
