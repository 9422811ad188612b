"""Runs of three agents and more: what they leave, and that one that was stopped goes on exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.errors import UsageError
from mhng.experiment.plots.community import plot_distance
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import load_posterior
from mhng.experiment.settings.config import resolve
from mhng.experiment.training import loop
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume, train
from mhng.inference import recursive
from tests.runs import contents, made

TINY = {"limit": "40", "signs": "3", "epochs": "2", "sweeps": "4", "round_sweeps": "3", "chains": "2"}
# Agents that learn enough to agree.
SKILLED = TINY | {"epochs": "40"}
# Classes that every agent knows, so that only the names differ.
CLEAR = TINY | {"dataset": "synthetic", "likelihood": "identity", "limit": "120", "signs": "6", "ambiguity": "0"}


def test_three_agents_that_meet_together(tmp_path, pictures):
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
    assert (folder / "plots" / "confusion.png").exists() and (folder / "plots" / "community.png").exists()
    assert not (folder / "plots" / "distance.png").exists() and "kappa_by_distance" not in rows[-1]


def test_pairs_along_a_graph(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="4", meet="star", synchronous=True)
    summary, _, _ = contents(folder)
    matrix = np.array(summary["kappa_matrix"])
    assert summary["kappa_by_distance"] == {
        "1": pytest.approx(matrix[0, 1:].mean()),
        "2": pytest.approx(np.mean([matrix[1, 2], matrix[1, 3], matrix[2, 3]])),
    }
    assert summary["messages"] == 6 * 40
    assert json.loads((folder / run_folder.MANIFEST).read_text())["edges"] == [[[0, 1], [0, 2], [0, 3]]]
    assert all(0 <= share <= 1 for share in summary["acceptance"].values())


def test_who_stays_at_home_has_accepted_nothing_and_refused_nothing(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="3", meet="random-pairs", rounds="0")
    rows = [json.loads(line) for line in (folder / run_folder.METRICS).read_text().splitlines()]
    for row in rows:
        if row["kind"] == "sweep":
            assert sum(share is None for share in row["acceptance"].values()) == 1
    acceptance = load_posterior(folder / run_folder.POSTERIOR)["sample_stats"]["acceptance_rate"].values
    assert (np.isnan(acceptance).sum(-1) == 1).all()


@pytest.mark.parametrize("meet", ["random-pairs", "small-world:0.4", "file"])
def test_a_run_that_goes_on_meets_as_it_would_have(tmp_path, meet):
    edges = tmp_path / "edges.txt"
    edges.write_text("A B\nB C\nC D\nE F\nD E\n")
    settings = TINY | {"agents": "6", "meet": str(edges) if meet == "file" else meet}
    whole = made(tmp_path / "whole", **settings | {"rounds": "2"})
    stopped = made(tmp_path / "stopped", **settings | {"rounds": "1"})
    edges.unlink()
    resume(stopped, rounds=2, printer=Silent())
    assert contents(stopped) == contents(whole)


def test_a_run_from_before_graphs_could_change_goes_on(tmp_path):
    settings = TINY | {"agents": "3", "meet": "ring"}
    whole = made(tmp_path / "whole", **settings | {"rounds": "2"})
    stopped = made(tmp_path / "stopped", **settings | {"rounds": "1"})
    manifest = json.loads((stopped / run_folder.MANIFEST).read_text())
    (stopped / run_folder.MANIFEST).write_text(json.dumps(manifest | {"edges": manifest["edges"][0]}))
    resume(stopped, rounds=2, printer=Silent())
    assert contents(stopped) == contents(whole)


def test_a_bridge_that_opens(tmp_path, pictures):
    """Two communities begin by themselves; the graph of the bridge takes over in round 2, also after a stop."""
    later = tmp_path / "later.txt"
    later.write_text("A B\nC D\nB C\n")
    settings = TINY | {"agents": "4", "meet": "bridges:0", "meet_later": f"2={later}"}
    whole = made(tmp_path / "whole", **settings | {"rounds": "3"})
    stopped = made(tmp_path / "stopped", **settings | {"rounds": "2"})
    later.unlink()
    resume(stopped, rounds=3, printer=Silent())
    assert contents(stopped) == contents(whole)
    manifest = json.loads((whole / run_folder.MANIFEST).read_text())
    assert manifest["edges"] == [[[0, 1], [2, 3]], [[0, 1], [2, 3], [1, 2]]]  # those that share nobody first
    summary, _, metrics = contents(whole)
    assert set(summary["kappa_by_distance"]) == {"1", "2", "3"}
    rows = [row for row in map(json.loads, metrics.splitlines()) if row["kind"] == "sweep"]
    # Of agents that no path joins no distance is told; of the others that in the graph of the sweep.
    assert [list(row["kappa_by_distance"]) for row in rows] == [["1"]] * 6 + [["1", "2", "3"]] * (len(rows) - 6)
    assert rows[-1]["kappa_by_distance"] == summary["kappa_by_distance"]
    assert (whole / "plots" / "distance.png").exists()
    assert [len(row["accepted"]) for row in rows if row["round"] < 2] == [4] * 6  # three sweeps a round
    heard = [row["messages"] for row in rows]
    assert heard[:6] == [4 * 40] * 6 and set(heard[6:]) == {6 * 40}
    for row in rows:
        kappas = row["kappa_within"], row["kappa_between"]
        assert row["kappa"] == pytest.approx((2 * kappas[0] + 4 * kappas[1]) / 6)
    starts = next(row for row in map(json.loads, metrics.splitlines()) if row["kind"] == "start")
    assert len(starts["score"][0]) == 2  # each community chose its own


def test_a_newcomer_names_by_itself_until_it_is_met(tmp_path):
    edges = tmp_path / "edges.txt"
    edges.write_text("A B\n")
    folder = made(tmp_path / "run", **TINY, agents="3", meet=str(edges), meet_later="1=complete")
    rows = [json.loads(line) for line in (folder / run_folder.METRICS).read_text().splitlines()]
    shares = [row["acceptance"] for row in rows if row["kind"] == "sweep"]
    heard = [{name for name, share in own.items() if share is not None} for own in shares]
    assert len(heard[0]) == 2 and all(names == heard[0] for names in heard[:3])
    assert len(heard[3]) == 3 and all(names == heard[3] for names in heard[3:])


def test_a_newcomer_may_take_over_the_names_that_it_hears(tmp_path):
    edges = tmp_path / "edges.txt"
    edges.write_text("A B\n")
    taken = {}
    for newcomers in ("keep", "take"):
        settings = CLEAR | {"agents": "3", "meet": str(edges), "meet_later": "1=complete", "newcomers": newcomers}
        folder = made(tmp_path / newcomers, **settings)
        rows = [json.loads(line) for line in (folder / run_folder.METRICS).read_text().splitlines()]
        taken[newcomers] = [row for row in rows if row["kind"] == "sweep"]
    for keep, take in list(zip(taken["keep"], taken["take"], strict=True))[:3]:
        assert keep == take  # until it meets them
    keep, take = ([row["kappa_between"] for row in own[3:]] for own in taken.values())
    assert max(keep) < 0.5 and min(take) > 0.99


def test_a_run_may_be_ended_before_its_graph_changes(tmp_path, monkeypatch):
    keep = loop.TrainingLoop._save_round

    def stopped(self, played):
        keep(self, played)
        if played.round == 1:
            raise KeyboardInterrupt

    settings = TINY | {"agents": "4", "meet": "bridges:0", "meet_later": "3=complete"}
    with monkeypatch.context() as patched:
        patched.setattr(loop.TrainingLoop, "_save_round", stopped)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "run", **settings | {"rounds": "3"})
    assert resume(tmp_path / "run", rounds=1, printer=Silent())["rounds"] == 1
    with pytest.raises(UsageError, match="--meet-later has round 3; expected at most --rounds, 1"):
        train(resolve(settings | {"rounds": "1", "burn_in": "1", "run_dir": str(tmp_path / "new")}), printer=Silent())
    assert not (tmp_path / "new").exists()


def test_of_two_languages_there_is_no_joint_decision(tmp_path, capsys):
    folder = made(tmp_path / "run", **SKILLED, agents="4", meet="bridges:0", rounds="0")
    summary, _, _ = contents(folder)
    assert summary["kappa"] < 0.6 and summary["kappa_matrix"][0][1] > 0.6
    capsys.readouterr()
    assert cli.main(["name", str(folder), "--split", "rest", "--limit", "5"]) == 0
    assert f"(kappa {summary['kappa']:.2f}), so the joint sign" in capsys.readouterr().err


def test_files_of_edges_are_found_from_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_text("\ufeffA B\n")
    (tmp_path / "two").write_text("A B\nB C\n")
    folder = made(tmp_path / "run", **TINY, agents="3", meet="one", meet_later="1=two")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = resolve({"run_dir": str(tmp_path / "again")}, folder / run_folder.CONFIG)
    assert str(again.meet) == str(tmp_path / "one") and str(again.meet_later) == f"1={tmp_path / 'two'}"
    train(again, printer=Silent())
    assert contents(tmp_path / "again") == contents(folder)


def test_a_path_that_commas_would_cut_stays_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    Path("one").write_text("A B\n")
    config = resolve({"agents": "3", "meet": "one", "meet_later": "1=one"})
    assert str(config.meet) == str(Path("one").absolute()) and str(config.meet_later) == "1=one"


def test_a_run_that_told_its_file_as_it_was_typed_goes_on(tmp_path, monkeypatch):
    """As runs did before they kept absolute paths."""
    monkeypatch.chdir(tmp_path)
    Path("one").write_text("A B\n")
    folder = made(tmp_path / "run", **TINY, agents="3", meet="one", meet_later="1=one")
    for name in (run_folder.MANIFEST, run_folder.CONFIG):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(str(tmp_path / "one"), "one"))
        assert (folder / name).read_text() != text
    assert resume(folder, rounds=2, printer=Silent())["rounds"] == 2


def test_a_run_whose_graphs_are_not_all_told_does_not_go_on(tmp_path):
    """A file of edges may have changed since."""
    edges = tmp_path / "edges.txt"
    edges.write_text("A B\n")
    folder = made(tmp_path / "run", **TINY, agents="3", meet=str(edges), meet_later="1=random-pairs")
    manifest = json.loads((folder / run_folder.MANIFEST).read_text())
    assert manifest["edges"] == [[[0, 1]], None]
    for told in ([], [[[0, 1]]], [None, None], [[[0, 1e999]], None]):
        (folder / run_folder.MANIFEST).write_text(json.dumps(manifest | {"edges": told}))
        with pytest.raises(UsageError, match="is damaged: its edges"):
            resume(folder, rounds=3)


def test_language_distance_is_drawn_by_edges_apart(drawn):
    kappas = [{"1": 0.9 - t / 100, "2": 0.5, "3": 0.4, "5": 0.1} for t in range(4)]
    rows = [{"kind": "epoch"}, {"kind": "sweep"}, *({"kind": "sweep", "kappa_by_distance": own} for own in kappas)]
    plot_distance(Path("x.png"), rows)
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}
    assert list(lines) == ["1", "2", "5"]  # powers of two, and the farthest
    assert np.isnan(lines["1"][0]) and lines["1"][1:] == pytest.approx([0.1, 0.11, 0.12, 0.13])
    assert lines["5"][1:] == pytest.approx([0.9] * 4)


def test_when_agents_agreed(tmp_path):
    folder = made(tmp_path / "run", agents="2", signs="2", limit="60", rounds="0")
    summary, _, metrics = contents(folder)
    kappas = [row["kappa"] for row in map(json.loads, metrics.splitlines()) if row["kind"] == "sweep"]
    agreed = [all(kappa >= 0.9 for kappa in kappas[t:]) for t in range(len(kappas))]
    assert summary["sweeps_to_agreement"] == (agreed.index(True) + 1 if any(agreed) else None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"meet_later": "1=ring"}, "--meet-later requires --meet with a graph of pairs"),
        ({"meet": "ring", "meet_later": "ring"}, "--meet-later is 'ring'; expected R=GRAPH"),
        ({"meet": "ring", "meet_later": "0=star"}, "--meet-later is '0=star'; expected R=GRAPH"),
        ({"meet": "ring", "meet_later": "1=star,1=complete"}, "expected increasing rounds"),
        (
            {"meet": "ring", "newcomers": "take"},
            "--newcomers take requires --meet-later",
        ),
        (
            {"meet": "ring", "meet_later": "1=star", "newcomers": "take", "mode": "variational"},
            "requires --mode com or all",
        ),
        ({"newcomers": "child"}, "--newcomers is 'child'; expected one of keep, take"),
        ({"meet": "ring", "meet_later": "1=together"}, "expected graphs of pairs"),
        (
            {"meet": "ring", "meet_later": "1=rnig"},
            "--meet-later 1=rnig: --meet is .*rnig', but there is no such file",
        ),
        (
            {"meet": "ring", "meet_later": "1=star", "listener_state": "shared"},
            "does not support --listener-state shared",
        ),
        ({"meet": "ring", "meet_later": "1=star", "weights": "sticks:1"}, "does not support --weights sticks"),
    ],
)
def test_a_change_that_cannot_be(tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        made(tmp_path / "run", **TINY, agents="4", **changes)
    assert list(tmp_path.iterdir()) == []


def test_edges_that_were_tampered_with_are_refused(tmp_path):
    folder = made(tmp_path / "run", **TINY, agents="3", meet="ring", rounds="0")
    manifest = json.loads((folder / run_folder.MANIFEST).read_text())
    for wrong in ([[0, 3]], [[1, 1]], [[0]], "x", [["a", "b"]], 7):
        (folder / run_folder.MANIFEST).write_text(json.dumps(manifest | {"edges": wrong}))
        with pytest.raises(UsageError, match="edges are not pairs of agents"):
            resume(folder, rounds=1, printer=Silent())


def test_an_exact_game_without_an_end_is_played_by_inner_games(tmp_path, monkeypatch):
    monkeypatch.setattr(recursive, "MOST_DRAWS", 1.01)  # in truth it takes agents that are surer than tiny runs make
    run = made(tmp_path / "run", agents="3", recursion="exact", **TINY)
    assert json.loads((run / run_folder.MANIFEST).read_text())["status"] == "done"


def test_a_graph_that_is_none_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="--meet"):
        made(tmp_path / "run", **TINY, agents="4", meet="rnig")
    assert list(tmp_path.iterdir()) == []
