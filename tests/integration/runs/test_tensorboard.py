"""`train --tensorboard`: every row becomes scalars, once, at its step; it changes nothing, and is refused in time."""

from __future__ import annotations

import json
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.metrics_table import history_of

TINY = [
    "--dataset", "synthetic", "--likelihood", "gaussian", "--limit", "40", "--signs", "3", "--latent-dim", "2",
    "--epochs", "3", "--round-epochs", "2", "--rounds", "1", "--sweeps", "6", "--round-sweeps", "2", "--burn-in", "1",
    "--starts", "1", "--chains", "1", "--device", "cpu",
]  # fmt: skip


class Recorder:
    """Stands for torch's SummaryWriter, and for a folder of its event files."""

    files: dict[str, dict[str, list[tuple[int, float]]]] = {}  # noqa: RUF012 - tests read it from the class

    def __init__(self, folder: str, **_: Any) -> None:
        Path(folder).mkdir(exist_ok=True)
        number = sum(name.startswith(folder) for name in self.files)
        file = Path(folder) / f"events.out.tfevents.{number}"
        file.touch()
        self.kept = self.files[str(file)] = defaultdict(list)
        self.open = True

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert self.open and isinstance(value, float | int)
        self.kept[tag].append((step, value))

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    module: Any = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Recorder
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Recorder, "files", {})
    return Recorder


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def expected(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars by the tables of the history, which have a test of their own."""
    epochs, sweeps = history_of(rows_of(run))
    wanted: dict[str, Any] = {
        f"{part}/{name}": epochs[part][epochs["agent"] == name]
        for part in ("loss", "reconstruction", "kl")
        for name in "AB"
    }
    wanted |= {f"ari/{name}": sweeps[f"ari_{name}"] for name in "AB"}
    wanted |= {f"acceptance/{a}2{b}": sweeps[f"acceptance_{a}->{b}"] for a, b in ("AB", "BA")}
    wanted |= {
        name: sweeps[name] for name in ("kappa", "log_joint", "log_evidence", "messages", "not_a_number", "splits")
    }
    return {tag: list(enumerate(values.tolist(), 1)) for tag, values in wanted.items()}


def only_file(recorded: type[Recorder], run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show: the events in the folder."""
    (file,) = (run / "tensorboard").iterdir()
    return dict(recorded.files[str(file)])


def test_every_row_is_a_step_and_the_run_is_the_same(recorded: type[Recorder], tmp_path: Path) -> None:
    with_it, without = tmp_path / "with", tmp_path / "without"
    assert cli.main(["train", *TINY, "--run-dir", str(with_it), "--tensorboard"]) == 0
    assert cli.main(["train", *TINY, "--run-dir", str(without)]) == 0
    for name in ("metrics.jsonl", "signs.npz"):
        assert (with_it / name).read_bytes() == (without / name).read_bytes()
    assert not (without / "tensorboard").exists()
    found = only_file(recorded, with_it)
    assert found == expected(with_it)
    assert [step for step, _ in found["loss/A"]] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found["kappa"]] == [*range(1, 9)]  # two sweeps between rounds, then six
    assert "tensorboard = true" in (with_it / "config.toml").read_text()
    RunFolder.create(with_it, overwrite=True).close()
    assert not (with_it / "tensorboard").exists()


def test_a_run_that_goes_on_shows_every_step_once(recorded: type[Recorder], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert cli.main(["train", *TINY, "--run-dir", str(run), "--tensorboard"]) == 0
    # Two rounds more: the four sweeps that made the last one longer are taken back, from metrics.jsonl as from here.
    assert cli.main(["train", "--resume", str(run), "--rounds", "3"]) == 0
    found = only_file(recorded, run)
    assert found == expected(run) and len(found["kappa"]) == 2 + 2 + 2 + 6
    # Without it, and with it again: all that was missed is there.
    assert cli.main(["train", "--resume", str(run), "--rounds", "4", "--no-tensorboard"]) == 0
    assert only_file(recorded, run) == found
    assert cli.main(["train", "--resume", str(run), "--rounds", "5", "--tensorboard"]) == 0
    assert only_file(recorded, run) == expected(run) and len(rows_of(run)) == 2 * (3 + 5 * 2) + 1 + 5 * 2 + 6


def test_a_package_that_is_missing_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert cli.main(["train", *TINY, "--run-dir", str(run), "--tensorboard"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--tensorboard" in err and "pip install tensorboard" in err
    assert not run.exists()
    assert cli.main(["train", *TINY, "--run-dir", str(run)]) == 0
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(run), "--rounds", "2", "--tensorboard"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    assert cli.main(["train", *TINY, "--run-dir", str(run), "--tensorboard"]) == 0
    assert cli.main(["train", "--resume", str(run), "--rounds", "2"]) == 0
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    wanted = expected(run)
    assert set(events.Tags()["scalars"]) == set(wanted)
    for tag, values in wanted.items():
        assert [event.step for event in events.Scalars(tag)] == [step for step, _ in values]
        np.testing.assert_allclose([event.value for event in events.Scalars(tag)], [v for _, v in values], rtol=1e-5)
