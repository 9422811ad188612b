"""The specification of a naming game: mode, listener state, acceptance rules, topology, sign prior."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mhng.inference.proposals import Rule, acceptance_rule
from mhng.inference.recursive import inner_length
from mhng.inference.topology import Meetings, Together
from mhng.models.languages import TURNS, Sentences
from mhng.models.sign_prior import SignPrior


@dataclass(frozen=True)
class Game:
    """The specification of one game.

    Args:
        log_prior: (K,) log pi.
        mode, listener_state: see `mhng.inference.game`.
        acceptance: the acceptance rule of all agents, or one for each agent (Okumura et al. 2023).
        split_merge: split-merge steps that each agent proposes in a sweep; requires shared signs.
        meetings: who meets whom (`mhng.inference.topology`).
        recursion, inner_start: the proposal of several speakers (`mhng.inference.recursive`).
        weights: the prior of pi if pi is drawn: each agent draws its own pi given its signs, or one pi if signs are
            shared. None: pi is known.
        newcomers: what an agent does at its first encounter: `keep` responds by its rule, with its own signs; `take`
            accepts every proposal.
        sentences: the language, if signs are sentences of several words (`mhng.models.languages`); K is then V^S.
        turns: what a turn proposes, for sentences: `sentence`, `word` or `both` (`mhng.inference.sentence_turns`).
            With more than `languages.MOST_TABLE` sentences, `both` has word turns only.

    Raises:
        ValueError: split_merge without shared signs, weights with mode variational, unknown turns or recursion, or
            sentences that do not fit log_prior or the turns.
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
    newcomers: str = "keep"
    sentences: Sentences | None = None
    turns: str = "both"

    def __post_init__(self) -> None:
        if self.split_merge and not self.shares_signs:
            raise ValueError("split-merge steps require shared signs: mode gibbs, or listener state shared")
        if self.weights is not None and self.mode == "variational":
            raise ValueError("mode variational requires a known sign prior; weights must be None")
        if self.turns not in TURNS:
            raise ValueError(f"turns is {self.turns!r}; expected one of {', '.join(TURNS)}")
        if self.sentences is not None and self.sentences.count != self.K:
            raise ValueError(f"log_prior has {self.K} signs; expected the {self.sentences.count} sentences")
        if self.turns == "sentence" and self.sentences is not None and not self.sentences.fits_table:
            raise ValueError(f"turns is sentence, but {self.sentences.count} sentences are too many for a table")
        inner_length(self.recursion)

    @property
    def K(self) -> int:  # noqa: N802 - the letter of the mathematics
        """The number of signs."""
        return len(self.log_prior)

    @property
    def table_width(self) -> int:
        """The largest number of signs that a proposal compares for an object: K, or that of words."""
        return self.K if self.sentences is None else self.sentences.table_width

    @property
    def shares_signs(self) -> bool:
        """Whether all agents hold the same sign for an object."""
        return self.mode == "gibbs" or (self.mode in ("com", "all") and self.listener_state == "shared")

    def acceptance_rules(self, M: int) -> list[Rule]:
        """The acceptance rule of each of M agents."""
        if self.mode == "all":
            return [acceptance_rule("constant:1")] * M
        if isinstance(self.acceptance, str):
            return [acceptance_rule(self.acceptance)] * M
        return [acceptance_rule(name) for name in self.acceptance]
