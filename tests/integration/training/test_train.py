"""A run from settings to a folder: what it leaves, that a stopped one goes on exactly, that faults leave nothing."""

import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import load_posterior
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.schema import Config
from mhng.experiment.training import loop
from mhng.experiment.training.console import Printer, is_shown
from mhng.experiment.training.prepare import load_objects
from mhng.experiment.training.train import resume, train
from tests.runs import contents, pictures_drawn

SMALL = Config(
    dataset="digits", limit=60, signs=3, latent_dim=2, epochs=2, round_epochs=1, rounds=2, sweeps=6, burn_in=2,
    starts=2, chains=2, batch_size=32, device="cpu",
)  # fmt: skip


class Quiet(Printer):
    def __init__(self):
        super().__init__()
        self.lines = []

    def write(self, text):
        self.lines.append(text)

    note = write


def run(folder, config=SMALL, **changes):
    printer = Quiet()
    return train(replace(config, run_dir=folder, **changes), printer=printer), printer.lines


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pictures_drawn(True):
        summary, lines = run(folder)
    return folder, summary, lines


def test_a_run_leaves_what_was_promised(finished):
    folder, summary, _ = finished
    names = {file.name for file in folder.iterdir()} - {run_folder.LOCK}
    assert names == {
        "config.toml", "manifest.json", "metrics.jsonl", "signs.npz", "posterior.nc", "checkpoint.pt",
        "checkpoint.prev.pt", "summary.json", "plots",
    }  # fmt: skip
    assert {file.name for file in (folder / "plots").iterdir()} == {
        "training.png",
        "game.png",
        "confusion.png",
    }
    assert json.loads((folder / "summary.json").read_text(), parse_constant=pytest.fail) == summary
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "done" and manifest["seed"] == 0 and len(manifest["checksum"]) == 64
    assert manifest["versions"]["pyro-ppl"]


def test_the_summary_holds_the_final_draw_and_the_mean_after_burn_in(finished):
    folder, summary, _ = finished
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["kind"] == "sweep" and row["round"] == 2]
    assert [row["sweep"] for row in last] == [1, 2, 3, 4, 5, 6]
    assert summary["kappa"] == last[-1]["kappa"]
    assert summary["kappa_mean"] == pytest.approx(np.mean([row["kappa"] for row in last[2:]]))
    assert summary["agents"]["A"]["ari"] == last[-1]["agents"]["A"]["ari"]
    assert summary["acceptance"]["A->B"] == pytest.approx(np.mean([row["acceptance"]["A->B"] for row in last[2:]]))
    assert (summary["objects"], summary["signs"], summary["rounds"]) == (60, 3, 2)
    for own in summary["agents"].values():
        assert own["elbo"] == pytest.approx(own["reconstruction"] - own["kl"])
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [(row["round"], row["agent"], row["epoch"]) for row in epochs][:5] == [
        (0, "A", 1), (0, "A", 2), (0, "B", 1), (0, "B", 2), (1, "A", 1),
    ]  # fmt: skip
    assert all(row["loss"] == pytest.approx(row["kl"] - row["reconstruction"]) for row in epochs)


def test_signs_and_posterior_are_of_the_last_round(finished):
    folder, _, _ = finished
    with np.load(folder / "signs.npz") as arrays:
        assert arrays["index"].tolist() == list(range(60)) and arrays["label"].shape == (60,)
        final = np.stack([arrays["signs_A"], arrays["signs_B"]])
    data = load_posterior(folder / "posterior.nc")
    assert dict(data["posterior"].sizes)["chain"] == 2 and dict(data["posterior"].sizes)["draw"] == 4
    assert (data["signs"]["signs"].values[0, -1] == final).all()
    assert data["constant_data"]["label"].shape == (60,)
    assert data["observed_data"]["z"].shape == (2, 60, 2)
    # The parts of the log joint by object, agent and in all. The sign prior is uniform, and each agent has its signs.
    parts = data["posterior"]
    np.testing.assert_allclose(data["log_likelihood"]["z"].sum("object"), parts["log_p_z"], rtol=1e-4)
    total = (parts["log_p_z"] + parts["log_p_phi"]).sum("agent") - 2 * 60 * np.log(3)
    np.testing.assert_allclose(total, data["sample_stats"]["lp"], rtol=1e-9)


def test_the_lines_are_those_of_the_references_log(finished):
    _, _, lines = finished
    text = "\n".join(lines)
    assert lines[0] == "Dataset: digits" and "categories: 10" in lines[1]
    assert "Agent A epoch 1/2 average loss: " in text and "---- round 2 of 2 ----" in text
    shown = [line for line in lines if line.startswith("iteration 6/6, ARI_A: ")]
    assert len(shown) == 1 and all(part in shown[0] for part in ("ARI_B: ", "Kappa: ", "A2B: ", "B2A: "))
    assert [n for n in range(1, 61) if is_shown(n, 60, 25)] == [1, 25, 50, 60]


def test_the_config_it_leaves_makes_the_same_run(finished, tmp_path):
    folder, _, _ = finished
    config = resolve({"run_dir": str(tmp_path / "again")}, folder / "config.toml")
    train(config, printer=Quiet())
    assert contents(tmp_path / "again") == contents(folder)


@pytest.mark.parametrize("stop", [(0, "A", 2), (1, "B", 1), (2, "A", 1)])
def test_a_stopped_run_goes_on_bit_for_bit(finished, tmp_path, monkeypatch, stop):
    epoch = loop.TrainingLoop.epoch

    def interrupted(self, round, member, number, epochs, loss):
        epoch(self, round, member, number, epochs, loss)
        if (round, member, number) == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.TrainingLoop, "epoch", interrupted)
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"
    monkeypatch.undo()
    resume(folder, printer=Quiet())
    assert contents(folder) == contents(finished[0])
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"


def test_a_run_killed_after_its_last_checkpoint_is_only_finished(finished, tmp_path, pictures):
    folder = tmp_path / "killed"
    shutil.copytree(finished[0], folder)
    shutil.rmtree(folder / "plots")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"status": "running"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    resume(folder, printer=Quiet())
    assert contents(folder) == contents(finished[0]) and (folder / "plots" / "game.png").exists()


def test_more_rounds_can_be_added_and_a_complete_run_says_so(finished, tmp_path):
    longer, shorter = tmp_path / "longer", tmp_path / "shorter"
    run(longer, rounds=3)
    shutil.copytree(finished[0], shorter)
    with pytest.raises(UsageError, match="complete"):
        resume(shorter, printer=Quiet())
    with pytest.raises(UsageError, match="--rounds is 1, but 2 rounds are complete"):
        resume(shorter, rounds="1", printer=Quiet())
    resume(shorter, rounds="3", printer=Quiet())
    assert contents(shorter) == contents(longer)


def test_a_run_of_before_a_setting_existed_goes_on_with_its_default(finished, tmp_path):
    older = tmp_path / "older"
    shutil.copytree(finished[0], older)
    manifest = json.loads((older / "manifest.json").read_text())
    del manifest["settings"]["thin"]
    (older / "manifest.json").write_text(json.dumps(manifest))
    text = (older / "config.toml").read_text()
    (older / "config.toml").write_text(text.replace("thin = 1\n", ""))
    resume(older, rounds="3", printer=Quiet())
    (older / "config.toml").write_text(text.replace("thin = 1\n", "thin = 2\n"))
    with pytest.raises(UsageError, match=r"thin is 2; the run was started with 1"):
        resume(older, rounds="4", printer=Quiet())


def test_thinning_and_keeping_less_say_what_is_in_the_posterior(tmp_path):
    run(tmp_path / "run", rounds=0, thin=3, keep="components")
    data = load_posterior(tmp_path / "run" / "posterior.nc")
    assert data["posterior"]["draw"].values.tolist() == [2, 5]
    assert "signs" not in data["signs"] and data["components"]["mu"].shape == (2, 2, 2, 3, 2)


def test_an_interrupted_run_can_be_ended_early_with_results(finished, tmp_path, monkeypatch):
    """What it leaves is what a run of so many rounds leaves, also where results of an earlier end lie about."""
    keep = loop.TrainingLoop._save_round

    def interrupted(self, played):
        keep(self, played)
        if played.round == 3:
            raise KeyboardInterrupt

    folder, wanted = tmp_path / "stopped", tmp_path / "wanted"
    shutil.copytree(finished[0], folder)
    with monkeypatch.context() as patched:
        patched.setattr(loop.TrainingLoop, "_save_round", interrupted)
        with pytest.raises(KeyboardInterrupt):
            resume(folder, rounds="9", printer=Quiet())
    assert json.loads((folder / run_folder.SUMMARY).read_text())["rounds"] == 2
    resume(folder, rounds="3", printer=Quiet())
    run(wanted, rounds=3)
    assert contents(folder) == contents(wanted)


def test_of_many_rounds_some_are_printed_and_all_are_kept(tmp_path):
    _, lines = run(tmp_path / "run", rounds=21, epochs=1, sweeps=3, round_sweeps=2, burn_in=0, chains=1, starts=1)
    shown = [line for line in lines if line.startswith("----")]
    assert shown == [f"---- round {number} of 21 ----" for number in (0, 1, 10, 20, 21)]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows if row["kind"] == "sweep"] == [r for r in range(22) for _ in range(2)] + [21]
    assert [row["round"] for row in rows if row["kind"] == "start"] == [0]


def test_resuming_what_does_not_fit_is_refused(finished, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(finished[0], folder)
    text = (folder / "config.toml").read_text()
    for line, other in [("seed = 0", "seed = 1"), ("latent-dim = 2", "latent-dim = 4"), ("lr = 0.001", "lr = 0.01")]:
        (folder / "config.toml").write_text(text.replace(line, other))
        with pytest.raises(UsageError, match=rf"config.toml: {other.split()[0]} .* the run was started with"):
            resume(folder, rounds="4", printer=Quiet())
    (folder / "config.toml").write_text(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"checksum": "other"}))
    with pytest.raises(UsageError, match="objects of digits are not those"):
        resume(folder, rounds="4", printer=Quiet())
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metrics.jsonl", "{}\n", "metrics.jsonl, line 1"),
        ("metrics.jsonl", '{"kind": "sweep", "round": "x"}\n', "metrics.jsonl, line 1"),
        ("manifest.json", '{"made_by": "mh-naming-game"}', "manifest.json is damaged"),
        ("manifest.json", '{"made_by": "mh-naming-game", "status": "done"}', "manifest.json is damaged"),
        ("manifest.json", "[" * 100_000, "manifest.json"),
        ("config.toml", "seed = ", "config.toml"),
        ("checkpoint.pt", {"seconds": None}, "checkpoint.pt"),
        ("checkpoint.pt", {"done": -5}, "checkpoint.pt"),
        ("checkpoint.pt", {"done": "x"}, "checkpoint.pt"),
        ("checkpoint.pt", {"components": []}, "checkpoint.pt"),
        ("checkpoint.pt", {"members": {}}, "checkpoint.pt"),
        ("checkpoint.pt", {"format": 99}, "format 99"),
    ],
)
def test_resuming_what_is_damaged_names_the_file(name, text, said, finished, tmp_path):
    import torch

    folder = tmp_path / "damaged"
    shutil.copytree(finished[0], folder)
    if name == "checkpoint.pt":
        torch.save(torch.load(folder / name, weights_only=True) | text, folder / name)
    else:
        (folder / name).write_text(text)
    before = (folder / "manifest.json").read_text()
    with pytest.raises(UsageError) as caught:
        resume(folder, rounds="3", printer=Quiet())
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert (folder / "manifest.json").read_text() == before


@pytest.mark.parametrize("missing", [True, False], ids=["lost", "zeros"])
@pytest.mark.parametrize("lost", ["summary.json", "signs.npz", "posterior.nc"])
def test_lost_results_are_played_again(lost, missing, finished, tmp_path):
    folder = tmp_path / "lost"
    shutil.copytree(finished[0], folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    (folder / lost).unlink() if missing else (folder / lost).write_bytes(bytes(400_000))
    printer = Quiet()
    resume(folder, printer=printer)
    assert any("repeating the round" in line for line in printer.lines)
    assert contents(folder) == contents(finished[0])


def test_lost_metrics_are_told(finished, tmp_path):
    folder = tmp_path / "lost"
    shutil.copytree(finished[0], folder)
    (folder / "metrics.jsonl").unlink()
    printer = Quiet()
    resume(folder, rounds="3", printer=printer)
    assert any("lacks rows" in line for line in printer.lines)


def test_a_second_ctrl_c_does_not_break_off_the_tidying_up(tmp_path, monkeypatch):
    import os
    import signal

    def interrupted(*_):
        raise KeyboardInterrupt

    update = run_folder.RunFolder.update_manifest

    def struck(self, **fields):
        os.kill(os.getpid(), signal.SIGINT)
        update(self, **fields)

    monkeypatch.setattr(loop.TrainingLoop, "epoch", interrupted)
    monkeypatch.setattr(run_folder.RunFolder, "update_manifest", struck)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs a system that can reserve room")
def test_a_disk_that_fills_up_under_the_posterior_is_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"posterior.nc could not be written: .*No space left") as caught:
        run(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("package", ["arviz", "h5netcdf", "scipy.optimize", "sklearn.metrics"])
def test_a_package_that_the_results_need_is_missed_before_training(package, tmp_path, monkeypatch):
    from mhng.experiment.runs import posterior
    from mhng.experiment.training import packages

    def broken(name):
        if name == package:
            raise ImportError("libhdf5.so: cannot open shared object file\nmore")

    for module in (posterior, packages):
        monkeypatch.setattr(module, "import_module", broken)
    monkeypatch.delitem(sys.modules, "arviz")
    name = package.split(".")[0]
    with pytest.raises(UsageError, match=rf"the package {name} cannot be imported: libhdf5\.so: cannot open shared"):
        run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
    def greedy(*_, **__):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: not enough memory: you tried")

    monkeypatch.setattr("mhng.experiment.training.ray_agents.build_members", greedy)
    with pytest.raises(RunError, match="not enough memory for these settings"):
        run(tmp_path / "run")


def test_a_loss_that_is_not_finite_fails_the_run_and_keeps_its_checkpoint(tmp_path):
    folder = tmp_path / "run"
    run(folder, rounds=0)
    import torch

    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    state["members"]["B"]["optimiser"]["param_groups"][0]["lr"] = 1e38
    torch.save(state, folder / "checkpoint.pt")
    with pytest.raises(RunError, match=r"round 1, agent B.*epoch 1, batch 2"):
        resume(folder, rounds="1", printer=Quiet())
    assert json.loads((folder / "manifest.json").read_text())["status"] == "failed"
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["done"] == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": 10**9}, "--limit"),
        ({"dataset": "mnist", "data_root": "nowhere"}, "--dataset mnist"),
        ({"likelihood": "identity"}, "--likelihood identity"),
        ({"dataset": "synthetic", "likelihood": "bernoulli"}, "--likelihood bernoulli"),
        ({"dataset": "synthetic", "likelihood": "gaussian", "network": "conv"}, "--network conv"),
        ({"dataset": "mnist-numbers", "network": "patches", "latent_dim": 3}, "--network patches requires a multiple"),
        ({"device": "cuda:99"}, "--device is cuda:99"),
        ({"device": "gpu"}, "--device"),
    ],
)
def test_bad_input_is_found_before_anything_is_written(changes, said, tmp_path):
    from pathlib import Path

    if "data_root" in changes:
        changes = changes | {"data_root": Path(changes["data_root"])}
    with pytest.raises(UsageError, match=said) as caught:
        run(tmp_path / "run", **changes)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_folder_with_a_run_is_refused_unless_told(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[0], folder)
    before = contents(folder)
    with pytest.raises(UsageError, match="--overwrite"):
        run(folder)
    assert contents(folder) == before
    run(folder, overwrite=True, rounds=0)
    assert contents(folder) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "no-com"},
        {"mode": "gibbs"},
        {"mode": "all"},
        {"dataset": "synthetic", "likelihood": "identity"},
        {"epochs": 0, "round_epochs": 0},
        {"signs": 1, "latent_dim": 1},
        {"limit": 1, "signs": 4},
        {"batch_size": 1000, "chains": 1, "sweeps": 1, "burn_in": 0},
    ],
    ids=str,
)
def test_unlike_runs_have_a_summary_and_pictures(changes, tmp_path, pictures):
    """test_resume.py makes a run with every value of every setting."""
    summary, lines = run(tmp_path / "run", **({"rounds": 1} | changes))
    json.dumps(summary, allow_nan=False)
    assert summary["log_evidence"] is not None
    if summary["mode"] in ("no-com", "gibbs"):
        assert summary["acceptance"] is None
    assert (summary["agents"]["A"]["elbo"] is None) == (changes.get("likelihood") == "identity")
    assert (tmp_path / "run" / "plots" / "game.png").exists()
    assert not any("could not be drawn" in line for line in lines)


def test_a_run_without_a_folder_makes_a_new_one_each_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        train(replace(SMALL, rounds=0), printer=Quiet())
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["com-digits-seed0", "com-digits-seed0-2"]


def test_signs_that_collapsed_are_warned_of(tmp_path):
    _, lines = run(tmp_path / "run", signs=2, limit=1, rounds=0)
    assert any("one sign to 100% of the objects" in line for line in lines)


def test_latents_that_collapsed_are_named_before_the_rounds(tmp_path):
    summary, lines = run(tmp_path / "run", lr=1e-9, jitter=0.0, likelihood="gaussian-fixed", noise=30.0)
    numbers = [number for number, line in enumerate(lines) if "the latents have collapsed" in line]
    assert len(numbers) == 2 and "--batch-size" in lines[numbers[0]]  # after round 0, and in the summary
    assert any("round 1 of" in line for line in lines[numbers[0] :])
    assert summary["agents"]["A"]["latent_nats"] < 1 and "collapsed" in summary["warnings"][-1]


@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
def test_labels_reach_nothing_but_the_scores(mode, tmp_path, monkeypatch):
    """With labels dealt out anew, and with none, everything but the scores is the same to the last bit."""

    def made(name, relabelled):
        def load(config, specs):
            prepared = load_objects(config, specs)
            objects = prepared.objects
            return prepared._replace(objects=replace(objects, labels=relabelled(objects.labels)))

        monkeypatch.setattr("mhng.experiment.training.train.load_objects", load)
        run(tmp_path / name, mode=mode)
        rows = [json.loads(line) for line in (tmp_path / name / run_folder.METRICS).read_text().splitlines()]
        aris = [row.pop("agents") for row in rows if "agents" in row]
        with np.load(tmp_path / name / run_folder.SIGNS) as arrays:
            signs = {key: arrays[key].tolist() for key in arrays.files if key.startswith("signs")}
        weights = torch.load(tmp_path / name / run_folder.CHECKPOINT, weights_only=True)["members"]
        tensors = [value for own in weights.values() for value in own["agent"].values()]
        return aris, rows, signs, tensors

    shuffled = np.random.default_rng(0).permutation
    truth, dealt, none = (
        made("truth", lambda y: y), made("dealt", shuffled), made("none", lambda y: None)
    )  # fmt: skip
    for other in (dealt, none):
        assert other[1:3] == truth[1:3] and other[0] != truth[0]
        assert all(torch.equal(a, b) for a, b in zip(other[3], truth[3], strict=True))
