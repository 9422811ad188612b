"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 during a run: what was learned is saved, and a resumed run loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mhng import cli
from mhng.experiment.errors import Interrupted
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.training import loop
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume, train
from mhng.experiment.util.process import defer_interrupt, ignore_interrupt, on_stop_signals
from mhng.inference import rounds as inference_rounds
from mhng.inference.svi import Learner
from tests.runs import all_outputs

FLAGS = [
    "--dataset", "digits", "--limit", "40", "--signs", "3", "--latent-dim", "2", "--epochs", "4",
    "--round-epochs", "2", "--rounds", "2", "--sweeps", "6", "--round-sweeps", "2", "--burn-in", "1", "--starts", "1",
    "--chains", "2", "--weights", "dirichlet:1", "--device", "cpu", "--likelihood", "bernoulli", "--batch-size", "40",
]  # fmt: skip
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
Row = dict[str, Any]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def begun(folder: Path, *words: str, callback: Callable[[Row], object] = lambda row: None) -> None:
    config = resolve(read_settings([*FLAGS, *words, "--run-dir", str(folder)]))
    train(config, printer=Silent(), callbacks=[callback])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    folder = tmp_path_factory.mktemp("signals") / "whole"
    begun(folder)
    return all_outputs(folder)


def at(round: int, agent: str, epoch: int, *numbers: int) -> Callable[[Row], None]:
    """Send signals while an epoch is recorded."""

    def callback(row: Row) -> None:
        if (row["kind"], row["round"], row.get("agent"), row.get("epoch")) == ("epoch", round, agent, epoch):
            for number in numbers:
                send(number)

    return callback


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


def saved(folder: Path) -> tuple[int, dict[str, int]]:
    state = RunFolder(folder).load_epochs()
    assert state is not None
    return state["done"], state["learned"]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_the_epoch_of_a_signal_is_saved_and_the_run_goes_on_bit_for_bit(
    number: signal.Signals, expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before = tmp_path / "run", handlers()
    with pytest.raises(Interrupted, match=number.name) as caught:
        begun(folder, callback=at(1, "A", 1, number))
    assert (caught.value.number, caught.value.resume) == (number, str(folder)) and handlers() == before
    assert RunFolder(folder).status == "interrupted" and RunFolder(folder).read_manifest()["error"] == number.name
    assert saved(folder) == (1, {"A": 1})
    learned, whole = [], Learner._epoch
    monkeypatch.setattr(Learner, "_epoch", lambda self, epoch: learned.append(epoch) or whole(self, epoch))
    resume(folder, printer=Silent())
    assert learned == [2, 1, 2, 1, 2, 1, 2] and all_outputs(folder) == expected


def test_a_signal_inside_an_epoch_waits_for_its_end(
    expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, steps, step = tmp_path / "run", [], Learner._step

    def struck(self: Learner, index: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 3:
            send(signal.SIGTERM)
        return step(self, index)

    monkeypatch.setattr(Learner, "_step", struck)
    assert cli.main(["train", *FLAGS, "--run-dir", str(folder)]) == 143
    monkeypatch.undo()
    err = capsys.readouterr().err
    assert err == (
        "SIGTERM: the run stops when this epoch or round is saved; a second one ends it at once\n"
        f"mhng train: interrupted by SIGTERM; continue: mhng train --resume {folder}\n"
    )
    assert saved(folder) == (0, {"A": 3})
    assert cli.main(["train", "--resume", str(folder)]) == 0
    assert capsys.readouterr().err.startswith("resuming at round 0, epoch 4 of 4 (agent A)\n")
    assert all_outputs(folder) == expected


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_signal_in_a_game_ends_it_at_once_and_saves_what_was_learned(
    number: int, expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the game has drawn from the agents' random streams and set their sign priors."""
    folder, games, play = tmp_path / "run", [], inference_rounds.play

    def struck(*given: Any, **named: Any) -> Any:
        games.append(1)
        played = play(*given, **named)
        if len(games) == number + 1:
            send(signal.SIGUSR1)
            pytest.fail("the game went on")
        return played

    monkeypatch.setattr(inference_rounds, "play", struck)
    with pytest.raises(Interrupted):
        begun(folder)
    monkeypatch.undo()
    epochs = 2 if number else 4
    assert saved(folder) == (number, {"A": epochs, "B": epochs})
    epoch = Learner._epoch
    learned: list[int] = []
    monkeypatch.setattr(Learner, "_epoch", lambda self, number: learned.append(number) or epoch(self, number))
    resume(folder, printer=Silent())
    assert len(learned) == 4 * (2 - number) and all_outputs(folder) == expected


def test_a_second_signal_ends_the_run_at_once(
    expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = at(0, "B", 2, signal.SIGINT, signal.SIGINT)
    with pytest.raises(Interrupted):  # within a second: a terminal that tells every process
        begun(tmp_path / "one", callback=twice)
    assert saved(tmp_path / "one") == (0, {"A": 4, "B": 2})
    monkeypatch.setattr(loop, "SAME_STOP_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        begun(tmp_path / "two", callback=twice)
    assert not (tmp_path / "two" / run_folder.EPOCHS).exists() and RunFolder(tmp_path / "two").status == "interrupted"
    resume(tmp_path / "two", printer=Silent())
    assert all_outputs(tmp_path / "two") == expected


def test_a_signal_while_a_round_is_saved_waits_for_its_end(
    expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunFolder.save_checkpoint

    def struck(self: RunFolder, state: dict[str, Any]) -> None:
        if state["done"] == 2:
            send(signal.SIGHUP)
        save(self, state)

    monkeypatch.setattr(RunFolder, "save_checkpoint", struck)
    with pytest.raises(Interrupted):
        begun(tmp_path / "run")
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").load_checkpoint()["done"] == 2
    resume(tmp_path / "run", printer=Silent())
    assert all_outputs(tmp_path / "run") == expected


def test_nothing_is_saved_between_epochs_if_nothing_shall_be(tmp_path: Path) -> None:
    for folder, callback in (("a", at(1, "A", 1, signal.SIGTERM)), ("b", at(1, "B", 2, signal.SIGTERM))):
        with pytest.raises(Interrupted):
            begun(tmp_path / folder, "--checkpoint-minutes", "0", callback=callback)
        assert not (tmp_path / folder / run_folder.EPOCHS).exists()
        assert RunFolder(tmp_path / folder).load_checkpoint()["done"] == 1


def test_a_full_disk_keeps_the_interrupt_and_the_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def struck(*_: Any, **__: Any) -> None:
        send(signal.SIGTERM)

    def full(self: RunFolder, state: dict[str, Any]) -> None:
        raise loop.RunError("no space")

    monkeypatch.setattr(inference_rounds, "play", struck)
    monkeypatch.setattr(RunFolder, "save_epochs", full)
    with pytest.raises(Interrupted):
        begun(tmp_path / "run")


def test_signals_that_are_ignored_or_handled_are_left_alone(tmp_path: Path) -> None:
    heard: list[int] = []
    before = handlers()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        begun(tmp_path / "run", callback=at(0, "A", 1, signal.SIGHUP, signal.SIGUSR1))
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert heard == [signal.SIGUSR1] and RunFolder(tmp_path / "run").status == "done"


def test_where_a_run_resumes_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"

    def said(callback: Callable[[Row], object]) -> str:
        record = loop.TrainingLoop._record
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                loop.TrainingLoop, "_record", lambda self, rows: (record(self, rows), [*map(callback, rows)])
            )
            with pytest.raises(Interrupted):
                resume(folder)
        return capsys.readouterr().err.splitlines()[0]

    with pytest.raises(Interrupted):
        begun(folder, callback=at(0, "A", 4, signal.SIGTERM))
    assert said(at(0, "B", 4, signal.SIGTERM)) == "resuming at round 0, epoch 1 of 4 (agent B)"

    def in_round_0(row: Row) -> None:
        if (row["kind"], row["round"], row.get("sweep")) == ("sweep", 0, 1):
            send(signal.SIGTERM)

    assert said(in_round_0) == "resuming at round 0 of 2, its game"
    assert said(at(1, "A", 1, signal.SIGTERM)) == "resuming at round 1 of 2"
    resume(folder)
    assert capsys.readouterr().err.splitlines()[0] == "resuming at round 1, epoch 2 of 2 (agent A)"
    with RunFolder.open(folder) as run:
        run.update_manifest(status="interrupted")
    resume(folder)
    assert capsys.readouterr().err.splitlines()[0] == "resuming after round 2, the last; only its pictures are missing"


def test_agents_without_networks_stop_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def struck(*_: Any, **__: Any) -> None:
        send(signal.SIGTERM)
        pytest.fail("the game went on")

    monkeypatch.setattr(inference_rounds, "play", struck)
    words = ["--dataset=synthetic", "--likelihood=identity", "--run-dir", str(tmp_path / "run")]
    with pytest.raises(Interrupted):
        train(resolve(read_settings([*FLAGS, *words])), printer=Silent())
    assert RunFolder(tmp_path / "run").status == "interrupted"


def test_play_stops_at_once_and_has_nothing_to_continue(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def struck(*_: Any, **__: Any) -> None:
        send(signal.SIGTERM)
        pytest.fail("the game went on")

    monkeypatch.setattr(inference_rounds, "play", struck)
    assert cli.main(["play", str(digits_run), "--out", str(tmp_path / "played")]) == 143
    assert capsys.readouterr().err == "mhng play: interrupted by SIGTERM\n"
    assert RunFolder(tmp_path / "played").status == "interrupted"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_signal_waits_for_a_file_that_a_library_writes(number: int) -> None:
    done = []

    def request(number: int) -> None:
        raise Interrupted(number)

    def block() -> None:
        with on_stop_signals(request):
            with ignore_interrupt():
                send(number)
                send(number)
            with defer_interrupt():
                send(number)
                done.append("written")

    with pytest.raises(Interrupted):
        block()
    assert done == ["written"]
