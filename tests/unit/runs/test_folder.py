"""The run folder under the accidents it is made for: kills, full disks, second runs, other people's files."""

from __future__ import annotations

import errno
import json
import logging
import os
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.util import locks
from tests.runs import files_no_larger_than


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.create(tmp_path / "run", overwrite=False) as folder:
        folder.start_manifest({"seed": 0})
        folder.write_text("config.toml", "seed = 0\n")
        yield folder


def everything(folder: Path) -> dict[str, bytes | None]:
    """What lies below `folder`: a refusal must not change it."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def refused(path: Path, *words: str, **options: bool) -> str:
    with pytest.raises(UsageError) as caught:
        RunFolder.create(path, **{"overwrite": False} | options)
    message = str(caught.value)
    assert "\n" not in message
    for word in ("--run-dir", *words):
        assert word in message
    return message


# -- creating and opening --------------------------------------------------------------------------


def test_create_makes_parents_and_a_folder_that_was_left_empty_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "Ünï 実験 dir" / "a" / "run"
    for overwrite in (False, True):
        RunFolder.create(path, overwrite=overwrite).close()
    assert os.listdir(path) == [".lock"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_somebody_elses_folder_is_refused_and_untouched(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "holiday.png").write_bytes(b"png")
    (tmp_path / "config.toml").write_text("[their]\n")
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / ".lock").write_text("theirs")
    before = everything(tmp_path)
    refused(tmp_path, "not empty", overwrite=overwrite)
    assert everything(tmp_path) == before


def test_a_run_is_not_overwritten_unasked(run: RunFolder) -> None:
    run.close()
    before = everything(run.path)
    assert "--resume" not in refused(run.path, "not empty", "--overwrite")
    refused(run.path, "not empty", "--resume or --overwrite", resumable=True)
    assert everything(run.path) == before


def test_overwrite_removes_what_a_run_writes_and_nothing_else(run: RunFolder) -> None:
    for name in run_folder.RUN_FILES:
        run.write_text(name, "old")
    run.write_text("plots/game.png", "old")
    run.update_manifest(status="done")
    run.close()
    (run.path / "notes.txt").write_text("mine")
    (run.path / f".{run_folder.CHECKPOINT}.99999.tmp").write_text("left by a killed run")
    with RunFolder.create(run.path, overwrite=True) as new:
        assert sorted(os.listdir(run.path)) == [".lock", "manifest.json", "notes.txt"]
        assert new.read_manifest()["status"] == "running"  # and no longer "done"


def test_overwrite_removes_the_games_of_the_agents_that_it_replaces(run: RunFolder) -> None:
    run.update_manifest(status="done")
    run.close()
    with RunFolder.create(run.path / "play-001", overwrite=False) as played:
        played.start_manifest({"played_from": str(run.path)})
    (run.path / "play-mine").mkdir()
    (run.path / "play-mine" / "notes.txt").write_text("mine")
    RunFolder.create(run.path, overwrite=True).close()
    assert sorted(os.listdir(run.path)) == [".lock", "manifest.json", "play-mine"]


def test_overwrite_does_not_follow_a_link_out_of_the_folder(run: RunFolder, tmp_path: Path) -> None:
    outside = tmp_path / "pictures"
    outside.mkdir()
    (outside / "a.png").write_text("mine")
    (run.path / "plots").symlink_to(outside)
    run.close()
    RunFolder.create(run.path, overwrite=True).close()
    assert (outside / "a.png").exists()
    assert not (run.path / "plots").exists()


def test_a_killed_overwrite_can_be_repeated(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.close()
    (run.path / "notes.txt").write_text("mine")
    monkeypatch.setattr(run_folder, "_remove_run", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(run.path, overwrite=True)
    monkeypatch.undo()
    RunFolder.create(run.path, overwrite=True).close()


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300, "nul\0byte", "link"])
def test_a_path_that_cannot_be_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = everything(tmp_path)
    refused(tmp_path / name, overwrite=True)
    refused(tmp_path / name)
    assert everything(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o555)
    refused(tmp_path / "run", "Permission denied")


def test_open_wants_a_run(tmp_path: Path, run: RunFolder) -> None:
    for path in (tmp_path / "absent", tmp_path, run.path / "config.toml", tmp_path / "nul\0byte"):
        with pytest.raises(UsageError, match="run folder") as caught:
            RunFolder.open(path)
        assert str(path) in str(caught.value)
    (run.path / "config.toml").unlink()
    with pytest.raises(UsageError, match=r"holds no config\.toml"):
        RunFolder.open(run.path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "done"}', "\0"])
def test_open_refuses_a_damaged_or_foreign_manifest(run: RunFolder, text: str) -> None:
    run.close()
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match=r"manifest\.json"):
        RunFolder.open(run.path)


# -- the lock --------------------------------------------------------------------------------------


def test_a_second_run_is_kept_out(run: RunFolder) -> None:
    before = everything(run.path)
    refused(run.path, "not empty")
    refused(run.path, f"in use by another run (pid {os.getpid()})", overwrite=True)
    with pytest.raises(UsageError, match="in use by another run"):
        RunFolder.open(run.path)
    assert RunFolder.open(run.path, lock=False).read_manifest()["seed"] == 0
    assert everything(run.path) == before
    run.close()
    RunFolder.open(run.path).close()


def test_two_runs_that_start_at_once_on_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = run_folder.take_lock
    first: list[bool] = []

    def meanwhile(path: Path) -> int:
        if not first:  # the other one passes all checks, runs and ends while we stand before the lock
            first.append(True)
            with RunFolder.create(path, overwrite=False) as other:
                other.start_manifest({})
        return take(path)

    monkeypatch.setattr(run_folder, "take_lock", meanwhile)
    refused(tmp_path, "not empty")
    assert (tmp_path / "manifest.json").exists()


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", no_locks)
    RunFolder.create(tmp_path / "run", overwrite=False).close()
    assert "No locks available" in caplog.text


# -- whole files -----------------------------------------------------------------------------------


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_json_is_strict_and_plain(run: RunFolder) -> None:
    run.write_json(
        "summary.json",
        {
            "nan": float("nan"),
            "inf": np.float32("-inf"),
            "float": np.float64(0.5),
            "int": np.int64(3),
            "bool": np.bool_(True),
            "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
            "tensor": torch.tensor([1, 2]),
            "scalar": torch.tensor(2.5),
            "path": Path("a/b"),
            "none": None,
            "text": "実験 \udcfc",
            "tuple": (1, 2),
            5: ("agents",),
        },
    )
    text = (run.path / "summary.json").read_text(encoding="utf-8")
    assert "実験" in text
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read == {
        "nan": None,
        "inf": None,
        "float": 0.5,
        "int": 3,
        "bool": True,
        "array": [[1.0, None], [None, 2.0]],
        "tensor": [1, 2],
        "scalar": 2.5,
        "path": "a/b",
        "none": None,
        "text": "実験 \udcfc",
        "tuple": [1, 2],
        "5": ["agents"],
    }
    assert read["bool"] is True


def test_json_refuses_what_it_would_have_to_guess(run: RunFolder) -> None:
    with pytest.raises(TypeError, match="object"):
        run.write_json("summary.json", {"a": object()})
    assert not (run.path / "summary.json").exists()


def test_npz_needs_no_pickle(run: RunFolder) -> None:
    run.write_npz("signs.npz", index=np.arange(3), names=np.array(["cat", "犬", ""]), labels=None)
    with np.load(run.path / "signs.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"index", "names"}
        assert arrays["names"].tolist() == ["cat", "犬", ""]
    with pytest.raises(TypeError, match="'labels' is an object array"):
        run.write_npz("signs.npz", labels=np.array([1, "a", None], dtype=object))
    with np.load(run.path / "signs.npz") as arrays:
        assert arrays["index"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_keeps_the_old_file_and_leaves_nothing_beside(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run.write_text("config.toml", "old")
    run.save_checkpoint({"round": 1})
    before = everything(run.path)
    monkeypatch.setattr(os, step, full_disk)
    for name, write in {
        "config.toml": lambda: run.write_text("config.toml", "new"),
        "signs.npz": lambda: run.write_npz("signs.npz", index=np.arange(3)),
        "summary.json": lambda: run.write_json("summary.json", {}),
        "checkpoint.pt": lambda: run.save_checkpoint({"round": 2}),
    }.items():
        with pytest.raises(RunError, match=rf"{name} could not be written: No space left on device$"):
            write()
        assert everything(run.path) == before


def test_a_disk_that_fills_up_in_the_middle_of_a_file(run: RunFolder) -> None:
    run.save_checkpoint({"round": 1})
    run.write_npz("signs.npz", index=np.arange(3))
    before = everything(run.path)
    with files_no_larger_than(5000):
        with pytest.raises(RunError, match=r"checkpoint\.pt could not be written: File too large"):
            run.save_checkpoint({"weights": torch.zeros(100_000)})
        with pytest.raises(RunError, match=r"signs\.npz could not be written: File too large"):
            run.write_npz("signs.npz", index=np.random.default_rng(0).random(10_000))
    assert everything(run.path) == before


# -- checkpoint ------------------------------------------------------------------------------------


def real_state() -> dict[str, Any]:
    """A network, its optimiser after a step, a generator: what a round needs."""
    net = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    return {
        "round": 2,
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "signs": torch.arange(5),
        "names": ("A", "B"),
        "nothing": None,
    }


def test_a_checkpoint_comes_back_equal_and_the_one_before_is_kept(run: RunFolder) -> None:
    run.save_checkpoint({"round": 1})
    state = real_state()
    run.save_checkpoint(state)
    loaded = run.load_checkpoint()
    assert loaded["names"] == ("A", "B")
    assert loaded["nothing"] is None
    assert isinstance(loaded["net"], OrderedDict)
    torch.testing.assert_close(loaded["net"]["weight"], state["net"]["weight"], rtol=0, atol=0)
    torch.testing.assert_close(loaded["optimiser"]["state"], state["optimiser"]["state"], rtol=0, atol=0)
    expected = torch.rand(4, generator=torch.Generator().set_state(state["generator"]))
    assert torch.equal(torch.rand(4, generator=torch.Generator().set_state(loaded["generator"])), expected)
    assert torch.load(run.path / "checkpoint.prev.pt", weights_only=True) == {"round": 1}
    run.save_checkpoint({"round": 3})
    assert torch.load(run.path / "checkpoint.prev.pt", weights_only=True)["round"] == 2


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.float64(0.5), "numpy.float64"),
        (np.zeros(3), "numpy.ndarray"),
        (Path("a"), "PosixPath"),
        (print, "builtin_function"),
        ({"deep": [np.int64(1)]}, r"numpy.int64"),
    ],
)
def test_what_could_not_be_loaded_is_refused_when_it_is_saved(run: RunFolder, value: object, kind: str) -> None:
    run.save_checkpoint({"round": 1})
    with pytest.raises(TypeError, match=rf"state\['agents'\]\[0\].*{kind}"):
        run.save_checkpoint({"agents": [value]})
    assert run.load_checkpoint() == {"round": 1}


def test_a_kill_between_any_two_renames_leaves_a_whole_checkpoint(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace
    reached = 0
    for survived in range(10):
        run.save_checkpoint({"round": 1})
        run.save_checkpoint({"round": 2})
        done = 0

        def killed(source: Any, target: Any, survived: int = survived) -> None:
            nonlocal done
            if done == survived:
                raise KeyboardInterrupt
            done += 1
            replace(source, target)

        monkeypatch.setattr(os, "replace", killed)
        try:
            run.save_checkpoint({"round": 3})
        except KeyboardInterrupt:
            monkeypatch.setattr(os, "replace", replace)
            reached += 1
            assert run.load_checkpoint()["round"] == 2
            continue
        monkeypatch.setattr(os, "replace", replace)
        assert run.load_checkpoint()["round"] == 3
        break
    assert reached == 2


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.5, 0.99])
def test_a_cut_checkpoint_falls_back_to_the_one_before(
    run: RunFolder, caplog: pytest.LogCaptureFixture, keep: float
) -> None:
    run.save_checkpoint({"round": 1})
    run.save_checkpoint(real_state())
    newest = run.path / "checkpoint.pt"
    os.truncate(newest, int(newest.stat().st_size * keep))
    with caplog.at_level(logging.WARNING, "mhng"):
        assert run.load_checkpoint() == {"round": 1}
    assert str(newest) in caplog.text
    assert "checkpoint.prev.pt" in caplog.text
    # the next save must not put the damaged one in the place of the only whole one
    run.save_checkpoint({"round": 3})
    assert torch.load(run.path / "checkpoint.prev.pt", weights_only=True) == {"round": 1}
    assert run.load_checkpoint() == {"round": 3}


def test_no_checkpoint_that_can_be_read_names_the_files(run: RunFolder) -> None:
    with pytest.raises(UsageError, match=r"checkpoint\.pt does not exist"):
        run.load_checkpoint()
    (run.path / "checkpoint.pt").write_bytes(b"junk")
    (run.path / "checkpoint.prev.pt").write_bytes(b"")
    with pytest.raises(
        UsageError, match=r"checkpoint\.pt cannot be read.*checkpoint\.prev\.pt cannot be read"
    ) as caught:
        run.load_checkpoint()
    assert "\n" not in str(caught.value)
    torch.save([1, 2], run.path / "checkpoint.pt")
    with pytest.raises(UsageError, match="holds a list, not a dict"):
        run.load_checkpoint()


class Touch:
    """Executed while being unpickled, this leaves a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("how", ["pickle", "torch", "torch legacy"])
def test_a_foreign_pickle_is_an_error_and_is_not_executed(run: RunFolder, tmp_path: Path, how: str) -> None:
    target = run.path / "checkpoint.pt"
    trap = {"round": Touch(tmp_path / "executed")}
    if how == "pickle":
        target.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, target, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(UsageError, match=r"checkpoint\.pt cannot be read"):
        run.load_checkpoint()
    assert not (tmp_path / "executed").exists()
    torch.load(target, weights_only=False) if how != "pickle" else pickle.loads(target.read_bytes())
    assert (tmp_path / "executed").exists()  # so the trap was a real one


# -- manifest --------------------------------------------------------------------------------------


def test_manifest_tells_how_the_run_goes(run: RunFolder) -> None:
    started = run.read_manifest()
    assert started["status"] == "running"
    assert started["started"].endswith("+00:00")
    assert started["seed"] == 0
    run.update_manifest(status="failed", error="the loss is not finite")
    failed = run.read_manifest()
    assert failed["finished"] >= failed["started"] == started["started"]
    assert failed["error"] == "the loss is not finite"
    run.update_manifest(status="running", device="cpu")
    assert "finished" not in run.read_manifest()
    run.update_manifest(status="done")
    run.update_manifest(report=True)
    assert run.read_manifest()["status"] == "done"
    with pytest.raises(ValueError, match="running, done, failed, interrupted"):
        run.update_manifest(status="finished")


# -- metrics ---------------------------------------------------------------------------------------


def test_metrics_are_appended_and_cut_back(run: RunFolder) -> None:
    assert run.read_metrics() == []
    run.append_metrics([])
    run.truncate_metrics(lambda row: True)
    assert run.read_metrics() == []
    run.append_metrics({"round": r, "ari": {"A": None, "B": np.float32(0.5)}, "elbo": float("nan")} for r in range(3))
    run.append_metrics([{"round": 3}])
    assert [row["round"] for row in run.read_metrics()] == [0, 1, 2, 3]
    assert run.read_metrics()[0] == {"round": 0, "ari": {"A": None, "B": 0.5}, "elbo": None}
    run.truncate_metrics(lambda row: row["round"] < 2)
    assert [row["round"] for row in run.read_metrics()] == [0, 1]


@pytest.mark.parametrize("whole", [0, 2])
@pytest.mark.parametrize("tail", ['{"rou', '{"round": 9}', "x" * 10_000, "\0" * 50])
def test_a_torn_last_line_is_left_out_and_cut_off_when_the_run_goes_on(run: RunFolder, tail: str, whole: int) -> None:
    rows = [{"round": r} for r in range(whole)]
    run.append_metrics(rows)
    run.close()
    with run.file("metrics.jsonl").open("a") as out:
        out.write(tail)
    assert RunFolder.open(run.path, lock=False).read_metrics() == rows
    with RunFolder.open(run.path) as again:
        again.append_metrics([{"round": 2}])
        assert again.read_metrics() == [*rows, {"round": 2}]


def test_damage_in_the_middle_is_not_passed_over(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_text('{"round": 0}\n{"rou\n{"round": 2}\n')
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2"):
        run.read_metrics()


def test_a_full_disk_adds_no_part_of_the_rows(run: RunFolder) -> None:
    run.append_metrics([{"round": 0}])
    before = everything(run.path)
    with (
        files_no_larger_than((run.path / "metrics.jsonl").stat().st_size + 20),
        pytest.raises(RunError, match=r"metrics\.jsonl could not be written: File too large"),
    ):
        run.append_metrics({"round": r} for r in range(1, 50))
    assert everything(run.path) == before
