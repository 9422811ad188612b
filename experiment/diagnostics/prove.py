"""The command `prove FILE.py:NAME`: check that a game of Pyro programs has its law."""

from __future__ import annotations

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.training.game_file import errors_of, load_game, twin_of
from mhng.experiment.util.paths import typed_path
from mhng.models.torch_defaults import torch_defaults


@torch_defaults()
def prove(name: str, *, chains: int | None = None, sweeps: int | None = None, seed: int = 0) -> bool:
    """Prove the game, or its twin if it is large, and print the verdict; returns whether it has its law.

    chains, sweeps: as for `mhng.prove`; None: its defaults. Raises UsageError for bad input, RunError for a game that
    cannot be proved.
    """
    from mhng.inference.programs.prove import LEAST_CHAINS, NotProvableError, is_small
    from mhng.inference.programs.prove import prove as prove_game

    given = {"chains": chains, "sweeps": sweeps}
    for option, least in (("chains", LEAST_CHAINS), ("sweeps", 1)):
        if (value := given[option]) is not None and value < least:
            raise UsageError(f"--{option} is {value}; expected {least} or more")
    game = load_game(name)
    if not is_small(game) and (twin := twin_of(name)):
        print(f"{name} has more than 10^6 assignments of signs; this is the proof of {twin}")
        game = load_game(twin)
    with errors_of(typed_path(name.rpartition(":")[0], "the file"), RunError):
        try:
            proof = prove_game(game, **{option: value for option, value in given.items() if value}, seed=seed)
        except NotProvableError as error:
            raise RunError(f"not provable: {error}") from error
    print(proof)
    return proof.passed
