"""The examples run, and show what they say they show."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from mhng import cli, load_run
from mhng.experiment.runs.folder import RunFolder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_every_example_is_tested() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == {
        "game_only",
        "look_at_a_run",
        "your_own_agent",
        "your_own_likelihood",
        "your_own_mixture",
    }


def test_the_game_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "game_only.py"), run_name="__main__")
    rates = re.findall(r"[AB] (\d\.\d\d)", capsys.readouterr().out)
    assert [float(rate) > 0.9 for rate in rates] == [True, True]


def test_looking_at_a_run(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "apart.png"
    monkeypatch.setattr("sys.argv", ["look_at_a_run.py", str(digits_run), str(picture)])
    runpy.run_path(str(EXAMPLES / "look_at_a_run.py"), run_name="__main__")
    out = capsys.readouterr().out
    run = load_run(digits_run)
    apart = run.signs["A"] != run.signs["B"]
    assert repr(run) in out and f"Agreement: {1 - apart.mean():.1%} of 200 objects" in out
    classes = re.findall(r"class (\d): (\d+) of (\d+)", out)
    assert [int(k) for k, _, _ in classes] == list(range(10))
    assert sum(int(few) for _, few, _ in classes) == apart.sum() > 0
    assert sum(int(many) for _, _, many in classes) == 200
    times, a, b = map(int, re.findall(r"(\d+) times A says (\d+) where B says (\d+)", out)[0])
    assert times == ((run.signs["A"] == a) & (run.signs["B"] == b)).sum() > 0 and a != b
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000


def test_a_likelihood_of_ones_own_by_the_command_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (EXAMPLES / "your_own_likelihood.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 30
    (shown,) = re.findall(r"python ../cli.py (train .*)", text)
    monkeypatch.chdir(EXAMPLES)
    small = (
        "--dataset digits --limit 60 --signs 3 --latent-dim 2 --epochs 20 --rounds 0 --sweeps 3 --burn-in 1 --starts 1"
    )
    try:
        assert cli.main([*shown.split(), *small.split(), "--run-dir", str(tmp_path / "run")]) == 0
        law = sys.modules["your_own_likelihood"].Laplace()
    finally:
        sys.modules.pop("your_own_likelihood", None)
    rows = [
        row for row in RunFolder(tmp_path / "run").read_metrics() if row["kind"] == "epoch" and row["agent"] == "A"
    ]
    assert rows[-1]["reconstruction"] > rows[0]["reconstruction"] + 5
    output, x = torch.tensor([[0.3, -0.7]]), torch.tensor([[0.21, 0.4]])
    expected = stats.laplace(output.numpy(), np.exp(-2.0)).logpdf(x.numpy()).sum()
    np.testing.assert_allclose(law(output).log_prob(x).detach(), expected, rtol=1e-5)


def test_looking_at_no_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["look_at_a_run.py", "runs/typo"])
    with pytest.raises(SystemExit, match="look_at_a_run: run folder runs/typo cannot be used: no such folder"):
        runpy.run_path(str(EXAMPLES / "look_at_a_run.py"), run_name="__main__")
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_counts_and_one_that_sees_make_a_language(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone each confuses two kinds of four; together they tell apart what neither can."""
    runpy.run_path(str(EXAMPLES / "your_own_agent.py"), run_name="__main__")
    out = capsys.readouterr().out
    number = r"(-?\d\.\d\d)"
    found = re.findall(rf"([a-z-]+): ARI {number} \(points\), {number} \(words\), kappa {number}", out)
    assert [mode for mode, *_ in found] == ["no-com", "com"]
    alone, together = (list(map(float, numbers)) for _, *numbers in found)
    assert max(alone[:2]) < 0.75 and abs(alone[2]) < 0.6
    assert min(together[:2]) > 0.85 and together[2] > 0.9
    accepted = re.findall(rf"by (?:points|words) {number}", out)
    assert all(0.5 < float(share) < 0.95 for share in accepted) and len(accepted) == 2


def test_the_counting_agents_evidence_is_what_its_density_integrates_to() -> None:
    """By Bayes' rule: log p(x | signs) = log p(x | signs, theta) + log p(theta) - log p(theta | x, signs)."""
    import torch

    names = runpy.run_path(str(EXAMPLES / "your_own_agent.py"))
    generator = torch.Generator().manual_seed(1)
    counts = torch.randint(0, 5, (6, 3), generator=generator)
    signs = torch.tensor([[0, 1, 1, 0, 3, 1]])
    belief = names["WordCounter"](counts).redraw(generator, signs, 4)
    theta = belief.parameters
    alpha = torch.ones(4, 3, dtype=torch.float64).index_add(0, signs[0], counts.double())
    given = belief.table[0].gather(-1, signs[0, :, None]).sum()
    posterior = torch.distributions.Dirichlet(alpha).log_prob(theta[0]).sum()
    np.testing.assert_allclose(belief.evidence[0], given + belief.log_density[0] - posterior, rtol=1e-9)
