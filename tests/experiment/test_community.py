"""Runs of three agents and more: what they leave, and that one that was stopped goes on exactly."""

import json

import numpy as np
import pytest

from experiment import store
from experiment.errors import RunError, UsageError
from experiment.posterior.netcdf import load_posterior
from experiment.run import resume
from inference import recursion
from tests.experiment.conftest import Quiet, contents, made

TINY = {"limit": "40", "signs": "3", "epochs": "2", "sweeps": "4", "round_sweeps": "3", "chains": "2"}


def test_three_agents_that_meet_together(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="3", recursion="ll:2")
    summary, signs, metrics = contents(folder)
    assert list(summary["agents"]) == ["A", "B", "C"] and {"signs_A", "signs_B", "signs_C"} <= set(signs)
    matrix = np.array(summary["kappa_matrix"])
    assert matrix.shape == (3, 3) and summary["kappa"] == pytest.approx(matrix[np.triu_indices(3, 1)].mean())
    assert summary["kappa_by_distance"] is None and summary["kappa_fleiss"] <= 1
    # Three proposals, each of one name to the listener and two to the agent between, which the listener told its own.
    assert summary["messages"] == 3 * (3 + 1) * 40
    rows = [json.loads(line) for line in metrics.splitlines()]
    assert rows[-1]["accepted"].keys() == {"others->A", "others->B", "others->C"}
    assert (folder / "plots" / "confusion.png").exists()


def test_pairs_along_a_graph(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="4", meet="star", synchronous=True)
    summary, _, _ = contents(folder)
    matrix = np.array(summary["kappa_matrix"])
    assert summary["kappa_by_distance"] == {
        "1": pytest.approx(matrix[0, 1:].mean()),
        "2": pytest.approx(np.mean([matrix[1, 2], matrix[1, 3], matrix[2, 3]])),
    }
    assert summary["messages"] == 6 * 40
    assert json.loads((folder / store.MANIFEST).read_text())["edges"] == [[0, 1], [0, 2], [0, 3]]
    assert all(0 <= share <= 1 for share in summary["acceptance"].values())


def test_who_stays_at_home_has_accepted_nothing_and_refused_nothing(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="3", meet="random-pairs", rounds="0")
    rows = [json.loads(line) for line in (folder / store.METRICS).read_text().splitlines()]
    for row in rows:
        if row["kind"] == "sweep":
            assert sum(share is None for share in row["acceptance"].values()) == 1
    acceptance = load_posterior(folder / store.POSTERIOR)["sample_stats"]["acceptance"].values
    assert (np.isnan(acceptance).sum(-1) == 1).all()


@pytest.mark.parametrize("meet", ["random-pairs", "small-world:0.4", "file"])
def test_a_run_that_goes_on_meets_as_it_would_have(tmp_path, meet):
    edges = tmp_path / "edges.txt"
    edges.write_text("A B\nB C\nC D\nE F\nD E\n")
    settings = TINY | {"agents": "6", "meet": str(edges) if meet == "file" else meet}
    whole = made(tmp_path / "whole", **settings | {"rounds": "2"})
    stopped = made(tmp_path / "stopped", **settings | {"rounds": "1"})
    edges.unlink()
    resume(stopped, rounds=2, printer=Quiet())
    assert contents(stopped) == contents(whole)


def test_edges_that_were_tampered_with_are_refused(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="3", meet="ring", rounds="0")
    manifest = json.loads((folder / store.MANIFEST).read_text())
    for wrong in ([[0, 3]], [[1, 1]], [[0]], "x", [["a", "b"]], 7):
        (folder / store.MANIFEST).write_text(json.dumps(manifest | {"edges": wrong}))
        with pytest.raises(UsageError, match="edges are not pairs of agents"):
            resume(folder, rounds=1, printer=Quiet())


def test_a_game_without_an_end_is_a_line_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(recursion, "MOST_DRAWS", 1.01)  # in truth it takes agents that are surer than tiny runs make
    with pytest.raises(RunError, match=r"round 0: an exact recursive proposal .* --recursion os"):
        made(tmp_path / "run", agents="3", recursion="exact", **TINY)
    assert json.loads((tmp_path / "run" / store.MANIFEST).read_text())["status"] == "failed"


def test_a_graph_that_is_none_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="--meet"):
        made(tmp_path / "run", **TINY, agents="4", meet="rnig")
    assert list(tmp_path.iterdir()) == []
