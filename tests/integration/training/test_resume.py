"""`--resume` in every mode and variant: a run that was stopped twice ends with the bytes of one that never was.

The table is made from the registries and the settings themselves: a new mode, mixture or network is in it without
anybody thinking of it, and a new setting fails `test_no_setting_is_forgotten` until there is a value for it here, or a
reason why it needs none. Each case is stopped after its first round, goes on, is stopped again in the midst of
learning, where anything is learned, and goes on to the end.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.graph_spec import GRAPHS
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.settings.schema import SETTINGS, flag
from mhng.experiment.training import loop
from mhng.experiment.training.compatibility import check_parts
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume, train
from mhng.inference import MODES, RECURSIONS, RULES
from mhng.models.registry import FAMILIES, WEIGHTS
from tests.runs import all_outputs

BASE = [
    "--dataset", "digits", "--limit", "24", "--signs", "3", "--latent-dim", "2", "--epochs", "1", "--rounds", "2",
    "--sweeps", "3", "--burn-in", "1", "--round-sweeps", "2", "--start", "prior", "--starts", "2", "--device", "cpu",
    "--chains", "1", "--round-epochs", "1", "--batch-size", "16", "--checkpoint-minutes", "1e-9",
]  # fmt: skip
VECTORS = ["--dataset", "synthetic", "--dimension", "3", "--likelihood", "identity"]
SENTENCES = ["--words", "2", "--vocabulary", "2", "--signs", "4"]
# What stands for the file of counts that is made for these tests
COUNTS_FILE = "COUNTS.npz"
COUNTS = ["--dataset", "npz", "--data", COUNTS_FILE]

# What stands for a file of edges that leave two of four agents alone
LONELY = "LONELY.txt"

# The registries of settings that take a number too, and what is put in the place of its letter.
OPEN = {"weights": WEIGHTS, "acceptance": RULES, "meet": GRAPHS, "recursion": RECURSIONS}
NUMBERS = {"T": "2", "P": "0.5", "B": "1", "ALPHA": "1.5"}

# Values of settings that no registry lists: others than the usual ones.
SAMPLES: dict[str, list[str]] = {
    "signs": ["5"], "words": ["2"], "vocabulary": ["2"], "meet_later": ["1=ring", "2=complete"],
    "synchronous": [""], "starts": ["1"],
    "split_merge": ["2"], "sweeps": ["1"], "burn_in": ["0"], "chains": ["2"], "thin": ["2"], "reduce": ["2"],
    "views": ["0,noise:0.2", "0,30+occlude:0.4", "0&90,45"], "missing": ["0.4"], "classes": ["3"],
    "ambiguity": ["0"], "dimension": ["1"], "agents": ["3"], "noise": ["0.5"], "prior": ["W=2,beta=0.1"],
    "latent_dim": ["1"], "rounds": ["3"], "epochs": ["2", "0"], "round_epochs": ["2", "0"], "round_sweeps": ["1"],
    "agent": ["B: --network conv --latent-dim 3 --mixture tied --acceptance binary --lr 1e-2 --jitter 0"],
    "jitter": ["0"], "batch_size": ["7"], "lr": ["1e-2"], "seed": ["5"], "checkpoint_minutes": ["0"],
}  # fmt: skip

# Settings that are not varied here, and why.
ELSEWHERE = {
    "hold_out": "as data sets are",
    "dataset": "objects are read again and held to the checksum of the run", "limit": "as data sets are",
    "data": "as data sets are: test_custom.py",
    "label_column": "as data sets are", "header": "as data sets are", "image_size": "as data sets are",
    "channels": "as data sets are", "data_root": "as data sets are", "download": "as data sets are",
    "device": "a GPU does not promise the last bit: test_gpu.py",
    "cuda_graphs": "a GPU does not promise the last bit: test_gpu.py",
    "engine": "agents in processes of their own: test_ray_agents.py", "address": "test_ray_agents.py",
    "threads": "the run keeps those of its start: test_states.py",
    "tensorboard": "only looks on: test_tensorboard.py",
    "program": "a game of programs does not resume: test_play_program.py",
    "run_dir": "the folder itself", "overwrite": "before a run begins",
}  # fmt: skip

# What a setting, or one value of it, needs beside it.
BESIDE: dict[str | tuple[str, str], list[str]] = {
    "meet": ["--agents", "3"],
    ("meet", "bridges:1"): ["--agents", "4"],
    ("meet", "small-world:0.5"): ["--agents", "6"],
    "meet_later": ["--agents", "4", "--meet", "star"],
    "synchronous": ["--agents", "4", "--meet", "ring"],
    "recursion": ["--agents", "3"],
    "newcomers": ["--agents", "4", "--meet", LONELY, "--meet-later", "1=star"],
    "inner_start": ["--agents", "3", "--recursion", "ll:2"],
    "words": ["--vocabulary", "2", "--signs", "4"], "vocabulary": ["--words", "2", "--signs", "4"],
    "meaning": SENTENCES, "grammar": SENTENCES, "turns": SENTENCES,
    "split_merge": ["--listener-state", "shared", "--signs", "5"],
    "fusion": ["--views", "0&90,45", "--missing", "0.3"],
    "missing": ["--views", "0&90,45"],
    "noise": ["--likelihood", "gaussian-fixed"],
    "sweeps": ["--burn-in", "0"],
    "reduce": VECTORS, "standardise": VECTORS, "classes": VECTORS, "ambiguity": VECTORS, "dimension": VECTORS,
    "views": ["--dataset", "digits"],  # they move or change pixels
    ("start", "slots"): SENTENCES,
    ("likelihood", "identity"): VECTORS,
    ("likelihood", "multinomial"): COUNTS,
    ("mixture", "dirichlet"): [*COUNTS, "--likelihood", "identity"],
}  # fmt: skip


def values(field: str) -> list[str]:
    """All values of a setting that are tried."""
    if field in OPEN:
        return [re.sub(r"(?<=:)[A-Z]+$", lambda letter: NUMBERS[letter.group()], name) for name in OPEN[field]]
    choices = SETTINGS[field].choices
    return SAMPLES[field] if choices is None else list(choices)


def words(field: str, value: str) -> list[str]:
    beside = BESIDE.get((field, value), BESIDE.get(field, []))
    return [*beside, flag(field) if SETTINGS[field].type is bool else f"{flag(field)}={value}"]


Choice = tuple[str, str]
EVERY: list[Choice] = [
    (field, value)
    for field in SETTINGS
    if field not in ELSEWHERE and (field in OPEN or field in SAMPLES or SETTINGS[field].choices)
    for value in values(field)
]
# Images first, of which something is learned
EVERY.sort(key=lambda choice: BESIDE.get(choice, BESIDE.get(choice[0])) is VECTORS)


def together(choices: list[Choice]) -> list[str] | None:
    """The flags of several choices, or None if they do not go together."""
    beside, own = {}, {}
    for field, value in choices:
        given = read_settings(words(field, value))
        own[field] = given.pop(field)
        for name, needed in given.items():
            if beside.setdefault(name, needed) != needed:
                return None
    if any(own.get(name, needed) != needed for name, needed in beside.items()):
        return None
    flags = [word for choice in choices for word in words(*choice)]
    try:
        check_parts(resolve(read_settings([*BASE, *flags])))
    except UsageError:
        return None
    return flags


def cover(fixed: list[Choice], wanted: list[Choice]) -> tuple[list[list[Choice]], list[Choice]]:
    """Few runs in which every wanted value stands beside the fixed ones at least once, and the values that cannot."""
    rows, left = [], [choice for choice in wanted if choice not in fixed]
    while True:
        row = list(fixed)
        for choice in list(left):
            if choice[0] not in {field for field, _ in row} and together([*row, choice]) is not None:
                row.append(choice)
                left.remove(choice)
        if row == fixed:
            return rows, left
        rows.append(row)


def told(row: list[Choice]) -> str:
    return " ".join(f"{field}={value}" for field, value in row)


# All values in as few runs as the settings allow, but for networks that take seconds for what others do at once
LARGE = [("network", "conv-large"), ("network", "resnet")]
ROWS, LEFT = cover([], [choice for choice in EVERY if choice not in LARGE])


def test_no_setting_is_forgotten() -> None:
    tried = {field for field, _ in EVERY}
    assert tried | ELSEWHERE.keys() == SETTINGS.keys() and not tried & ELSEWHERE.keys()
    assert LEFT == [] and {choice for row in ROWS for choice in row} == set(EVERY) - set(LARGE)
    for family, variants in FAMILIES.items():
        assert {value for field, value in EVERY if field == family} == variants.keys()
    assert {value for field, value in EVERY if field == "mode"} == set(MODES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the files that settings name."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(6, 0.3), 3)
    np.savez(folder / COUNTS_FILE, features=np.stack([rng.multinomial(50, topics[n % 3]) for n in range(30)]))
    (folder / LONELY).write_text("A B\n")
    return folder


class Stop:
    """Ends a run as Ctrl-C does, in the place of `TrainingLoop._save_round` or `TrainingLoop.epoch`."""

    def __init__(self, method: str, round: int) -> None:
        self.method, self.round, self.stopped = method, round, False
        self.whole = getattr(loop.TrainingLoop, method)

    def __get__(self, run: Any, kind: Any = None) -> Any:
        def called(*arguments: Any) -> None:
            self.whole(run, *arguments)
            round = arguments[0] if self.method == "epoch" else arguments[0].round
            if round == self.round and not self.stopped:
                self.stopped = True
                if self.method == "epoch":
                    signal.raise_signal(signal.SIGINT)  # the run saves the epoch first
                else:
                    raise KeyboardInterrupt

        return called


def stopped(folder: Path, method: str, round: int, begin: Any) -> bool:
    """Whether there was anything to stop."""
    with pytest.MonkeyPatch.context() as patched:
        stop = Stop(method, round)
        patched.setattr(loop.TrainingLoop, method, stop)
        try:
            begin()
        except KeyboardInterrupt:
            assert stop.stopped and run_folder.RunFolder(folder).status == "interrupted"
            return True
    assert not stop.stopped
    return False


def goes_on(given: list[str], folder: Path, files: Path) -> None:
    given = [str(files / word) if word in (COUNTS_FILE, LONELY) else word for word in given]
    config = resolve(read_settings([*BASE, *given, "--run-dir", str(folder / "whole")]))
    train(config, printer=Silent())
    broken = folder / "broken"
    begin = resolve(read_settings([*BASE, *given, "--run-dir", str(broken)]))
    assert stopped(broken, "_save_round", 0, lambda: train(begin, printer=Silent()))
    assert torch.load(broken / run_folder.CHECKPOINT, weights_only=True)["done"] == 1
    learns = (
        config.round_epochs > 0
        and '"kind": "epoch", "round": 1' in (folder / "whole" / run_folder.METRICS).read_text()
    )
    if stopped(broken, "epoch", 1, lambda: resume(broken, printer=Silent())):
        assert learns and (broken / run_folder.EPOCHS).exists() == (config.checkpoint_minutes > 0)
        resume(broken, printer=Silent())
    else:
        assert not learns
    assert all_outputs(broken) == all_outputs(folder / "whole")


@pytest.mark.parametrize("row", ROWS, ids=told)
def test_a_run_stopped_twice_ends_as_one_that_never_was(row: list[Choice], tmp_path: Path, files: Path) -> None:
    flags = together(row)
    assert flags is not None
    goes_on(flags, tmp_path, files)


@pytest.mark.slow
@pytest.mark.parametrize("choice", EVERY, ids="=".join)
def test_each_value_alone(choice: Choice, tmp_path: Path, files: Path) -> None:
    goes_on(words(*choice), tmp_path, files)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fixed", [choice for choice in EVERY if choice[0] in ("mode", "listener_state")], ids="=".join
)
def test_every_value_in_every_mode_and_state(fixed: Choice, tmp_path: Path, files: Path) -> None:
    """All that a mode or a state goes together with, in few runs."""
    rows, left = cover([fixed], [choice for choice in EVERY if choice not in LARGE])
    assert rows
    for number, row in enumerate(rows):
        flags = together(row)
        assert flags is not None
        goes_on(flags, tmp_path / str(number), files)
    print(f"\n{'='.join(fixed)}: {len(rows)} runs; not beside {told(left)}")
