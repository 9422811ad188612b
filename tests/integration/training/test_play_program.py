"""`play FILE.py:NAME`: a game of Pyro programs is an ordinary run folder."""

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mhng import cli, load_run, train
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.validation import PROGRAM_SETTINGS
from mhng.experiment.training.game_file import load_game
from tests.integration.diagnostics.test_prove import GAME

SMALL = ["--sweeps", "12", "--burn-in", "2", "--chains", "2"]
WITH_BELIEFS = """
def spread():
    players = {"seer": ProgramPlayer(seen, X, 1.0), "hearer": ProgramPlayer(seen, Y)}
    return NamingGame(players)

def alone():
    return NamingGame({"A": ProgramPlayer(seen, X)})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs")
    (path / "games.py").write_text(GAME + WITH_BELIEFS)
    assert cli.main(["play", f"{path}/games.py:spread", "--out", str(path / "run"), "--seed", "3", *SMALL]) == 0
    return path


def test_the_run_holds_the_samples_of_the_game(folder):
    run = load_run(folder / "run", trust_plugins=True)
    assert run.status == "done" and run.agents == ("seer", "hearer") and run.config.signs == 3
    samples = load_game(f"{folder}/games.py:spread").play(2, 10, warmup=2, seed=3)
    np.testing.assert_array_equal(run.draws("signs")[:, :, 0], samples["w"])
    np.testing.assert_array_equal(run.posterior["beliefs"]["seer.theta"], samples["seer.theta"])
    np.testing.assert_array_equal(run.signs["hearer"], samples["w"][0, -1])
    assert run.draws("acceptance_rate").min() >= 0 and run.draws("acceptance_rate").max() <= 1
    joint = run.draws("log_p_z").sum(-1) + np.nansum(run.draws("log_p_phi"), -1)
    np.testing.assert_allclose(joint, run.draws("log_evidence"))
    prior = np.log([0.6, 0.3, 0.1])[samples["w"]].sum(-1)
    np.testing.assert_allclose(run.draws("lp") - run.draws("log_evidence"), prior, rtol=1e-5)
    assert all(type(count) is int for row in run.metrics for count in row["accepted"].values())
    assert len(run.history.sweeps["kappa"]) == 12 and run.scores["kappa"] is not None


@pytest.mark.parametrize(
    "words", [["diagnose"], ["diagnose", "--json"], ["report"], ["corpus"], ["corpus", "--draws", "all"]], ids=" ".join
)
def test_commands_read_the_run(folder, capsys, words):
    run = str(folder / "run")
    assert cli.main([words[0], run, *words[1:]]) == 2
    assert "--trust-plugins" in capsys.readouterr().err
    assert cli.main([words[0], run, *words[1:], "--trust-plugins"]) == 0
    out = capsys.readouterr().out
    if words == ["corpus"]:
        assert [json.loads(line)["speaker"] for line in out.splitlines()] == ["seer"] * 2 + ["hearer"] * 2
    if words == ["diagnose"]:
        assert "Exact: the chains sample the joint posterior." in " ".join(out.split())
    if words == ["report"]:
        page = (folder / "run" / "report.html").read_text()
        assert "games.py" in page and "Latent space" not in page and "Confusion" not in page


@pytest.mark.parametrize("words", [["name", "--split", "test"], ["recall"], ["play"]], ids=" ".join)
def test_commands_that_need_agents_say_so(folder, capsys, words):
    assert cli.main([words[0], str(folder / "run"), *words[1:], "--trust-plugins"]) == 2
    assert "is a run of Pyro programs" in capsys.readouterr().err


def test_the_settings_repeat_the_run(folder, tmp_path, capsys):
    config = ["--config", str(folder / "run" / "config.toml"), "--run-dir", str(tmp_path / "again")]
    assert cli.main(["train", *config]) == 2
    assert "program is" in capsys.readouterr().err and not (tmp_path / "again").exists()
    assert cli.main(["train", *config, "--trust-plugins"]) == 0
    first, again = (load_run(path, trust_plugins=True) for path in (folder / "run", tmp_path / "again"))
    np.testing.assert_array_equal(first.draws("lp"), again.draws("lp"))
    assert cli.main(["train", "--resume", str(tmp_path / "again"), "--trust-plugins"]) == 2
    assert "does not resume; play it again" in capsys.readouterr().err


def test_the_folder_holds_settings_of_the_game_only(folder):
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["dataset"] == "games.py:spread" and summary["rounds"] == 0
    settings = tomllib.loads((folder / "run" / "config.toml").read_text())
    assert set(settings) <= {name.replace("_", "-") for name in PROGRAM_SETTINGS} and settings["sweeps"] == 12
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert set(settings) <= set(manifest["settings"]) and "dataset" not in manifest["settings"]


def test_the_commands_of_the_docs_run(tmp_path, monkeypatch, capsys):
    """docs/programs.md: the first program in a file, and its commands, with fewer sweeps and chains."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "programs.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0])
    commands = [shlex.split(line)[2:] for line in re.findall(r"python cli.py .*mine.py:game.*", text)]
    short = {"400": "6", "200": "2"}
    assert [words[0] for words in commands] == ["prove", "play", "train"]
    for words in commands:
        extra = ["--chains", "60", "--sweeps", "1"] if words[0] == "prove" else ["--chains", "2"]
        assert cli.main([short.get(word, word) for word in words] + extra) == 0
    assert json.loads(Path("runs/mine/summary.json").read_text())["dataset"] == "mine.py:game"
    assert "the game has its law (by simulation" in capsys.readouterr().out


def test_train_in_python(folder, tmp_path):
    run = train(program=f"{folder}/games.py:game", sweeps=4, burn_in=0, run_dir=tmp_path / "run")
    assert run.agents == ("A", "B") and np.isnan(run.draws("log_p_phi")).all()


def test_a_dry_run_writes_nothing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = (folder / "run" / "summary.json").read_bytes()
    words = ["train", "--program", f"{folder}/games.py:game", "--dry-run", "--overwrite"]
    assert cli.main([*words, "--run-dir", str(folder / "run")]) == 0
    assert (folder / "run" / "summary.json").read_bytes() == before and not any(tmp_path.iterdir())
    out = capsys.readouterr().out
    assert "Agents: A, B\nObjects: " in out and "sweeps = 50" in out and "nothing was written" in out


def test_a_damaged_file_of_settings_is_named_by_its_path(folder, tmp_path, capsys):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (run / "config.toml").write_text("sweeps = 0\n")
    assert cli.main(["corpus", str(run)]) == 2
    assert f"corpus: {run}/config.toml: sweeps is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["games.py:alone"], "games.py:alone has one agent; play requires two or more"),
        (["games.py:none"], "games.py has no 'none'"),
        (["games.py"], "games.py: expected FILE.py:NAME"),
        (["games.py:game", "--mode", "all"], "a game of Pyro programs requires --mode com; --mode is all"),
        (["games.py:game", "--starts", "3"], "does not support --starts"),
        (["games.py:game", "--recursion", "exact"], "--recursion is exact, but"),
        (["games.py:game", "--listener-state", "chain"], "--listener-state is chain, but"),
        (["games.py:game", "--sweeps", "3", "--burn-in", "3"], "--burn-in is 3; expected less than --sweeps, 3"),
        (["games.py:game", "--data", "x"], "--data-root and --data require a run folder"),
        (["run", "--seed", "1"], "--seed requires FILE.py:NAME"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folder)
    out = tmp_path / "out"
    assert cli.main(["play", *words, "--out", str(out)]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not out.exists()


@pytest.mark.parametrize("words", [["play", "{}", "--out"], ["train", "--program", "{}", "--run-dir"]], ids=" ".join)
def test_a_folder_that_exists_names_the_flag(folder, capsys, words):
    game = f"{folder}/games.py:game"
    assert cli.main([*(game if word == "{}" else word for word in words), str(folder / "run"), *SMALL]) == 2
    err = capsys.readouterr().err
    assert f"{words[-1]} {folder}/run is not empty; give another folder, or --overwrite\n" in err


@pytest.mark.parametrize("source", ["flag", "file", "python", "compare"])
def test_a_state_other_than_that_of_the_game_is_refused(folder, tmp_path, capsys, source):
    """Also if it is the default of `train`."""
    game, out = f"{folder}/games.py:game", tmp_path / "out"
    file = tmp_path / "settings.toml"
    file.write_text(f'program = "{game}"\nlistener-state = "chain"\n')
    flags = ["--program", game, "--listener-state", "chain"]
    if source == "python":
        with pytest.raises(UsageError) as raised:
            train(program=game, listener_state="chain", run_dir=out)
        message = f"{raised.value}\n"
    else:
        words = {
            "flag": ["train", *flags, "--run-dir", str(out)],
            "file": ["train", "--config", str(file), "--trust-plugins", "--run-dir", str(out)],
            "compare": ["compare", "--out", str(out), "--seeds", "0", "--jobs", "1", "--", *flags],
        }
        assert cli.main(words[source]) == 2
        message = capsys.readouterr().err
    assert (
        message.count("\n") == 1 and f"--listener-state is chain, but {game} has shared; leave the flag out" in message
    )
    assert not list(tmp_path.glob("out/*/config.toml"))


def test_compare_plays_several_seeds(folder, tmp_path, capsys):
    game = ["--", "--program", f"{folder}/games.py:game", "--sweeps", "6", "--burn-in", "1"]
    command = ["compare", "--out", str(tmp_path / "grid"), "--seeds", "0-1", "--jobs", "1"]
    assert cli.main([*command, *game]) == 0
    printed = capsys.readouterr()
    assert "| com" in printed.out and "reference methods" not in printed.err
    runs = sorted(Path(path).parent.name for path in (tmp_path / "grid").glob("*/summary.json"))
    assert runs == ["com-seed0", "com-seed1"]
    shutil.rmtree(tmp_path / "grid" / "com-seed1")
    assert cli.main([*command, *game]) == 0
    assert (tmp_path / "grid" / "com-seed1" / "summary.json").is_file()
