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
    """Tables are computed once and not after a redraw of beliefs."""

    def setup(self, warmup_steps: int, *args: Any, **kwargs: Any) -> None:
        """Forget the tables of the last run."""
        super().setup(warmup_steps, *args, **kwargs)
        self._tables: dict[tuple[int, int], Density] = {}

    def table(self, m: int, state: GameState, held: Tensor, step: Step) -> Density:
        """The first table of agent m."""
        key = m, id(step)
        if key not in self._tables:
            self._tables[key] = super().table(m, state, held, step)
        return self._tables[key]


class BeliefsNotRedrawn(NamingGame):
    """Beliefs stay at their start."""

    def redraw(self, state: GameState, m: int, warmup: bool) -> GameState:
        """The same state."""
        return state


class NuisanceNotSummed(NamingGame):
    """Nuisance sites are held at their first value."""

    def table(self, m: int, state: GameState, held: Tensor, step: Step) -> Density:
        """The table with every nuisance site at its first value."""
        player = self.agents[m]
        if not player.summed:
            return super().table(m, state, held, step)
        silent = ProgramPlayer(player.program, *player.args, nuisance="redraw", vmap=player.vmap, **player.kwargs)
        silent.name, silent.sites = player.name, player.sites
        first = {
            site.name: site.values(torch.zeros(len(held), *site.shape, dtype=torch.int64)) for site in player.summed
        }
        with torch.no_grad():
            return silent.table(held, {**state.beliefs[m], **first}, step)
