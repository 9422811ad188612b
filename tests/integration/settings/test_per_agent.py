"""Agents that differ: settings of their own from flags and tables, through a run, and back."""

import json

import pytest

from cli import main
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import plain, resolve, to_flags, to_toml
from mhng.experiment.settings.parsing import read_settings
from tests.runs import contents, made

OWN = ["B: --network conv --latent-dim 3", "A: --mixture tied --lr 2e-3"]


def write(folder, text):
    file = folder / "run.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_agent_has_its_own_settings_and_else_those_of_the_run():
    config = resolve({"agent": OWN, "latent_dim": "5"})
    a, b = (config.per_agent[name] for name in "AB")
    assert (a.network, a.latent_dim, a.mixture, a.lr) == (None, 5, "tied", 0.002)
    assert (b.network, b.latent_dim, b.mixture, b.lr) == ("conv", 3, "normal-wishart", 0.001)
    assert list(config.per_agent) == ["A", "B"]


def test_file_and_flags_give_the_same_settings_again(tmp_path):
    config = resolve({"agent": OWN, "agents": "3"})
    assert plain(resolve({}, write(tmp_path, to_toml(config)))) == plain(config)
    assert plain(resolve(read_settings(to_flags(config)))) == plain(config)
    assert json.loads(json.dumps(plain(config)))["agent"]["B"] == {"latent-dim": 3, "network": "conv"}


def test_tables_of_a_file(tmp_path):
    file = write(tmp_path, '[agents]\ncount = 3\n[agents.C]\nlikelihood = "gaussian"\njitter = 0\n')
    config = resolve({}, file)
    assert config.agents == 3 and config.per_agent["C"].likelihood == "gaussian"
    assert config.per_agent["C"].jitter == 0.0 and config.per_agent["A"].jitter == 1.0
    flags = resolve({"agent": ["A: --network conv"]}, file)
    assert dict(flags.agent).keys() == {"A"}, "a flag beats the file"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (["B --network conv"], ["expected 'NAME: FLAGS'", "--agent is 'B --network conv'"]),
        (["B:"], ["--agent is 'B:'; expected 'NAME: FLAGS'"]),
        (["B: --network conw"], ["--agent 'B'", "--network", "did you mean conv?"]),
        (["B: --netwrok conv"], ["--agent 'B'", "did you mean --network?"]),
        (["B: --epochs 3"], ["--agent 'B'", "--epochs applies to all agents", "latent-dim"]),
        (["B: --agents 3"], ["--agent 'B'", "--agents applies to all agents"]),
        (["B: --agent 'C: --lr 1'"], ["--agent 'B'", "--agent applies to all agents"]),
        (["B: --lr 1", "B: --lr 2"], ["--agent 'B' is given twice"]),
        (["C: --lr 1"], ["--agent names 'C'; expected one of the agents A to B"]),
        (["B: --lr '1"], ["--agent 'B'", "quotation"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(own, said):
    with pytest.raises(UsageError) as caught:
        resolve({"agent": own})
    assert all(part in str(caught.value) for part in said) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agents]\ncount = 1\n", ["[agents]: agents", "2 or more"]),
        ("[agents]\nB = 3\n", ["agents.B is no table"]),
        ("[agents.B]\nepochs = 3\n", ["[agents.B]: epochs applies to all agents"]),
        ("[agents.B]\nlr = 'x'\n", ["[agents.B]: lr is 'x'; expected a number"]),
        ("agent = 3\n", ["unknown key 'agent'"]),
    ],
)
def test_a_file_that_is_wrong_is_named(text, said, tmp_path):
    with pytest.raises(UsageError) as caught:
        resolve({}, write(tmp_path, text))
    assert all(part in str(caught.value) for part in said)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mixture", "dirichlet"], "--mixture dirichlet requires counts"),
        (
            ["--mixture", "dirichlet", "--likelihood", "gaussian"],
            "--mixture dirichlet, for observed counts, requires --likelihood identity",
        ),
        (
            ["--likelihood", "gaussian", "--agent", "B: --mixture dirichlet"],
            "--mixture dirichlet of agent B, for observed counts, requires",
        ),
        (
            ["--prior", "W=1,nu=3"],
            "--prior W=1,nu=3: nu, the degrees of freedom, is 3.0; expected more than L - 1 = 11",
        ),
        (["--prior", "alpha=1"], "--prior alpha=1 has 'alpha'; --mixture normal-wishart has m0, beta, nu, W"),
        (["--prior", "W"], "--prior is 'W'; expected NAME=NUMBER"),
        (["--prior", "W=1,W=2"], "--prior is 'W=1,W=2'; W is given twice"),
        (["--agent", "B: --mixture student-t --prior freedom=0"], "--prior freedom=0 of agent B: freedom"),
        (["--agent", "B: --likelihood identity"], "--likelihood identity of agent B requires features"),
        (
            ["--mixture", "student-t", "--split-merge", "1", "--mode", "gibbs"],
            "--split-merge does not support --mixture student-t (no closed-form evidence)",
        ),
        (
            ["--weights", "sticks:1", "--agent", "B: --mixture head-to-head"],
            "--weights sticks:1 does not support --mixture head-to-head of agent B",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_both_named(flags, said, tmp_path, capsys):
    assert main(["train", "--dataset", "digits", "--run-dir", str(tmp_path / "run"), *flags]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_agents_that_differ_train_resume_and_are_looked_at(tmp_path, capsys):
    run = str(tmp_path / "run")
    tiny = [
        "--dataset",
        "digits",
        "--limit",
        "60",
        "--epochs",
        "1",
        "--rounds",
        "1",
        "--sweeps",
        "6",
        "--burn-in",
        "2",
    ]
    tiny += ["--starts", "1", "--chains", "1", "--signs", "4"]
    own = ["--agent", "A: --network conv --latent-dim 3 --mixture student-t", "--agent", "B: --likelihood gaussian"]
    assert main(["train", *tiny, *own, "--run-dir", run]) == 0
    assert "latent dimensions of the agents differ" in capsys.readouterr().err
    assert main(["train", "--resume", run, "--rounds", "2"]) == 0
    for command in ("recall", "report", "diagnose"):
        assert main([command, run]) == 0, command
    whole = str(tmp_path / "whole")
    assert main(["train", *tiny, *own, "--rounds", "2", "--run-dir", whole]) == 0
    assert (tmp_path / "run" / "signs.npz").read_bytes() == (tmp_path / "whole" / "signs.npz").read_bytes()


def test_an_agent_that_counts_plays_with_one_that_sees(tmp_path, capsys):
    """Inter-DM beside Inter-GMM: counts stay counts, features are standardised."""
    import numpy as np

    rng = np.random.default_rng(0)
    kind = np.arange(60) % 3
    np.savetxt(tmp_path / "counts.csv", rng.poisson(np.array([[9, 1, 1], [1, 9, 1], [1, 1, 9]])[kind]), fmt="%d")
    np.savetxt(tmp_path / "places.csv", rng.normal(np.array([[4, 0], [0, 4], [-4, -4]])[kind]))
    (tmp_path / "counts.csv").write_text((tmp_path / "counts.csv").read_text().replace(" ", ","))
    (tmp_path / "places.csv").write_text((tmp_path / "places.csv").read_text().replace(" ", ","))
    data = f"{tmp_path / 'counts.csv'},{tmp_path / 'places.csv'}"
    run = tmp_path / "run"
    flags = ["--dataset", "csv", "--data", data, "--header", "no", "--signs", "3", "--rounds", "0", "--likelihood"]
    flags += ["identity", "--agent", "A: --mixture dirichlet", "--run-dir", str(run)]
    assert main(["train", *flags]) == 0
    signs = np.load(run / "signs.npz")
    pairs = {tuple(row) for row in np.stack([kind, signs["signs_A"], signs["signs_B"]], 1).tolist()}
    assert len(pairs) <= 5 and json.loads((run / "summary.json").read_text())["kappa"] > 0.9
    # The agent that counts cannot be given what is none.
    wrong = [*flags[:3], f"{tmp_path / 'places.csv'},{tmp_path / 'places.csv'}", *flags[4:-1], str(tmp_path / "no")]
    capsys.readouterr()
    assert main(["train", *wrong]) == 2
    assert "requires counts" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_an_agent_may_listen_by_a_rule_of_its_own(tmp_path):
    folder = made(tmp_path / "run", limit="40", epochs="2", rounds="1", agent=["B: --acceptance constant:0"])
    summary = contents(folder)[0]
    assert summary["acceptance"]["A->B"] == 0 < summary["acceptance"]["B->A"]


def test_an_exact_proposal_needs_everybodys_rule():
    flags = {"agents": "3", "recursion": "exact", "agent": ["B: --acceptance numerator"]}
    with pytest.raises(UsageError, match="--recursion exact requires --acceptance mh for all agents"):
        resolve(flags)
