"""Agents that learn, and chains that make starts, side by side in forked processes: the same bits, signals, errors."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from mhng.experiment.errors import Interrupted, RunError
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.training import threads
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume, train
from mhng.inference import initialization, side_by_side
from mhng.inference.copies import CopyLostError, call_side_by_side, can_fork
from mhng.inference.svi import Learner, NotFiniteError
from tests.runs import all_outputs

FLAGS = [
    "--dataset", "digits", "--limit", "40", "--signs", "3", "--latent-dim", "2", "--epochs", "4", "--chains", "1",
    "--round-epochs", "2", "--rounds", "1", "--sweeps", "3", "--round-sweeps", "2", "--burn-in", "1", "--starts", "1",
    "--device", "cpu",
]  # fmt: skip
THREE = ["--agents", "3"]
pytestmark = pytest.mark.skipif(not can_fork(), reason="forked copies need Linux without a GPU")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "thread_limit", lambda text: 1 if text == "auto" else int(text))
    monkeypatch.setattr(side_by_side, "LEAST_SECONDS", 0.0)
    yield
    assert multiprocessing.active_children() == []


def begun(folder: Path, *words: str, callback: Callable[[dict[str, Any]], object] = lambda row: None) -> Path:
    config = resolve(read_settings([*FLAGS, *words, "--run-dir", str(folder)]))
    train(config, printer=Silent(), callbacks=[callback])
    return folder


def outputs(folder: Path) -> tuple[Any, ...]:
    """All outputs, with rows of metrics in any order, without the number of threads in config.toml."""
    summary, signs, metrics, _, *others = all_outputs(folder)
    return summary, signs, sorted(metrics.splitlines()), *others


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    return outputs(begun(tmp_path_factory.mktemp("in_turn") / "run", "--threads", "1"))


@pytest.mark.parametrize("words", [[], THREE, ["--guide", "full", "--mixture", "tied", "--weights", "dirichlet:1"]])
def test_the_results_are_those_of_learning_in_turn(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = all_outputs(begun(tmp_path / "in_turn", *words, "--threads", "1"))
    here, epoch = [], Learner._epoch
    monkeypatch.setattr(Learner, "_epoch", lambda self, number: here.append(number) or epoch(self, number))
    folder = begun(tmp_path / "side_by_side", *words, "--threads", "2")
    found = all_outputs(folder)
    assert here == []  # none in this process
    assert [part for number, part in enumerate(found) if number != 3] == [
        part for number, part in enumerate(whole) if number != 3
    ]  # all but the number of threads in config.toml
    assert json.loads((folder / "manifest.json").read_text())["threads"] == {"learning": 1, "game": 2, "processes": 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_epochs_of_all_agents(
    number: signal.Signals, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    def callback(row: dict[str, Any]) -> None:
        if (row["kind"], row["round"], row.get("epoch")) == ("epoch", 0, 2):
            os.kill(os.getpid(), number)

    folder = tmp_path / "run"
    with pytest.raises(Interrupted, match=number.name):
        begun(folder, "--threads", "2", callback=callback)
    state = RunFolder(folder).load_epochs()
    assert state is not None and state["learned"]["A"] >= 2 and state["learned"]["B"] >= 1
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for agent, learned in state["learned"].items():
        assert {row["epoch"] for row in rows if row["agent"] == agent} >= set(range(1, learned + 1))
    resume(folder, printer=Silent())
    assert outputs(folder) == expected


def test_an_exception_of_a_callback_saves_the_epochs_of_all_agents(expected: tuple[Any, ...], tmp_path: Path) -> None:
    seen = []

    def callback(row: dict[str, Any]) -> None:
        seen.append(row)
        if len(seen) == 2:
            raise ZeroDivisionError

    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError):
        begun(folder, "--threads", "2", callback=callback)
    state = RunFolder(folder).load_epochs()
    assert state is not None and state["learned"]["A"] >= 2 and len(seen) == 2
    resume(folder, printer=Silent())
    assert outputs(folder) == expected


def test_checkpoints_are_saved_between_epochs(
    expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], RunFolder.save_epochs
    monkeypatch.setattr(
        RunFolder, "save_epochs", lambda self, state: saved.append(state["learned"]) or save(self, state)
    )
    assert outputs(begun(tmp_path / "run", "--threads", "2", "--checkpoint-minutes", "1e-9")) == expected
    assert saved[0].keys() == {"A", "B"} and saved[-1] == {"A": 2, "B": 2}


def test_an_error_of_a_learner_names_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = Learner._epoch

    def broken(self: Learner, number: int) -> Any:
        if number == 2:
            raise NotFiniteError("the loss was not finite in epoch 2, batch 1")
        return epoch(self, number)

    monkeypatch.setattr(Learner, "_epoch", broken)
    with pytest.raises(RunError, match=r"^round 0, agent [AB]: the loss was not finite in epoch 2.* --lr"):
        begun(tmp_path / "run", "--threads", "2")


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x")])
def test_other_errors_are_raised_here(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Learner, number: int) -> Any:
        raise error

    monkeypatch.setattr(Learner, "_epoch", broken)
    expected = RunError if isinstance(error, MemoryError) else KeyError
    with pytest.raises(expected):
        begun(tmp_path / "run", "--threads", "2")


def test_a_killed_learner_ends_the_run_with_a_line(tmp_path: Path) -> None:
    def callback(row: dict[str, Any]) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with pytest.raises(RunError, match=r"^the process of agent [AB] has ended \(exit code -9\); is there"):
        begun(tmp_path / "run", "--threads", "2", "--epochs", "400", callback=callback)


def test_small_data_are_learned_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "LEAST_SECONDS", 100.0)
    here, epoch = [], Learner._epoch
    monkeypatch.setattr(Learner, "_epoch", lambda self, number: here.append(number) or epoch(self, number))
    begun(tmp_path / "run", "--threads", "2")
    assert here == [1, 2, 3, 4] * 2 + [1, 2] * 2


STARTS = ["--chains", "5", "--starts", "2", "--epochs", "1", "--rounds", "0"]


@pytest.fixture
def large_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "_LARGE", 1)


@pytest.mark.usefixtures("large_starts")
@pytest.mark.parametrize("mode", ["com", "no-com", "gibbs"])
def test_starts_side_by_side_are_those_made_in_turn(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, make = [], initialization._best_starts
    monkeypatch.setattr(initialization, "_best_starts", lambda *words: here.append(1) or make(*words))
    whole = outputs(begun(tmp_path / "in_turn", *STARTS, "--mode", mode, "--threads", "1"))
    assert len(here) == (6 if mode == "no-com" else 3)
    assert outputs(begun(tmp_path / "side_by_side", *STARTS, "--mode", mode, "--threads", "2")) == whole
    assert len(here) == (6 if mode == "no-com" else 3)  # no more in this process


@pytest.mark.usefixtures("large_starts")
def test_a_killed_process_of_the_starts_ends_the_run_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialization, "_best_starts", lambda *words: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(RunError, match=r"^the process of the starts has ended \(exit code -9\); is there"):
        begun(tmp_path / "run", *STARTS, "--threads", "2")


@pytest.mark.usefixtures("large_starts")
def test_a_signal_ends_the_starts_and_keeps_what_was_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, make = os.getpid(), initialization._best_starts

    def stopped(*words: Any) -> Any:
        os.kill(parent, signal.SIGTERM)
        signal.pause()

    whole = outputs(begun(tmp_path / "whole", *STARTS, "--threads", "2"))
    monkeypatch.setattr(initialization, "_best_starts", stopped)
    with pytest.raises(Interrupted, match="SIGTERM"):
        begun(tmp_path / "run", *STARTS, "--threads", "2")
    monkeypatch.setattr(initialization, "_best_starts", make)
    resume(tmp_path / "run", printer=Silent())
    assert outputs(tmp_path / "run") == whole


class OwnArgumentsError(Exception):
    """Pickle cannot make it again."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(a + b)


def fail(error: BaseException) -> None:
    raise error


def test_calls_side_by_side_return_in_order_and_raise_their_errors() -> None:
    def call(number: int) -> tuple[int, torch.Tensor]:
        return os.getpid(), torch.full((2,), number)

    results = call_side_by_side([partial(call, number) for number in range(5)], 2, 1, "a test")
    assert [value.tolist() for _, value in results] == [[number] * 2 for number in range(5)]
    assert len({process for process, _ in results}) == 5
    with pytest.raises(ZeroDivisionError) as error:
        call_side_by_side([lambda: 1 // 0], 2, 1, "a test")
    assert "lambda: 1 // 0" in error.value.__notes__[0]  # the traceback in the copy
    with pytest.raises(RuntimeError, match="OwnArgumentsError: 3"):
        call_side_by_side([partial(fail, OwnArgumentsError(1, 2))], 2, 1, "a test")
    with pytest.raises(BrokenPipeError, match="of its own"):
        call_side_by_side([partial(fail, BrokenPipeError("of its own"))], 2, 1, "a test")
    with pytest.raises(CopyLostError, match=r"^the process of a test has ended \(exit code 7\)"):
        call_side_by_side([partial(os._exit, 7)], 2, 1, "a test")
