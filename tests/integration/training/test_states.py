"""States of a run folder: results of an earlier end, checkpoints of other runs, other machines."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch

from mhng import cli
from mhng.experiment.api import load_run
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve
from mhng.experiment.training import loop, manifest
from mhng.experiment.training.alone import alone
from mhng.experiment.training.console import Silent
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import resume, train
from tests.runs import SMALL_FLAGS, all_outputs


def made(folder: Path, *words: str) -> Path:
    from mhng.experiment.settings.parsing import read_settings

    flags = [*SMALL_FLAGS, *words, "--device", "cpu", "--run-dir", str(folder)]
    train(resolve(read_settings(flags)), printer=Silent())
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("states") / "finished")


def interrupted(folder: Path, method: str, number: int, rounds: str) -> None:
    """Resume a run with more rounds and end it, as Ctrl-C does, after the `number`-th call of a method."""
    whole, calls = getattr(loop.TrainingLoop, method), []

    def stop(self: loop.TrainingLoop, *arguments: object) -> None:
        whole(self, *arguments)
        calls.append(1)
        if len(calls) == number and method == "epoch":
            signal.raise_signal(signal.SIGINT)  # the run saves the epoch first
        elif len(calls) == number:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.TrainingLoop, method, stop)
        with pytest.raises(KeyboardInterrupt):
            resume(folder, rounds=rounds, printer=Silent())


@pytest.fixture(scope="module")
def extended(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one round that was resumed for five and stopped after three."""
    folder = tmp_path_factory.mktemp("states") / "extended"
    shutil.copytree(finished, folder)
    interrupted(folder, "_save_round", 2, "5")
    assert torch.load(folder / run_folder.CHECKPOINT, weights_only=True)["done"] == 4
    return folder


# -- results of an earlier end -----------------------------------------------------------------------


def test_agents_and_results_of_an_extended_run_are_of_one_round(
    finished: Path, extended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = load_run(finished), load_run(extended)
    assert after.round == before.round == 1
    for agent in before.agents:
        assert np.array_equal(after.latents(agent), before.latents(agent))
        assert np.array_equal(after.signs[agent], before.signs[agent])
    note = f"note: the status of {extended} is 'interrupted'; its agents and signs are those of round 1 of 5\n"
    assert capsys.readouterr() == ("", note)
    rows = {}
    for folder in (finished, extended):
        assert cli.main(["name", str(folder), "--split", "rest", "--limit", "40"]) == 0
        out, err = capsys.readouterr()
        rows[folder] = out, err.replace(note.replace(str(finished), str(extended)), "")
        assert (note in err) == (folder == extended)
    assert rows[finished] == rows[extended]


def test_an_extended_run_ends_as_one_that_was_never_stopped(extended: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(extended, folder)
    resume(folder, printer=Silent())
    assert all_outputs(folder) == all_outputs(made(tmp_path / "whole", "--rounds", "5"))
    assert not (folder / run_folder.FINISHED).exists() and load_run(folder).round == 5


def test_results_of_different_rounds_are_refused_together(extended: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(extended, folder)
    (folder / run_folder.FINISHED).unlink()
    message = rf"{re.escape(str(folder))}: checkpoint\.pt is from round 3, signs\.npz from round 1; .*'interrupted'"
    with pytest.raises(UsageError, match=message + r".*train --resume"):
        load_run(folder).models  # noqa: B018
    assert cli.main(["recall", str(folder)]) == 2
    # A run that is stopped while it writes its results
    interrupted(folder, "_write_results", 1, "5")
    shutil.copy(extended / run_folder.SUMMARY, folder / run_folder.SUMMARY)
    run = load_run(folder)
    with pytest.raises(UsageError, match=r"summary\.json is from round 1, signs\.npz from round 5"):
        (run.signs, run.scores)  # noqa: B018
    run = load_run(folder)
    with pytest.raises(UsageError, match=r"posterior\.nc is from round 5, summary\.json from round 1"):
        (run.scores, run.posterior)  # noqa: B018
    resume(folder, printer=Silent())
    assert load_run(folder).round == load_run(folder).scores["rounds"] == 5


def test_signs_of_an_older_version_take_the_round_of_the_summary(extended: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(extended, folder)
    with np.load(folder / run_folder.SIGNS) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "round"}
    np.savez(folder / run_folder.SIGNS, **kept)
    assert load_run(folder).round == 1
    (folder / run_folder.FINISHED).unlink()
    with pytest.raises(UsageError, match=r"checkpoint\.pt is from round 3, summary\.json from round 1"):
        load_run(folder).models  # noqa: B018


# -- other machines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "cores", "used", "said"),
    [
        (2, 4, 2, "resuming with the number of threads that the run began with, 2 instead of 1"),
        ({"learning": 2, "game": 1}, 4, 2, "the number of threads that the run began with, 2 instead of 1"),
        ({"learning": 2}, 4, 1, ""),
        (8, 4, 1, "the run began with 8 threads, but 4 cores are available; it resumes with 1"),
        (1, 4, 1, ""),
        ("x", 4, 1, ""),
        (0, 4, 1, ""),
    ],
)
def test_a_resumed_run_keeps_its_number_of_threads_or_says_so(
    threads: object,
    cores: int,
    used: int,
    said: str,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, seen = tmp_path / "run", []
    shutil.copytree(finished, folder)
    fields = json.loads((folder / run_folder.MANIFEST).read_text())
    (folder / run_folder.MANIFEST).write_text(json.dumps(fields | {"threads": threads}))
    monkeypatch.setattr("mhng.experiment.training.resume.available_cores", lambda: cores)
    epoch = loop.TrainingLoop.epoch
    monkeypatch.setattr(
        loop.TrainingLoop, "epoch", lambda *given: seen.append(torch.get_num_threads()) or epoch(*given)
    )
    resume(folder, rounds="2")
    assert set(seen) == {used} and torch.get_num_threads() == 1
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if "gives one sign to" not in line]  # the small run may collapse
    assert said in err and len(lines) == 1 + bool(said)  # the other line says where it resumes


def test_the_revision_is_that_of_this_program_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed program may lie inside a repository of the user, and GIT_DIR may name one."""
    theirs = tmp_path / "theirs"
    (theirs / "site").mkdir(parents=True)
    (theirs / "file").touch()
    git = ["git", "-C", str(theirs), "-c", "user.name=x", "-c", "user.email=x"]
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(manifest, "_CHECKOUT", theirs.resolve())
    revision = manifest._git_revision()
    assert revision is not None and re.fullmatch("[0-9a-f]{40}", revision)
    (theirs / "file").write_text("changed")
    assert manifest._git_revision() == f"{revision}+changes"
    monkeypatch.setattr(manifest, "_CHECKOUT", (theirs / "site").resolve())
    assert manifest._git_revision() is None
    monkeypatch.setenv("GIT_DIR", str(theirs / ".git"))
    monkeypatch.setattr(manifest, "_CHECKOUT", tmp_path.resolve())
    assert manifest._git_revision() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest._git_revision() is None


# -- checkpoints of other runs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "1"], "its seed is 1; this run has 0"),
        (["--lr", "0.01"], "its lr is 0.01; this run has 0.03"),
        (["--agent", "B: --acceptance binary"], "its agent is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    words: list[str], message: str, finished: Path, tmp_path: Path
) -> None:
    folder, other = tmp_path / "run", made(tmp_path / "other", *words)
    shutil.copytree(finished, folder)
    shutil.copy(other / run_folder.CHECKPOINT, folder / run_folder.CHECKPOINT)
    before = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    for use in (lambda: resume(folder, rounds="3", printer=Silent()), lambda: load_run(folder).models):
        with pytest.raises(UsageError, match=rf"checkpoint\.pt belongs to another run: {message}"):
            use()
    assert {file: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


def test_a_checkpoint_of_other_data_or_of_an_unknown_run(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    file = folder / run_folder.CHECKPOINT
    state = torch.load(file, weights_only=True)
    torch.save(state | {"run": state["run"] | {"checksum": "0"}}, file)
    with pytest.raises(UsageError, match="belongs to another run: it was trained on other data"):
        resume(folder, rounds="3", printer=Silent())
    torch.save(state | {"run": 7}, file)
    with pytest.raises(UsageError, match="does not say which run it is from"):
        resume(folder, rounds="3", printer=Silent())
    # Versions before wrote no name of the run.
    torch.save({name: value for name, value in state.items() if name != "run"}, file)
    resume(folder, rounds="2", printer=Silent())
    assert json.loads((folder / run_folder.SUMMARY).read_text())["rounds"] == 2


def test_a_checkpoint_between_epochs_of_another_run_is_refused(finished: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished, folder)
    made(other, "--seed", "1", "--checkpoint-minutes", "1e-9")
    interrupted(other, "epoch", 1, "3")
    shutil.copy(other / run_folder.EPOCHS, folder / run_folder.EPOCHS)
    with pytest.raises(UsageError, match=r"checkpoint\.epochs\.pt belongs to another run: its seed is 1"):
        resume(folder, rounds="3", printer=Silent())


def test_draws_of_another_run_are_refused(finished: Path, tmp_path: Path) -> None:
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(finished, folder)
    made(other, "--seed", "1")
    shutil.copy(other / run_folder.POSTERIOR, folder / run_folder.POSTERIOR)
    with pytest.raises(UsageError, match=r"posterior\.nc belongs to another run: its seed is 1, not"):
        _ = SavedRun(folder).posterior


def test_a_manifest_of_another_run_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / run_folder.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 5}))
    with pytest.raises(UsageError, match=r"manifest\.json belongs to another run"):
        _ = SavedRun(tmp_path / "run").manifest


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with pyro.plate("mine", 2), pytest.raises(UsageError, match="inside a Pyro effect handler"):
        made(tmp_path / "handled")
    said: list[BaseException] = []

    def other() -> None:
        try:
            made(tmp_path / "other")
        except UsageError as error:
            said.append(error)

    with alone():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread of this process has a run" in str(said[0]) and not (tmp_path / "other").exists()
