"""`load_run`: a run folder in a notebook says what the commands say of it, and loads nothing before it is asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

import mhng
from mhng import cli, load_run
from mhng.experiment.api import LoadedRun
from mhng.experiment.data.builtin import registry as builtin_registry
from mhng.experiment.diagnostics.diagnose import diagnose
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.recall import evaluate
from mhng.experiment.settings.schema import Config, key
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import train as train_config
from tests.runs import all_outputs

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(digits_run: Path) -> LoadedRun:
    return load_run(digits_run)


def everything(run: Path) -> None:
    """Ask for all parts of a run."""
    loaded = load_run(run)
    for part in ("signs", "scores", "history", "posterior", "objects", "models"):
        getattr(loaded, part)


def said_of(run: Path) -> str:
    """The one line of the error in which a damaged run ends."""
    with pytest.raises(UsageError) as caught:
        everything(run)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is in the files ----------------------------------------------------------------------------


def test_it_holds_what_the_files_hold(run: LoadedRun, digits_run: Path) -> None:
    arrays = np.load(digits_run / "signs.npz")
    assert run.agents == ("A", "B") == tuple(run.signs)
    for name in run.agents:
        np.testing.assert_array_equal(run.signs[name], arrays[f"signs_{name}"])
    assert run.labels is not None
    np.testing.assert_array_equal(run.labels, arrays["label"])
    np.testing.assert_array_equal(run.index, arrays["index"])
    assert run.scores == json.loads((digits_run / "summary.json").read_text())
    assert (run.settings["latent-dim"], run.settings["views"], run.status) == (4, (0.0, 45.0), "done")
    assert run.posterior["signs"]["signs"].shape == (1, 5, 2, 200)
    assert run.objects.count == 200 and run.objects.class_names[3] == "3"


def test_its_history_is_a_table_of_every_epoch_and_sweep(run: LoadedRun) -> None:
    epochs, sweeps = run.history
    assert {len(column) for column in epochs.values()} == {2 * 61}
    assert {len(column) for column in sweeps.values()} == {5 + 6}
    of_b = epochs["agent"] == "B"
    assert epochs["epoch"][of_b].tolist() == [*range(1, 61), 1] and epochs["round"][of_b].tolist() == [0] * 60 + [1]
    np.testing.assert_allclose(epochs["loss"], epochs["kl"] - epochs["reconstruction"])
    assert sweeps["ari_B"][-1] == run.scores["agents"]["B"]["ari"] and sweeps["kappa"][-1] == run.scores["kappa"]
    np.testing.assert_allclose(sweeps["acceptance_A->B"] * 200, sweeps["accepted_A->B"])


def test_its_repr_is_one_line_that_says_what_it_is(run: LoadedRun, digits_run: Path) -> None:
    text = repr(run)
    assert text.count("\n") == 0 and len(text) < 300
    kappa = f"kappa {run.scores['kappa']:.3f}"
    for part in (str(digits_run), "done", "mode com", "digits", "10 signs", "200 objects", "round 1 of 1", kappa):
        assert part in text


def test_nothing_heavy_is_loaded_before_it_is_asked_for(digits_run: Path) -> None:
    code = (
        "import sys\n"
        "def heavy(): return {'torch', 'pyro', 'sklearn', 'arviz', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "import mhng; assert not heavy() and 'numpy' not in sys.modules\n"
        "run = mhng.load_run(sys.argv[1]); repr(run), run.signs, run.labels, run.scores, run.history\n"
        "assert not heavy(), heavy()\n"
        "run.posterior; assert 'torch' not in sys.modules and 'arviz' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(digits_run)], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- agents ------------------------------------------------------------------------------------------


def test_latents_and_components_are_those_that_the_signs_are_said_of(run: LoadedRun, digits_run: Path) -> None:
    """By scipy's density, not ours: the sign that is most probable of a percept is the one the agent says."""
    from scipy.stats import multivariate_normal

    images = run.objects.views[0].numpy()
    named = run.name(images)
    for name in run.agents:
        z, (means, covariances) = run.latents(name), run.components(name)
        assert z.shape == (200, 4)
        laws = [multivariate_normal(mu, cov) for mu, cov in zip(means, covariances, strict=True)]
        table = np.stack([law.logpdf(z) for law in laws], axis=1)
        np.testing.assert_array_equal(named.signs[name], table.argmax(1))
    trained = SavedRun(digits_run)
    saw = trained.models["B"].encoder(trained.objects.views[1])[0]
    np.testing.assert_allclose(run.latents("B"), saw.detach().double(), atol=1e-6)


def test_names_are_those_of_the_command(
    run: LoadedRun, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = builtin_registry.digits().images[200:212, 0]
    np.savez(tmp_path / "x.npz", images=images)
    assert (
        cli.main(["name", str(digits_run), "--images", str(tmp_path / "x.npz"), "--out", str(tmp_path / "y.jsonl")])
        == 0
    )
    rows = [json.loads(line) for line in (tmp_path / "y.jsonl").read_text().splitlines()]
    named = run.name(images)
    assert [row["sign_B"] for row in rows] == named.signs["B"].tolist()
    assert [row["joint_sign"] for row in rows] == named.joint.tolist()
    np.testing.assert_allclose([row["probability_A"] for row in rows], named.probability["A"], atol=1e-6)
    np.testing.assert_allclose([row["joint_probability"] for row in rows], named.joint_probability, atol=1e-6)
    assert capsys.readouterr().err == ""
    # Bytes, channels and torch's tensors say the same; another size is told of.
    whole = (images * 255).round().astype(np.uint8)
    for same in (whole, whole[:, None], np.repeat(whole[..., None], 3, axis=-1), torch.from_numpy(whole)):
        np.testing.assert_array_equal(run.name(same).joint, run.name(whole / 255).joint)
    assert "(such as 3x8x8) are converted" in capsys.readouterr().err
    run.name(np.kron(images, np.ones((2, 2))))
    assert "(such as 1x16x16) are converted" in capsys.readouterr().err


def test_recall_and_imagination_are_those_of_the_command(run: LoadedRun, digits_run: Path) -> None:
    _, gallery = evaluate(SavedRun(digits_run), temperature=1, count=2, pairs=2)
    for row, k in enumerate(gallery.shown):
        for name, (mean, draws) in run.recall(int(k), draws=2).items():
            assert mean.shape == (1, 8, 8) and draws.shape == (2, 1, 8, 8)
            shown = gallery.recalled[name][row]
            np.testing.assert_allclose(mean[0], shown[0], atol=1e-6)
            np.testing.assert_allclose(draws[:, 0], shown[1:], atol=1e-6)
    said = run.name(run.objects.views[0].numpy()).signs["A"]  # what A says of what it sees
    drawn = run.imagine("A", "B", temperature=1)
    assert drawn.shape == (200, 1, 8, 8)
    for row, k in enumerate(gallery.shown):
        of_k = drawn[said == k][:2, 0]
        np.testing.assert_allclose(of_k, gallery.imagined["A->B"][row, : len(of_k)], atol=1e-6)
    np.testing.assert_array_equal(run.imagine("A", "B", objects=[7, 3], temperature=1), drawn[[7, 3]])
    np.testing.assert_allclose(
        run.imagine("A", "B", objects=[5])[0], run.recall(said[5], draws=0)["B"].mean, atol=1e-6
    )


def test_a_run_of_vectors_has_all_but_images_to_name(vectors_run: Path) -> None:
    run = load_run(vectors_run)
    assert run.latents("A").shape == (20, 4) and run.recall(2, draws=3)["B"].draws.shape == (3, 4)
    assert "objects" in repr(run) and run.history.epochs == {}  # nothing to learn
    with pytest.raises(UsageError, match="cannot name images"):
        run.name(np.zeros((2, 8, 8)))


# -- verdicts and figures ------------------------------------------------------------------------------


def test_its_diagnosis_is_that_of_the_command(
    run: LoadedRun, digits_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run.diagnose()
    diagnose(digits_run, as_json=True, plots=False)
    assert report == json.loads(capsys.readouterr().out)
    diagnose(digits_run, plots=False)
    assert repr(report) == str(report) == capsys.readouterr().out.rstrip("\n")


FIGURES = {
    "plot_training": ("loss", ()), "plot_game": ("kappa", ()), "plot_confusion": ("agent A: ", ()),
    "plot_monitors": ("log joint (nats)", ()), "plot_components": ("relabelled sign", ()),
    "plot_acceptance": ("A->B", ()), "plot_co_assignment": ("objects sorted by sign", ()),
    "plot_chains": ("chain", ()), "plot_recall": ("sign 0", ("A",)),
    "plot_cross_recall": ("B speaks, A decodes", ()), "plot_latents": ("component 1", ("B",)),
}  # fmt: skip

# Figures of communities and of sentences
OTHERS = {"plot_community", "plot_distance", "plot_evidence", "plot_imagined", "plot_vocabulary"}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_its_figures_are_those_of_the_commands_and_no_file_is_written(run: LoadedRun, digits_run: Path) -> None:
    methods = {name for name in dir(run) if name.startswith("plot_")}
    assert methods == {*FIGURES, *OTHERS}
    before = {file: file.stat().st_mtime_ns for file in digits_run.rglob("*")}
    for name, (text, arguments) in FIGURES.items():
        figure = getattr(run, name)(*arguments)
        assert isinstance(figure, Figure) and text in texts(figure), name
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert texts(run.plot_latents("A", by="class")).startswith("0\n1\n2\n")
    assert {file: file.stat().st_mtime_ns for file in digits_run.rglob("*")} == before


def test_figures_of_a_community(tmp_path: Path) -> None:
    run = mhng.train(
        dataset="synthetic", likelihood="identity", agents=4, meet="ring", limit=30, signs=3, rounds=0, sweeps=8,
        burn_in=2, starts=1, device="cpu", run_dir=tmp_path / "run",
    )  # fmt: skip
    assert "kappa" in texts(run.plot_community()) and "distance" in texts(run.plot_distance())
    with pytest.raises(UsageError, match="has no images to recall"):
        run.plot_recall("A")


def test_what_cannot_be_drawn_is_one_line(run: LoadedRun, vectors_run: Path) -> None:
    for ask, message in (
        (run.plot_community, "has no picture community, which requires three agents or more"),
        (run.plot_distance, "has no picture distance, which requires --meet"),
        (lambda: run.plot_latents("C"), "no agent 'C'"),
        (lambda: run.plot_recall("C"), "no agent 'C'"),
        (lambda: run.plot_latents("A", by="colour"), "by is 'colour'; expected sign or class"),
        (lambda: run.plot_latents("A", kind="umap"), "kind is 'umap'; expected pca or tsne"),
        (load_run(vectors_run).plot_cross_recall, "has no images to recall"),
    ):
        with pytest.raises(UsageError, match=message):
            ask()


# -- refusals ----------------------------------------------------------------------------------------


def test_what_cannot_be_asked_is_refused_in_one_line(run: LoadedRun) -> None:
    dark = np.zeros((3, 8, 8))
    for asked, said in (
        (lambda: run.latents("C"), "no agent 'C'; the run's agents are A, B"),
        (lambda: run.imagine("A", "b"), "no agent 'b'"),
        (lambda: run.imagine("A", "B", objects=[200]), "positions from 0 to 199"),
        (lambda: run.imagine("A", "B", objects=["a"]), "positions from 0 to 199"),
        (lambda: run.name([[1.0, 2.0], [3.0]]), "one array"),
        (lambda: run.recall(10), "sign is 10; expected 0 to 9"),
        (lambda: run.recall(-1), "sign is -1"),
        (lambda: run.play(out=b"x"), "out is b'x'; expected a path in quotes"),
        (lambda: run.recall(0, draws=-1), "draws is -1"),
        (lambda: run.recall(0, draws=2.5), "draws is 2.5; expected a whole number"),
        (lambda: run.recall(0.5), "sign is 0.5; expected a whole number"),  # type: ignore[arg-type]
        (lambda: run.recall("3"), "sign is '3'; expected a whole number"),
        (lambda: run.recall(0, temperature="1"), "temperature is '1'; expected 0 to 100"),
        (lambda: run.imagine("A", "B", objects=[[0, 1]]), "objects must be positions"),
        (lambda: run.resume(rounds=2.9), "rounds is 2.9; expected a whole number"),
        (lambda: run.recall(0, temperature=float("nan")), "temperature is nan; expected 0 to 100"),
        (lambda: run.name(dark[0]), "their shape is (8, 8)"),
        (lambda: run.name(dark - 1), "images[0] has -1"),
        (lambda: run.name(dark.astype(int)), "dtype is int64"),
        (lambda: run.name(dark[:0]), "empty"),
        (lambda: run.name(np.where(np.arange(3)[:, None, None] == 2, 200.0, dark)), "images[2] has 200.0"),
    ):
        with pytest.raises(UsageError) as caught:
            asked()
        assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(AttributeError, match="load_runs"):
        mhng.load_runs  # noqa: B018


def test_a_damaged_run_says_which_file(digits_run: Path, tmp_path: Path) -> None:
    assert "no such folder" in said_of(tmp_path / "nowhere")
    assert "is not a run" in said_of(digits_run / "plots")
    for name, contents, said in (
        ("signs.npz", b"PK", "signs.npz cannot be read"),
        ("summary.json", b"{", "summary.json is not a JSON object"),
        ("metrics.jsonl", b"{}\nx\n", "metrics.jsonl, line 2"),
        ("posterior.nc", b"CDF", "posterior.nc cannot be read"),
        ("checkpoint.pt", b"x", "checkpoint.pt cannot be read"),
        ("config.toml", b"signs = 'ten'", "signs is 'ten'; expected a whole number"),
        ("config.toml", b"signs = 2", "signs_A must hold 200 signs from 0 to 1"),
    ):
        copy = tmp_path / "run"
        shutil.copytree(digits_run, copy)
        (copy / name).write_bytes(contents)
        (copy / "checkpoint.prev.pt").unlink()
        assert said in said_of(copy)
        shutil.rmtree(copy)


def test_an_unfinished_run_shows_its_history_and_says_what_it_lacks(digits_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(digits_run, copy)
    for name in ("signs.npz", "summary.json", "posterior.nc"):
        (copy / name).unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    run = load_run(copy)
    assert "interrupted" in repr(run) and "no results yet" in repr(run)
    assert len(run.history.sweeps["kappa"]) == 11
    for part in ("signs", "labels", "scores", "posterior", "objects"):
        with pytest.raises(UsageError, match="the last round writes it, and the status of the run is 'interrupted'"):
            getattr(run, part)


# -- the README --------------------------------------------------------------------------------------


def test_the_readmes_lines_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (HOME / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    code = block.split("```")[0]
    assert "epochs=15, rounds=5" in code
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code.replace("epochs=15, rounds=5", "epochs=1, rounds=1"), "README.md", "exec"), names)
    assert isinstance(names["run"], LoadedRun)


# -- train -------------------------------------------------------------------------------------------

SMALL = {
    "dataset": "digits", "limit": 60, "signs": 3, "latent_dim": 2, "epochs": 2, "rounds": 1, "sweeps": 4,
    "burn_in": 1, "starts": 1, "chains": 1, "device": "cpu",
}  # fmt: skip


def test_train_by_keyword_is_train_by_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, object]] = []
    agent = {"B": {"likelihood": "gaussian"}}
    run = mhng.train(**SMALL, run_dir=tmp_path / "a", agent=agent, prior={"W": 0.5}, callbacks=[rows.append])
    assert capsys.readouterr().out == ""
    assert isinstance(run, LoadedRun) and run.scores["rounds"] == 1
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    flags += ["--agent", "B: --likelihood gaussian", "--prior", "W=0.5", "--run-dir", str(tmp_path / "b")]
    assert cli.main(["train", *flags]) == 0
    for name in ("metrics.jsonl", "config.toml"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    assert rows == [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    monkeypatch.chdir(tmp_path)
    folders = [mhng.train(**SMALL | {"epochs": 0, "rounds": 0}).path for _ in range(2)]
    assert [folder.name for folder in folders] == ["com-digits-seed0", "com-digits-seed0-2"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "comm"}, "mode is 'comm'; expected one of com, no-com, all, gibbs, variational; did you mean com?"),
        ({"signs": 0}, "signs is 0; expected 1 or more"),
        ({"latent_dims": 3}, "unknown setting 'latent_dims'; did you mean latent_dim?"),
        ({"seed": "x"}, "seed is 'x'; expected a whole number"),
        ({"agent": {"B": {"network": "convv"}}}, "agent['B']: network is 'convv'"),
        ({"burn_in": 9, "sweeps": 9}, "--burn-in"),
        ({"mode": True}, "mode is True; expected one of com, no-com, all, gibbs, variational"),
        ({"K": 3}, "unknown setting 'K'; did you mean signs?"),
        ({"zzzz": 3}, "unknown setting 'zzzz'; python cli.py train --help lists the settings"),
        ({"run_dir": ""}, "run_dir is ''; expected a path"),
        ({"data": np.zeros((2, 3))}, "data is of type ndarray; expected a path; numpy.savez('mine.npz', features=x"),
        ({"config": "nowhere.toml"}, "--config nowhere.toml: No such file"),
        ({"preset": "quik"}, "--preset is 'quik'; expected one of quick, paper; did you mean quick?"),
        ({"resume": "runs/x"}, "load_run(FOLDER).resume() continues a run"),
        ({"callbacks": print}, "callbacks is <built-in function print>; expected a list of functions"),
        ({"callbacks": [3]}, "callbacks is [3]; expected a list of functions"),
        ({"device": torch.device("meta")}, "--device is 'meta'; expected auto, cpu"),
        ({"likelihood": type("Mine", (), {"__module__": "__main__"})}, "write it to a file my_parts.py"),
        ({"likelihood": torch.nn.Linear}, "--likelihood torch.nn.modules.linear:Linear: 'Linear' lacks mean"),
    ],
)
def test_a_bad_keyword_is_one_line_and_writes_nothing(
    settings: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mhng.UsageError) as caught:
        mhng.train(**SMALL | settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"mode": "comm"}, "did you mean com?"), ({"signs": 0}, "signs is 0"), ({"lr": "x"}, "lr")],
)
def test_a_config_that_was_built_in_python_is_checked(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mhng.UsageError, match=re.escape(message)):
        train_config(Config(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_settings_is_overridden_by_keywords(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        "".join(f"{key(name)} = {value!r}\n" for name, value in SMALL.items()), encoding="utf-8"
    )
    run = mhng.train(config=tmp_path / "small.toml", rounds=0, run_dir=tmp_path / "run")
    assert {name: getattr(run.config, name) for name in SMALL} == SMALL | {"rounds": 0}


def test_a_preset_is_overridden_by_keywords(tmp_path: Path) -> None:
    run = mhng.train(**SMALL, preset="quick", run_dir=tmp_path / "run")
    assert (run.config.limit, run.config.rounds, run.config.round_epochs) == (60, 1, 1)
    assert "preset quick" in run.manifest["notes"][0]


def test_a_class_is_its_name_and_can_be_loaded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ones_own.py").write_text("from mhng.models.likelihoods import Gaussian as Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    kind = import_module("ones_own").Mine
    for likelihood in (kind, "ones_own:Mine"):
        run = mhng.train(**SMALL | {"rounds": 0}, likelihood=likelihood, run_dir=tmp_path / str(likelihood))
        assert run.latents("A").shape == (60, 2)


def test_warnings_are_printed_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = mhng.train(**SMALL | {"rounds": 0}, run_dir=tmp_path / "run")
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[0].startswith("note: --sweeps 4, --burn-in 1 and --thin 1 leave 3 draws")
    run.play(sweeps=8, burn_in=1)
    out, err = capsys.readouterr()
    assert out == "" and all(line.startswith("warning: ") for line in err.splitlines())
    run.play(sweeps=8, burn_in=1, verbose=True)
    assert "iteration 8/8" in capsys.readouterr().out


class StopError(Exception):
    """What a callback raises to stop a run."""


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "when", [{"kind": "epoch", "round": 0, "agent": "B", "epoch": 1}, {"kind": "sweep", "round": 0, "sweep": 1}]
)
def test_a_run_that_a_callback_ends_loses_nothing(
    when: dict[str, object], error: type[BaseException], tmp_path: Path
) -> None:
    whole = mhng.train(**SMALL, run_dir=tmp_path / "whole")

    def stop(row: dict[str, object]) -> None:
        if when.items() <= row.items():
            raise error

    with pytest.raises(error):
        mhng.train(**SMALL, run_dir=tmp_path / "run", callbacks=[stop])
    stopped = mhng.load_run(tmp_path / "run")
    assert stopped.status == ("failed" if error is StopError else "interrupted")
    before, rows = stopped.metrics, list[dict[str, object]]()
    run = stopped.resume(callbacks=[rows.append])
    assert run.status == "done" and all_outputs(run.path) == all_outputs(whole.path)
    assert before + rows == whole.metrics and before[-1]["round"] == 0


def test_a_callback_ends_a_run_early_with_results(tmp_path: Path) -> None:
    def enough(row: dict[str, Any]) -> None:
        if row["kind"] == "sweep" and row["round"] == 1:
            raise StopError

    with pytest.raises(StopError):
        mhng.train(**SMALL | {"rounds": 3}, run_dir=tmp_path / "run", callbacks=[enough])
    run = mhng.load_run(tmp_path / "run").resume(rounds=1)
    assert (run.status, run.scores["rounds"], run.config.rounds) == ("done", 1, 1)
    with pytest.raises(mhng.UsageError, match="the run is complete"):
        run.resume()
