"""A partner that is an agent of a game of Pyro programs, FILE.py:NAME (docs/programs.md).

`study new` copies FILE.py into the folder of the study and plays the game, so that the agents begin with beliefs. The
copy runs whenever the study is opened, so --trust-plugins is required.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mhng.experiment.errors import UsageError
from mhng.experiment.people.partner import PROGRAM, Belief, finite
from mhng.experiment.training.game_file import load_game
from mhng.inference.programs.naming_game import GameState, NamingGame
from mhng.models.rng import seeded_global_rng, stream

# Redraws of beliefs after a block.
_REDRAWS = 20

Values = Mapping[str, Tensor]


class ProgramPartner:
    """An agent of a game of Pyro programs, with its beliefs and signs."""

    def __init__(self, game: NamingGame, agent: str, beliefs: Sequence[Values], signs: Sequence[int]) -> None:
        """beliefs: those of all agents of the game, (1, ...) by site."""
        self.game, self.m = game, list(game.players).index(agent)
        self.beliefs = tuple(dict(values) for values in beliefs)
        self.signs = tuple(int(sign) for sign in signs)
        self.belief = belief_of(game, self.m, self._state(self.signs, self.beliefs[self.m]))

    def redraw(self, seed: int, name: str, signs: Sequence[int], belief: Belief) -> Belief:
        """Redraw the beliefs of the program given its signs."""
        state = self._state(signs, belief.inner)
        with seeded_global_rng(stream(seed, name)):
            self.game.setup(0)  # new kernels, without the state of other sessions
            for _ in range(_REDRAWS):
                state = self.game.redraw(state, self.m, False)
        return belief_of(self.game, self.m, state)

    def _state(self, signs: Sequence[int], beliefs: Values) -> GameState:
        all_beliefs = (*self.beliefs[: self.m], dict(beliefs), *self.beliefs[self.m + 1 :])
        return GameState(torch.tensor(list(signs)).expand(1, len(self.game.sign_keys), -1), all_beliefs)


def belief_of(game: NamingGame, m: int, state: GameState) -> Belief:
    """The table of agent m in a state of one chain."""
    density = game.table(m, state, game.held_signs(state, m), game.steps[0])
    prior, likelihood = (finite(part[0].double()) for part in torch.broadcast_tensors(*density))
    return Belief(prior.tolist(), likelihood.tolist(), state.beliefs[m])


def program_partner(folder: Path, state: dict[str, Any], *, trust_plugins: bool) -> ProgramPartner:
    """The partner in the folder of a study. Raises UsageError unless its code may run."""
    file = folder / PROGRAM
    if not trust_plugins:
        raise UsageError(f"the partner is the Pyro program {file}; pass --trust-plugins to run it")
    if not file.is_file() or file.read_text(encoding="utf-8") != state["code"]:
        raise UsageError(f"{file} is not the program of this study")
    game = load_game(f"{file}:{state['name']}")
    size(game, str(file))
    return ProgramPartner(game, state["agent"], state["beliefs"], state["signs"])


def size(game: NamingGame, text: str) -> tuple[int, int]:
    """Objects and signs of a game. Raises UsageError unless every object has one sign of its own."""
    step = game.steps[0]
    if game.continuous or len(game.steps) != 1 or step.plate is None or step.coordinates.shape[1] != 1:
        raise UsageError(f"{text}: a study requires one discrete sign for each object, turns.each(plate)")
    return len(step.coordinates), len(step.values)
