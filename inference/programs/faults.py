"""Wrong games: each has a fault that a check of its law must see (`mhng.inference.programs.prove`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mhng.inference.programs.density import Density
from mhng.inference.programs.naming_game import GameState, NamingGame
from mhng.inference.programs.player import ProgramPlayer
from mhng.inference.programs.turns import Step


class PriorTwice(NamingGame):
    """The listener's ratio has the prior of the signs, which is in the proposal already."""

    def answers(self, tables: Sequence[Density]) -> list[Tensor]:
        """The whole density."""
        return [table.total + (table.prior if self.prior == "each" else 0.0) for table in tables[1:]]


class SpeakersRatio(NamingGame):
    """The listener accepts by the speaker's likelihood ratio."""

    def answers(self, tables: Sequence[Density]) -> list[Tensor]:
        """The first speaker's likelihood."""
        return [tables[0].likelihood for _ in tables[1:]]


class AlwaysAccept(NamingGame):
    """The listener accepts every proposal."""

    def answers(self, tables: Sequence[Density]) -> list[Tensor]:
        """Ratios of 1."""
        return [torch.zeros_like(table.likelihood) for table in tables[1:]]


class OwnRemainder(NamingGame):
    """The speaker completes its own signs, not the listener's (`state="chain"`)."""

    def table(self, m: int, state: GameState, held: Tensor, step: Step) -> Density:
        """The table of agent m given its own remaining signs."""
        return super().table(m, state, self.held_signs(state, m), step)


class StaleTable(NamingGame):
    """Tables are those of the first beliefs, and not computed after a redraw."""

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Forget the beliefs of the last run."""
        super().setup(warmup_steps, *args, **kwargs)
        self._first: dict[int, dict[str, Tensor]] = {}

    def player(self, m: int, state: GameState) -> tuple[ProgramPlayer, dict[str, Tensor]]:
        """Agent m with its beliefs in its first turn."""
        player, beliefs = super().player(m, state)
        return player, self._first.setdefault(m, beliefs)


class BeliefsNotRedrawn(NamingGame):
    """Beliefs stay at their start."""

    def redraw(self, state: GameState, m: int, warmup: bool) -> GameState:
        """The same state."""
        return state


class NuisanceNotSummed(NamingGame):
    """Nuisance sites are held at their first value."""

    def player(self, m: int, state: GameState) -> tuple[ProgramPlayer, dict[str, Tensor]]:
        """Agent m with every nuisance site at its first value."""
        player, beliefs = super().player(m, state)
        if not player.summed:
            return player, beliefs
        silent = ProgramPlayer(
            player.program, *player.args, guide=player.guide, nuisance="redraw", vmap=player.vmap, **player.kwargs
        )
        silent.name, silent.sites = player.name, player.sites
        chains = len(state.signs)
        first = {site.name: site.values(torch.zeros(chains, *site.shape, dtype=torch.int64)) for site in player.summed}
        return silent, {**beliefs, **first}
