"""The Metropolis-Hastings naming game between deep generative agents, in Pyro.

Public interface:

    train           train one run, with the settings of the command line by keyword
    load_run        read a run folder
    UsageError      a bad setting, file or argument, in one line
    RunError        a run that failed
    Game            rules of the game
    init, play      start a game; play sweeps of it
    Percepts        an agent whose observations are fixed latents
    Belief          what an agent knows of the signs; a custom agent returns it
    NormalWishart   conjugate mixture: a full covariance for each sign
    NamingGame      the game between Pyro programs, as a kernel of pyro.infer.MCMC
    ProgramPlayer   a Pyro program as an agent of it
    turns           which signs a speaker proposes at once
    prove           check that a NamingGame has its law
    behaviour       statistics of naming games with people

Names are imported on first use, so `import mhng` stays quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mhng.experiment.api import load_run, train
    from mhng.experiment.errors import RunError, UsageError
    from mhng.experiment.people import behaviour
    from mhng.inference.game import Game, init, play
    from mhng.inference.programs import turns
    from mhng.inference.programs.naming_game import NamingGame
    from mhng.inference.programs.player import ProgramPlayer
    from mhng.inference.programs.prove import prove
    from mhng.models.belief import Belief
    from mhng.models.mixtures.normal_wishart import NormalWishart
    from mhng.models.percepts import Percepts

__version__ = "0.1.0"

_PLACES = {
    "load_run": "mhng.experiment.api",
    "train": "mhng.experiment.api",
    "RunError": "mhng.experiment.errors",
    "UsageError": "mhng.experiment.errors",
    "Game": "mhng.inference.game",
    "init": "mhng.inference.game",
    "play": "mhng.inference.game",
    "Belief": "mhng.models.belief",
    "NamingGame": "mhng.inference.programs.naming_game",
    "ProgramPlayer": "mhng.inference.programs.player",
    "prove": "mhng.inference.programs.prove",
    "Percepts": "mhng.models.percepts",
    "NormalWishart": "mhng.models.mixtures.normal_wishart",
}
_MODULES = {"behaviour": "mhng.experiment.people.behaviour", "turns": "mhng.inference.programs.turns"}
__all__ = [
    "Belief",
    "Game",
    "NamingGame",
    "NormalWishart",
    "Percepts",
    "ProgramPlayer",
    "RunError",
    "UsageError",
    "__version__",
    "behaviour",
    "init",
    "load_run",
    "play",
    "prove",
    "train",
    "turns",
]

# A checkout keeps models/, inference/ and experiment/ beside this folder. A plain installation has them inside it.
_HERE = Path(__file__).resolve().parent
if not (_HERE / "models").is_dir():
    __path__.append(str(_HERE.parent))


NO_DOCSTRINGS = "python -OO and PYTHONOPTIMIZE=2 remove docstrings, which Pyro needs; run python without them"


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _PLACES:
        if sys.flags.optimize > 1:
            raise ImportError(NO_DOCSTRINGS)
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
