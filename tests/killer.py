"""Runs `train` in processes of its own and kills them with SIGKILL at random moments, until the run is done.

    python -m tests.killer FOLDER KILLS SEED ARGUMENTS OF TRAIN...

Everything is imported once, and each attempt is a fork of that: a hundred deaths take minutes and not an hour. Prints
a line of JSON: how many processes were killed, how many runs were ended, and what the folders held after each death.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from mhng import cli
from mhng.experiment.comparison.plan import next_action
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.posterior import import_arviz
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.training import loop


def command(folder: Path, words: list[str]) -> list[str] | None:
    """What a user, or `compare`, would do next; None if the run is done."""
    then = next_action(folder, resolve(read_settings(words)), overwrite=True)
    fresh = ["train", *words, "--run-dir", str(folder)]
    return {
        "train": fresh,
        "overwrite": [*fresh, "--overwrite"],
        "resume": ["train", "--resume", str(folder)],
        "skip": None,
    }[then]


def started(arguments: list[str]) -> int:
    """The process number of a child that runs the command."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        code = cli.main(arguments)
    finally:
        os._exit(code)


def progress(folder: Path) -> tuple[int, int]:
    """Rounds that are done, and epochs of the one that has begun, by what can be loaded of the folder."""
    run = RunFolder(folder)
    rounds = epochs = 0
    if (folder / run_folder.CHECKPOINT).exists() or (folder / run_folder.PREVIOUS).exists():
        rounds = run.load_checkpoint()["done"]
    begun = run.load_epochs()
    if (folder / run_folder.EPOCHS).exists() and begun is None:
        raise AssertionError("a checkpoint between epochs is damaged")
    if begun is not None and begun["done"] == rounds:
        epochs = sum(begun["learned"].values())
    return rounds, epochs


def killed_until_done(folder: Path, words: list[str], moments: random.Random, length: float) -> list[dict[str, Any]]:
    """What the folder held after each death. `length`: the longest time that a process lives, at first, in seconds."""
    deaths: list[dict[str, Any]] = []
    while (arguments := command(folder, words)) is not None:
        child = started(arguments)
        end = time.monotonic() + moments.uniform(0, length)
        status = None
        while time.monotonic() < end and status is None:
            time.sleep(0.002)
            ended, code = os.waitpid(child, os.WNOHANG)
            status = code if ended else None
        if status is None:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            # On a machine that has become busier a process may need longer than that to begin where the last one was.
            length *= 1.3
            known = (folder / run_folder.MANIFEST).exists()
            deaths.append(
                {
                    "progress": progress(folder) if known else (0, 0),
                    "status": RunFolder(folder).status if known else None,
                }
            )
        else:
            assert os.waitstatus_to_exitcode(status) == 0, os.waitstatus_to_exitcode(status)
    return deaths


def main() -> None:
    place, kills, seed, *words = sys.argv[1:]
    moments = random.Random(int(seed))
    import_arviz()
    # Pictures come when all is saved, and take longer than such a run.
    loop.TrainingLoop._draw = lambda self: None  # type: ignore[method-assign]
    begun = time.monotonic()
    child = started(["train", *words, "--run-dir", f"{place}/whole"])
    assert os.waitpid(child, 0)[1] == 0
    # The longest time a process may live: less than the whole, so that most runs take several.
    length = 0.7 * (time.monotonic() - begun)
    runs: list[list[dict[str, Any]]] = []
    while sum(map(len, runs)) < int(kills):
        runs.append(killed_until_done(Path(f"{place}/killed-{len(runs)}"), words, moments, length))
    print(json.dumps({"kills": sum(map(len, runs)), "runs": runs}))


if __name__ == "__main__":
    main()
