"""The modes of a comparison share the learning of round 0, and are the runs that `train` makes."""

import pytest

from mhng import cli
from mhng.experiment.comparison.grid import build_grid
from mhng.experiment.comparison.shared_learning import SharedLearning
from mhng.experiment.runs.checkpoint_io import checkpoint_bytes
from mhng.experiment.runs.folder import RunFolder
from mhng.inference import rounds
from tests.runs import all_outputs

SMALL = [
    "--dataset", "digits", "--limit", "60", "--signs", "4", "--epochs", "3", "--rounds", "1", "--sweeps", "4",
    "--burn-in", "1", "--starts", "1", "--chains", "1", "--device", "cpu", "--threads", "1",
]  # fmt: skip
NOTE = "the learning of round 0 is that of another mode with this seed"


def train(folder, *flags):
    assert cli.main(["train", f"--run-dir={folder}", *flags, *SMALL]) == 0
    return folder


@pytest.mark.parametrize("mode", ["no-com", "all", "gibbs"])
def test_a_run_that_begins_with_shared_learning_equals_one_that_learns(mode, tmp_path, capsys):
    file = tmp_path / "learned.pt"
    train(tmp_path / "com", "--mode=com", f"--learned={file}")
    assert NOTE not in capsys.readouterr().err
    train(tmp_path / "shared", f"--mode={mode}", f"--learned={file}")
    assert NOTE in capsys.readouterr().err
    train(tmp_path / "alone", f"--mode={mode}")
    assert all_outputs(tmp_path / "shared") == all_outputs(tmp_path / "alone")


def test_a_run_with_shared_learning_that_is_stopped_in_its_first_game_resumes_after_the_learning(
    tmp_path, monkeypatch
):
    file = tmp_path / "learned.pt"
    train(tmp_path / "com", f"--learned={file}")

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "initial_signs", stopped)
        assert cli.main(["train", f"--run-dir={tmp_path / 'run'}", "--mode=all", f"--learned={file}", *SMALL]) == 130
    state = RunFolder(tmp_path / "run").load_epochs()
    assert state is not None and state["learned"] == {"A": 3, "B": 3}
    assert cli.main(["train", f"--resume={tmp_path / 'run'}"]) == 0
    train(tmp_path / "alone", "--mode=all")
    assert all_outputs(tmp_path / "run") == all_outputs(tmp_path / "alone")


@pytest.mark.parametrize("other", [["--seed=1"], ["--limit=50"], ["--jitter=0"]])
def test_learning_of_other_settings_or_data_is_not_used(other, tmp_path, capsys):
    file = tmp_path / "learned.pt"
    train(tmp_path / "com", f"--learned={file}")
    before = file.read_bytes()
    assert cli.main(["train", f"--run-dir={tmp_path / 'run'}", f"--learned={file}", *SMALL, *other]) == 0
    assert NOTE not in capsys.readouterr().err and file.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", "half", {}, {"checkpoint": {}, "rows": []}])
def test_a_damaged_file_is_not_used(damage, tmp_path, capsys):
    file = tmp_path / "learned.pt"
    train(tmp_path / "com", f"--learned={file}")
    data = file.read_bytes()
    file.write_bytes(
        data[: len(data) // 2]
        if damage == "half"
        else damage
        if isinstance(damage, bytes)
        else checkpoint_bytes(damage)
    )
    train(tmp_path / "run", "--mode=gibbs", f"--learned={file}")
    assert NOTE not in capsys.readouterr().err


def test_a_file_has_the_runs_of_a_variant_and_seed_and_goes_with_the_last(tmp_path):
    grid = build_grid(modes=["com", "no-com"], seeds=["0-1"], variants=["", "b: --limit 50"], words=SMALL)
    runs = {run.folder: run for run in grid.runs()}
    (tmp_path / ".learned").mkdir()
    (tmp_path / ".learned" / "-seed0.pt").touch()  # of a killed comparison
    with SharedLearning(tmp_path, [run for name, run in runs.items() if name != "com-seed1"]) as shared:
        assert not (tmp_path / ".learned").exists()
        files = {name: shared.file(run) for name, run in runs.items()}
        assert files["com-seed0"] == files["no-com-seed0"] != files["com-b-seed0"] == files["no-com-b-seed0"]
        assert files["no-com-seed1"] is None  # no other run would use it
        file = files["com-seed0"]
        file.parent.mkdir()
        for name in ("com-seed0", "no-com-seed0"):
            file.touch()
            shared.finished(runs[name])
            assert file.exists() == (name == "com-seed0")
        shared.finished(runs["com-seed1"])  # resumed
        file.touch()
    assert not list(tmp_path.iterdir())
