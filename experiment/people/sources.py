"""The sides of a study with `--run`: a run folder, or a game of Pyro programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mhng.experiment.errors import UsageError
from mhng.experiment.people.person import PersonSide
from mhng.experiment.people.program_partner import belief_of, size
from mhng.experiment.people.sides import Sides, agents_of, read_pictures, sides_of_run
from mhng.experiment.training.game_file import errors_of, is_game_name, load_game
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.paths import typed_path
from mhng.models.rng import seeded_global_rng, stream

# Sweeps of a game of Pyro programs before a study.
_SWEEPS = 200


def sides_of_agents(
    typed: str,
    agent: str | None,
    objects: int | None,
    seed: int,
    pictures: Path | None,
    data_root: Path | None,
    trust_plugins: bool,
) -> tuple[Sides, int, int]:
    """The sides, and the numbers of objects and signs. Raises UsageError."""
    program = typed if is_game_name(typed) else None
    if program is None:
        run = SavedRun(typed_path(typed, "--run"), data_root=data_root, trust_plugins=trust_plugins)
        if run.config.program is None:
            sides, K = sides_of_run(run, agent, objects or 10, seed, pictures)
            return sides, objects or 10, K
        program = run.config.program
        if not trust_plugins:
            raise UsageError(f"{typed} is a run of the Pyro program {program}; pass --trust-plugins to run it")
    sides, N, K = sides_of_program(program, agent, seed, pictures)
    if objects not in (None, N):
        raise UsageError(f"--objects is {objects}; the game {program} has {N}")
    return sides, N, K


def sides_of_program(text: str, agent: str | None, seed: int, pictures: Path | None) -> tuple[Sides, int, int]:
    """The sides of the objects of a game, and the numbers of its objects and signs. Raises UsageError."""
    if pictures is None:
        raise UsageError(f"--run {text} requires --pictures DIR, a picture of each object of the game")
    game = load_game(text)
    N, K = size(game, text)
    partner, person = agents_of(tuple(game.players), agent)
    places = list(game.players)
    shown = read_pictures(pictures, N)
    file = typed_path(text.rpartition(":")[0], "--run")
    with errors_of(file), seeded_global_rng(stream(seed, "study/program")):
        game.setup(0)
        state = game.start(1)
        for _ in range(_SWEEPS):
            state = game.sweep(state)
    m = places.index(partner)
    other = belief_of(game, places.index(person), state)
    known = PersonSide(None, np.array(other.log_prior), np.array(other.table))
    saved = {
        "kind": "program",
        "code": file.read_text(encoding="utf-8"),
        "name": text.rpartition(":")[2],
        "agent": partner,
        "beliefs": [{name: value.clone() for name, value in values.items()} for values in state.beliefs],
        "signs": game.held_signs(state, m)[0].tolist(),
    }
    return Sides(shown, (), known, saved, f"{file.name}:{saved['name']}, partner {partner}"), N, K
