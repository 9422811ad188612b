"""Kills, full disks, damaged checkpoints, Ctrl-C and second runs: what was saved is never lost, and a run that goes on
ends with the bytes of one that was never stopped.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mhng import cli
from mhng.experiment.api import load_run
from mhng.experiment.comparison.progress import Progress
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import resolve
from mhng.experiment.training import loop as running
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume, train
from mhng.experiment.util import locks
from mhng.inference.svi import Learner
from tests.runs import all_outputs, files_no_larger_than

HOME = Path(__file__).resolve().parents[2]
TINY = [
    "--dataset", "digits", "--limit", "60", "--signs", "3", "--latent-dim", "2", "--epochs", "3",
    "--round-epochs", "2", "--rounds", "2", "--sweeps", "6", "--burn-in", "2", "--starts", "2", "--chains", "2",
    "--batch-size", "32", "--device", "cpu", "--jitter", "0.5",
]  # fmt: skip
# Of a minute: every epoch is saved.
ALWAYS = ["--checkpoint-minutes", "1e-9"]


def tiny(folder: Path, *words: str) -> None:
    from mhng.experiment.settings.parsing import read_settings

    train(resolve(read_settings([*TINY, *words, "--run-dir", str(folder)])), printer=Silent())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crashes") / "whole"
    tiny(folder, *ALWAYS)
    assert not (folder / run_folder.EPOCHS).exists()
    return folder


@pytest.fixture(scope="module")
def expected(whole: Path) -> tuple[Any, ...]:
    return all_outputs(whole)


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped in the midst of round 1. Copied by those that change it."""
    folder = tmp_path_factory.mktemp("crashes") / "halted"
    stopped(folder, (1, "B", 1))
    return folder


def stopped(folder: Path, stop: tuple[int, str, int], *words: str) -> None:
    """A run that Ctrl-C ended right after an epoch."""
    epoch = running.TrainingLoop.epoch

    def interrupted(self: Any, round: int, member: str, number: int, epochs: int, loss: Any) -> None:
        epoch(self, round, member, number, epochs, loss)
        if (round, member, number) == stop:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(running.TrainingLoop, "epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny(folder, *(words or ALWAYS))


# -- between epochs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        ((0, "B", 3), 8),
        ((1, "A", 2), 6),
        pytest.param((0, "A", 1), 13, marks=pytest.mark.slow),
        pytest.param((2, "B", 1), 1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_resumes_from_the_last_epoch_bit_for_bit(
    stop: tuple[int, str, int], left: int, expected: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path / "run", stop)
    epochs = []
    epoch = Learner._epoch
    monkeypatch.setattr(Learner, "_epoch", lambda self, *own: epochs.append(own[0]) or epoch(self, *own))
    resume(tmp_path / "run", printer=Silent())
    assert len(epochs) == left  # of 3 + 3 in the first round and 2 + 2 in the others
    assert all_outputs(tmp_path / "run") == expected
    assert not (tmp_path / "run" / run_folder.EPOCHS).exists()


def test_zero_checkpoint_minutes_save_at_the_end_of_rounds_only(tmp_path: Path) -> None:
    stopped(tmp_path / "run", (0, "A", 1), "--checkpoint-minutes", "0")
    assert not (tmp_path / "run" / run_folder.EPOCHS).exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "of an older round"])
def test_without_the_checkpoint_of_epochs_a_run_resumes_from_the_round(
    damage: str, halted: Path, expected: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(halted, folder)
    file = folder / run_folder.EPOCHS
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        torch.save(torch.load(file, weights_only=True) | {"done": 0}, file)
    resume(folder, printer=Silent())
    assert all_outputs(folder) == expected
    assert (str(file) in caplog.text) == (damage != "of an older round")


@pytest.mark.parametrize("learned", [None, [3], {"A": -1}, {"A": 1.5}, {"Z": 1}, {"A": 3}], ids=str)
def test_odd_counts_in_a_checkpoint_of_epochs_are_refused(learned: Any, halted: Path, tmp_path: Path) -> None:
    shutil.copytree(halted, tmp_path / "run")
    file = tmp_path / "run" / run_folder.EPOCHS
    torch.save(torch.load(file, weights_only=True) | {"learned": learned}, file)
    with pytest.raises(UsageError, match=r"checkpoint\.epochs\.pt does not fit .* epochs"):
        resume(tmp_path / "run", printer=Silent())


# -- damaged checkpoints -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> RunFolder:
    """A folder with two checkpoints of different sizes."""
    with RunFolder.create(tmp_path / "run", overwrite=False) as folder:
        folder.start_manifest({})
        for number in (1, 2):
            folder.save_checkpoint({"done": number, "weights": torch.arange(500.0 * number), "names": ["A", "B"]})
        return folder


def test_a_truncated_checkpoint_gives_the_previous_one(saved: RunFolder) -> None:
    file = saved.file(run_folder.CHECKPOINT)
    data = file.read_bytes()
    for length in [*range(0, 200, 7), *range(200, len(data), 97), len(data) - 1]:
        file.write_bytes(data[:length])
        assert saved.load_checkpoint()["done"] == 1


def test_a_checkpoint_with_a_flipped_bit_is_whole_or_the_previous_one(saved: RunFolder) -> None:
    file = saved.file(run_folder.CHECKPOINT)
    data = file.read_bytes()
    places = random.Random(0)
    found = {1: 0, 2: 0}
    for _ in range(300):
        place = places.randrange(8 * len(data))
        wrong = bytearray(data)
        wrong[place // 8] ^= 1 << place % 8
        file.write_bytes(wrong)
        state = saved.load_checkpoint()
        found[state["done"]] += 1
        # torch's own loader says nothing of a wrong weight.
        assert torch.equal(state["weights"], torch.arange(500.0 * state["done"])) and state["names"] == ["A", "B"]
    assert found[1] > 200


# -- what the manifest says --------------------------------------------------------------------------


def test_a_running_run_without_a_lock_has_the_status_killed(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    with RunFolder.open(run) as held:
        held.update_manifest(status="running")
        assert held.status == RunFolder(run).status == load_run(run).status == "running"
    for _ in range(2):
        assert load_run(run).status == RunFolder(run).status == "killed"
        (run / run_folder.LOCK).unlink(missing_ok=True)  # as in a copy
    assert repr(load_run(run)).startswith(f"<run {run}: killed")
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    assert f"Run: {run} (status: killed)" in capsys.readouterr().out
    assert cli.main(["report", str(run)]) == 0
    assert "status of the run is &#39;killed&#39;" in (run / run_folder.REPORT).read_text()
    (run / run_folder.POSTERIOR).unlink()
    assert cli.main(["report", str(run)]) == 2
    assert f"status 'killed'); run train --resume {run} first" in capsys.readouterr().err


def test_a_comparison_reports_what_it_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, done=1) as progress:
        progress.resuming([("com-seed0", "killed"), ("all-seed1", "interrupted")])
        progress.resuming([])
    assert capsys.readouterr().err == "resuming com-seed0 (killed), all-seed1 (interrupted)\n"


def test_a_command_that_reads_does_not_lock_a_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = locks.fcntl
    with RunFolder.create(tmp_path / "run", overwrite=False) as folder:
        folder.start_manifest({})
        folder.write_text(run_folder.CONFIG, "")
    look = os.open(tmp_path / "run" / run_folder.LOCK, os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr(locks.time, "sleep", lambda _: os.close(look) if look in open_files() else None)

    def open_files() -> list[int]:
        return [int(name) for name in os.listdir("/proc/self/fd")]

    RunFolder.open(tmp_path / "run").close()


# -- whole processes ---------------------------------------------------------------------------------


def killed(place: Path, kills: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.killer", str(place), str(kills), str(seed), *TINY, *ALWAYS],
        cwd=HOME, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] >= kills
    wanted = all_outputs(place / "whole")
    for number, deaths in enumerate(told["runs"]):
        folder = place / f"killed-{number}"
        progress = [death["progress"] for death in deaths]
        assert progress == sorted(progress)  # nothing that was saved is ever lost
        assert {death["status"] for death in deaths} <= {"killed", None, "done"}
        assert all_outputs(folder) == wanted
        assert RunFolder(folder).status == "done"


def test_a_run_killed_at_a_few_random_moments_has_the_results_of_a_whole_run(tmp_path: Path) -> None:
    killed(tmp_path, kills=2, seed=0)


@pytest.mark.slow
def test_a_run_killed_at_100_random_moments_has_the_results_of_a_whole_run(tmp_path: Path) -> None:
    killed(tmp_path, kills=100, seed=1)


def process(*words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HOME / "cli.py"), "train", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def wait_for(file: Path, running: subprocess.Popen[str]) -> None:
    begun = time.monotonic()
    while not file.exists():
        assert running.poll() is None and time.monotonic() - begun < 300
        time.sleep(0.02)


def test_ctrl_c_twice_and_a_second_run_on_the_same_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = process(*TINY, *ALWAYS, "--rounds", "4000", "--run-dir", str(folder))
    wait_for(folder / run_folder.CHECKPOINT, first)
    before = (folder / run_folder.MANIFEST).read_bytes()
    for again in (lambda: tiny(folder, "--overwrite"), lambda: resume(folder, printer=Silent())):
        with pytest.raises(UsageError, match=rf"in use by another run \(pid {first.pid}\)"):
            again()
    assert (folder / run_folder.MANIFEST).read_bytes() == before and RunFolder(folder).status == "running"
    first.send_signal(signal.SIGINT)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=120)
    continued = f"cli.py train: interrupted; continue: python cli.py train --resume {folder}"
    assert first.returncode == 130 and err.splitlines()[-1] == continued
    assert RunFolder(folder).status == "interrupted"
    done = torch.load(folder / run_folder.CHECKPOINT, weights_only=True)["done"]
    tiny(tmp_path / "wanted", *ALWAYS, "--rounds", str(done + 1))
    resume(folder, rounds=str(done + 1), printer=Silent())
    assert all_outputs(folder) == all_outputs(tmp_path / "wanted")


def full(folder: Path, size: int, expected: Any) -> None:
    """A run on a disk where no file may be larger than `size` says so, and goes on when there is room again."""
    with files_no_larger_than(size), pytest.raises((RunError, UsageError)) as caught:
        tiny(folder, *ALWAYS)
    assert "\n" not in str(caught.value) and "File too large" in str(caught.value)
    assert not list(folder.glob(".*.tmp"))
    if caught.type is UsageError:  # full from the first file on
        assert "--run-dir" in str(caught.value)
        assert not any((folder / name).exists() for name in run_folder.RUN_FILES)
        tiny(folder, *ALWAYS, "--overwrite")
    elif (folder / run_folder.CONFIG).exists():
        assert RunFolder(folder).status in ("failed", "killed")  # the manifest may have found no room either
        resume(folder, printer=Silent())
    else:
        tiny(folder, *ALWAYS, "--overwrite")
    assert all_outputs(folder) == expected


def test_a_full_disk_loses_no_saved_file(whole: Path, expected: Any, tmp_path: Path) -> None:
    full(tmp_path / "run", (whole / run_folder.METRICS).stat().st_size // 2, expected)


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_size_loses_no_saved_file(whole: Path, expected: Any, tmp_path: Path) -> None:
    largest = max(file.stat().st_size for file in whole.iterdir() if file.is_file())
    for number, size in enumerate([0, 1, 500, 1500, 2500, 6000, 50_000, 200_000, largest // 2, largest - 1]):
        full(tmp_path / str(number), size, expected)


@pytest.fixture
def read_only(tmp_path: Path) -> Any:
    """A folder where nothing may be written, also by root, for whom it is a file system of its own."""
    place = tmp_path / "read-only"
    place.mkdir()
    if os.geteuid() != 0:
        place.chmod(0o555)
        yield place
        place.chmod(0o755)
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("root may write everywhere, and may not mount here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_folder_that_is_read_only_is_found_before_training(read_only: Path) -> None:
    with pytest.raises(UsageError, match=r"--run-dir .* cannot be used: (Read-only file system|Permission denied)"):
        tiny(read_only / "run")
    assert os.listdir(read_only) == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Any
) -> None:
    replace = os.replace

    def no_room(source: Any, target: Any) -> None:
        if Path(target).name == run_folder.EPOCHS:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(RunError, match=r"checkpoint\.epochs\.pt could not be written: No space left on device"):
        tiny(tmp_path / "run", *ALWAYS)
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").status == "failed"
    resume(tmp_path / "run", printer=Silent())
    assert all_outputs(tmp_path / "run") == expected
