"""`diagnose RUN` on whole runs: words, JSON, pictures, the enumerated posterior, and bad run folders."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.diagnostics.diagnose import build_report
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.console import Silent
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import train

HOME = Path(__file__).resolve().parents[3]
SMALL = {
    "dataset": "synthetic", "likelihood": "identity", "limit": "5", "signs": "3", "rounds": "0", "chains": "8",
    "sweeps": "30", "burn_in": "10", "start": "prior", "starts": "1", "device": "cpu",
}  # fmt: skip


def made(folder: Path, **changes: str) -> Path:
    train(resolve(SMALL | changes | {"run_dir": str(folder)}), printer=Silent())
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("runs") / "small")


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def test_words_and_pictures(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(small, tmp_path / "run")
    assert cli.main(["diagnose", str(run)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("R-hat", "ESS bulk", "constant chains", "Converged?", "Agreed?", "Right?", "8 chains of 20 draws"):
        assert word in out
    drawn = {file.name for file in (run / "plots").iterdir()}
    assert {"monitors.png", "components.png", "acceptance.png", "co_assignment.png", "chains.png"} <= drawn
    assert all((run / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_json_is_one_object_without_nan(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {file: file.stat().st_mtime_ns for file in small.rglob("*")}
    assert cli.main(["diagnose", str(small), "--json", "--no-plots", "--exact"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert {"verdict", "quantities", "basins", "target", "next", "exact"} <= set(report)
    assert set(report["verdict"]) == {"converged", "agreed", "right"}
    assert report["exact"]["assignments"] == 243 and set(report["exact"]["agents"]) == {"A", "B"}
    assert {file: file.stat().st_mtime_ns for file in small.rglob("*")} == before  # nothing was written


def test_shared_signs_are_nearer_to_the_enumerated_posterior_than_the_references_rule(tmp_path: Path) -> None:
    found = {}
    for state in ("shared", "speaker-sample"):
        # A wide prior: with a narrow one, chains move too seldom to forget their starts in 60 sweeps.
        run = made(tmp_path / state, listener_state=state, chains="200", sweeps="60", prior="W=0.1")
        report = build_report(SavedRun(run), exact=True)
        found[state] = report["exact"]["agents"]["A"]
    assert found["shared"]["total_variation"] < 0.03 < 0.1 < found["speaker-sample"]["total_variation"]


def test_without_communication_each_agent_has_a_target_of_its_own(tmp_path: Path) -> None:
    run = made(tmp_path / "run", mode="no-com", chains="200", sweeps="60")
    report = build_report(SavedRun(run), exact=True)
    assert report["exact"]["target"] == "each agent's own posterior"
    assert all(own["total_variation"] < 0.04 for own in report["exact"]["agents"].values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keep": "components"}, "--keep signs"),
        ({"limit": "30"}, "--limit"),
        ({"likelihood": "gaussian", "epochs": "1", "limit": "5"}, "--likelihood identity"),
    ],
)
def test_exact_says_what_it_needs(
    changes: dict[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run", **changes)
    assert cli.main(["diagnose", str(run), "--exact", "--no-plots"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "--exact" in err and said in err


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "no-com"},
        {"mode": "gibbs"},
        {"mode": "all"},
        {"keep": "none", "thin": "4"},
        {"chains": "1"},
        {"sweeps": "1", "burn_in": "0"},
        {"signs": "1"},
        {"limit": "1"},
        {"chains": "60", "sweeps": "11"},
    ],
    ids=str,
)
def test_every_kind_of_run_has_a_diagnosis(
    changes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path / "run", **changes)
    assert cli.main(["diagnose", str(run)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "Converged?" in out
    if changes.get("mode") == "all":
        assert "NO TARGET" in out
    if changes.get("chains") == "1":
        assert "--chains 4" in out
    if changes.get("keep") == "none":
        assert not (run / "plots" / "chains.png").exists() and "--keep signs" in out and "5 draws" in out


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (None, None, "no such folder"),
        ("posterior.nc", None, "the last round writes it"),
        ("posterior.nc", b"junk", "cannot be read as a posterior"),
        ("signs.npz", None, "signs.npz"),
        ("signs.npz", b"PK\x03\x04junk", "signs.npz cannot be read"),
        ("summary.json", b"[1]", "summary.json"),
        ("summary.json", b"{}", "summary.json is damaged"),
        ("manifest.json", b"{}", "manifest.json"),
        ("metrics.jsonl", b"{\n", "metrics.jsonl, line 1"),
    ],
)
def test_a_bad_run_folder_is_one_line(
    file: str | None, text: bytes | None, said: str, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "nowhere"
    if file is not None:
        run = copied(small, tmp_path / "run")
        (run / file).unlink()
        if text is not None:
            (run / file).write_bytes(text)
    assert cli.main(["diagnose", str(run)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err


def test_a_posterior_of_another_version_is_named(small: Path, tmp_path: Path) -> None:
    from mhng.experiment.errors import UsageError
    from mhng.experiment.runs.posterior import save_posterior
    from tests.draws import trace

    run = copied(small, tmp_path / "run")
    save_posterior(run / "posterior.nc", trace(), burn_in=0, settings={"mode": "com"})
    with pytest.raises(UsageError, match=r"not written by this version: .*it lacks"):
        build_report(SavedRun(run))


def test_a_picture_that_fails_costs_a_line(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mhng.experiment.plots import diagnostics as diagnostic_plots

    def broken(*_: Any) -> None:
        raise ValueError("no paper")

    monkeypatch.setattr(diagnostic_plots, "plot_components", broken)
    run = copied(small, tmp_path / "run")
    assert cli.main(["diagnose", str(run)]) == 0
    assert capsys.readouterr().err == "warning: plots/components.png could not be drawn: no paper\n"


def test_nothing_is_trained_and_torch_is_not_imported(small: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(HOME)!r}); from mhng import cli\n"
        "assert cli.main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'pyro'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, "diagnose", str(small), "--no-plots"], capture_output=True)
    assert done.returncode == 0, done.stderr


def test_aris_are_of_each_chains_last_draw(small: Path) -> None:
    from mhng.experiment.metrics.partitions import ari

    run = SavedRun(small)
    signs = run.draws("signs")
    assert signs is not None
    words = " ".join(build_report(run)["verdict"]["right"]["words"])
    values = [ari(chain[-1, m], run.labels) for chain in signs for m in range(2)]
    assert f"{np.min(values):.3f} to {np.max(values):.3f}" in words
