"""`play RUN`: a game of finished agents in a run folder that every command reads, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mhng import RunError, UsageError, cli, load_run, train
from mhng.experiment.diagnostics.diagnose import build_report
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import resume
from tests.runs import made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three agents on a ring, trained for a moment."""
    return made(
        tmp_path_factory.mktemp("runs") / "ring",
        limit="60", signs="4", epochs="2", agents="3", views="0,30,60", meet="ring", sweeps="12", burn_in="2",
    )  # fmt: skip


@pytest.fixture(scope="module")
def played(source: Path) -> Path:
    assert cli.main(["play", str(source), "--chains", "4", "--sweeps", "30"]) == 0
    return source / "play-001"


def test_the_agents_are_those_of_the_run_and_the_run_is_left_alone(source: Path, played: Path) -> None:
    run, new = load_run(source), load_run(played)
    assert (new.status, new.round, new.config.chains, new.config.sweeps) == ("done", run.round, 4, 30)
    assert new.config.epochs == run.config.epochs and new.manifest["played_from"] == str(source)
    for name, agent in run.models.items():
        for one, other in zip(agent.parameters(), new.models[name].parameters(), strict=True):
            assert torch.equal(one, other)
        assert not np.array_equal(new.parameters[name].mu, run.parameters[name].mu)
        np.testing.assert_array_equal(new.latents(name), run.latents(name))
    assert new.posterior["posterior"]["log_p_z"].shape == (4, 28, 3)
    rows = [json.loads(line) for line in (played / run_folder.METRICS).read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"start", "sweep"} and {row["round"] for row in rows} == {run.round}
    assert len(rows) == 31
    files = {file.name for file in source.iterdir()} - {"plots", run_folder.LOCK}
    assert files == {
        "config.toml", "manifest.json", "metrics.jsonl", "signs.npz", "posterior.nc", "checkpoint.pt",
        "checkpoint.prev.pt", "summary.json", "play-001",
    }  # fmt: skip


def test_chains_are_separate_and_share_the_latents(played: Path) -> None:
    data = load_run(played).posterior
    assert len(np.unique(data["sample_stats"]["lp"].values[:, 0])) == 4
    assert data["observed_data"]["z"].shape == (3, 60, 4)


def test_every_command_reads_the_result(played: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(played, run)
    for command in (
        ["diagnose", str(run)],
        ["report", str(run)],
        ["corpus", str(run), "--draws", "all"],
        ["name", str(run), "--split", "rest", "--limit", "3"],
        ["recall", str(run), "--count", "1", "--pairs", "1"],
    ):
        assert cli.main(command) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "Played, without learning, by the agents of " in out and "4 chains of 28 draws" in out


def test_equal_plays_are_equal_and_a_played_run_is_played_beside_itself(source: Path, played: Path) -> None:
    again = load_run(played).play()
    assert again.path.parent == source and again.path.name.startswith("play-") and again.config.chains == 4
    assert again.manifest["played_from"] == str(source)
    one, other = (load_run(path).posterior["signs"]["signs"].values for path in (played, again.path))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "gibbs"},
        {"mode": "all", "chains": 2},
        {"mode": "no-com", "start": "prior"},
        {"mode": "variational"},
        {"listener_state": "speaker-sample"},
        {"meet": "together", "listener_state": "shared", "recursion": "ll:2", "acceptance": "numerator"},
        {"mode": "gibbs", "split_merge": 1, "start": "kmeans", "starts": 1, "thin": 2, "keep": "none"},
    ],
    ids=str,
)
def test_any_game_may_be_played(settings: dict[str, str], source: Path, tmp_path: Path) -> None:
    new = load_run(source).play(out=tmp_path / "new", sweeps=8, burn_in=2, **settings)
    assert new.status == "done" and new.path == tmp_path / "new"
    for name, value in settings.items():
        assert str(getattr(new.config, name)) == str(value)
    assert build_report(SavedRun(new.path))["settings"]["mode"] == new.config.mode


def test_a_rule_is_that_of_all_agents(tmp_path: Path) -> None:
    settings = {"dataset": "digits", "limit": 40, "epochs": 1, "rounds": 0, "sweeps": 6, "burn_in": 1, "device": "cpu"}
    run = train(**settings, agent={"B": {"acceptance": "binary", "lr": 0.01}}, run_dir=tmp_path / "run")
    kept = run.play(chains=1, starts=1)
    assert kept.config.per_agent["B"].acceptance == "binary"
    new = run.play(chains=1, starts=1, acceptance="mh")
    assert {own.acceptance for own in new.config.per_agent.values()} == {"mh"}
    assert new.config.per_agent["B"].lr == 0.01


def test_drawn_weights_and_latents_without_a_network(tmp_path: Path) -> None:
    run = load_run(
        made(tmp_path / "run", dataset="synthetic", likelihood="identity", limit="40", signs="5", rounds="0",
             weights="sticks:1.5")
    )  # fmt: skip
    new = run.play(chains=3, sweeps=10)
    assert new.status == "done" and new.scores["chains"] == 3


def test_diagnose_advises_to_play_where_agents_are_finished(source: Path, played: Path, tmp_path: Path) -> None:
    together = load_run(source).play(out=tmp_path / "one", meet="together", chains=1)
    steps = build_report(SavedRun(together.path))["next"]
    assert f"play {tmp_path / 'one'} --chains 4" in steps
    # A run of play is played again with its own settings.
    assert any(step.startswith(f"play {played} --") for step in build_report(SavedRun(played))["next"])
    (together.path / run_folder.CHECKPOINT).unlink()
    (together.path / run_folder.PREVIOUS).unlink(missing_ok=True)
    assert "--chains 4" in build_report(SavedRun(together.path))["next"]


# -- what is refused, before anything is written -------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 3}, "play does not support --epochs: the agents and their data are those of"),
        ({"signs": 7}, "play does not support --signs"),
        ({"seed": 1}, "play does not support --seed"),
        ({"chans": 3}, "unknown setting 'chans'; did you mean chains?"),
        ({"chains": 0}, "chains is 0; expected 1 or more"),
        ({"sweeps": 2}, "--burn-in is 2; expected less than --sweeps, 2"),
        ({"split_merge": 1}, "--split-merge 1 requires --mode gibbs"),
        ({"recursion": "ll:2"}, "--recursion ll:2 requires --meet together; --meet is ring"),
        ({"meet": "together", "listener_state": "speaker-sample"}, "--listener-state speaker-sample with 3 agents"),
        ({"device": "cuda:77"}, "--device is cuda:77, but the number of CUDA devices is"),
    ],
)
def test_unsuitable_settings_are_refused(settings: dict[str, object], said: str, source: Path) -> None:
    before = sorted(source.rglob("*"))
    with pytest.raises(UsageError) as caught:
        load_run(source).play(**settings)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(source.rglob("*")) == before


def test_the_graph_of_the_last_round_is_played_unless_another_is_given(tmp_path: Path) -> None:
    run = load_run(
        made(tmp_path / "run", limit="40", signs="3", epochs="1", agents="3", views="0,30,60", meet="ring",
             meet_later="1=complete", newcomers="take")
    )  # fmt: skip
    last = run.play(chains=1)
    assert [graph.text for _, graph in last.config.graphs] == ["complete"] and last.config.newcomers == "keep"
    assert last.manifest["edges"] == run.manifest["edges"][1:]
    new = run.play(mode="gibbs", meet="together")
    assert [graph.text for _, graph in new.config.graphs] == ["together"]


def test_unsuitable_folders_and_runs_are_refused(source: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(source, run, ignore=shutil.ignore_patterns("play-*"))
    for out in (run, tmp_path):
        with pytest.raises(UsageError, match=r"--out .* is, or holds, the run whose agents play"):
            load_run(run).play(out=out, overwrite=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"--out .*full is not empty; give another folder, or --overwrite$"):
        load_run(run).play(out=tmp_path / "full")
    with pytest.raises(UsageError, match=r"--out .* holds no manifest.json of a run"):
        load_run(run).play(out=tmp_path / "full", overwrite=True)
    new = load_run(run).play(out=tmp_path / "new", chains=1)
    with pytest.raises(UsageError, match=r"--resume .*new: play made this run, without learning; resume .*run"):
        resume(new.path, rounds="9")
    manifest = json.loads((run / run_folder.MANIFEST).read_text())
    (run / run_folder.MANIFEST).write_text(json.dumps(manifest | {"status": "interrupted"}))
    with pytest.raises(UsageError, match="is 'interrupted'; play requires a finished run"):
        load_run(run).play()
    assert not (run / "play-001").exists()


def test_a_game_that_fails_leaves_a_folder_that_says_so(source: Path, tmp_path: Path) -> None:
    run = load_run(source)
    for agent in run.models.values():
        for weights in agent.parameters():
            weights.fill_(torch.nan)
    with pytest.raises(RunError, match="agent A: the latents are not finite"):
        run.play(out=tmp_path / "new")
    assert load_run(tmp_path / "new").status == "failed"
