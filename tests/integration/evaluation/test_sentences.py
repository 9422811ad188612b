"""Runs whose agents exchange sentences: folder, summary, diagnosis, corpus and `load_run`."""

from __future__ import annotations

import json
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli, load_run
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.language import speakers_of
from mhng.experiment.evaluation.vocabulary import attributes_of_run, imagined, meanings
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.console import Silent
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import train
from mhng.models.languages import GRAMMARS, MEANINGS
from mhng.models.registry import LIKELIHOODS
from tests.runs import all_outputs

SETTINGS = {
    "dataset": "synthetic", "likelihood": "identity", "limit": "80", "rounds": "0", "words": "2", "vocabulary": "3",
    "sweeps": "12", "starts": "2", "chains": "2",
}  # fmt: skip


def made(folder: Path, **changes: Any) -> Path:
    train(resolve(SETTINGS | {"run_dir": str(folder)} | changes), printer=Silent())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("sentences") / "run")


def test_the_folder_speaks_sentences(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_run(run)
    assert loaded.scores["signs"] == 9 and loaded.scores["meaning"] == "positions"
    assert len(loaded.scores["kappa_slots"]) == 2
    words = loaded.words["A"]
    assert words.shape == (80, 2) and (words @ [3, 1] == loaded.signs["A"]).all()
    means, covariances = loaded.components("A")
    assert means.shape == (9, 4) and covariances.shape == (9, 4, 4)
    # What a sentence means is the sum of what its words add.
    assert np.allclose(means[0] - means[1], means[6] - means[7])
    assert cli.main(["corpus", str(run)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines[:80]] == words.tolist()
    assert cli.main(["corpus", str(run), "--draws", "all"]) == 0
    draws = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = [line for line in draws if (line["chain"], line["draw"]) == (0, 11)]
    assert len(draws) == 2 * 8 * len(lines) and last == lines


def test_a_vocabulary_may_be_larger_than_the_number_of_objects(tmp_path: Path) -> None:
    loaded = load_run(made(tmp_path / "run", limit="8", vocabulary="10", starts="4", chains="1"))
    assert loaded.words["A"].shape == (8, 2)


def test_diagnose_tells_the_agreement_of_each_word(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    assert "kappa: word 1" in capsys.readouterr().out
    assert cli.main(["diagnose", str(run), "--exact"]) == 2


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("language", lambda summary: summary.pop("kappa_slots")),
        ("diagnose", lambda summary: summary.pop("kappa_of")),
        ("diagnose", lambda summary: summary["agents"]["B"].pop("signs_used")),
        ("diagnose", lambda summary: summary["agents"].update(B=3)),
    ],
)
def test_a_summary_without_scores_is_refused(
    run: Path, tmp_path: Path, command: str, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "run"
    shutil.copytree(run, damaged)
    file = damaged / "summary.json"
    summary = json.loads(file.read_text())
    change(summary)
    file.write_text(json.dumps(summary))
    capsys.readouterr()
    assert cli.main([command, str(damaged), "--no-plots"]) == 2
    assert f"{file} is damaged: it lacks scores" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "gibbs", "meaning": "bag", "turns": "word"},
        {"mode": "no-com", "meaning": "pairs", "grammar": "markov"},
        {"mode": "all", "meaning": "holistic"},
        {"listener_state": "shared", "grammar": "markov", "turns": "sentence", "start": "kmeans"},
        {"agents": "3", "views": "0,20,40", "recursion": "ll:2"},
        {"agents": "4", "views": "0,20,40,60", "meet": "ring", "turns": "word"},
    ],
)
def test_modes_and_meanings(tmp_path: Path, changes: dict[str, str]) -> None:
    loaded = load_run(made(tmp_path / "run", **changes))
    assert len(loaded.scores["kappa_slots"]) == 2 and loaded.words["B"].max() <= 2
    assert loaded.language["kappa_slots"] == loaded.scores["kappa_slots"]


GRAPHS: list[dict[str, Any]] = [
    {},
    {"agents": "3", "views": "0,30,60"},
    {"agents": "3", "views": "0,30,60", "recursion": "ll:2"},
    {"agents": "3", "views": "0,30,60", "recursion": "exact"},
    {"agents": "3", "views": "0,30,60", "meet": "complete"},
    {"agents": "3", "views": "0,30,60", "meet": "ring", "synchronous": True},
    {"agents": "4", "views": "0,20,40,60", "meet": "random-pairs"},
    {"agents": "4", "views": "0,20,40,60", "meet": "star"},
]
ACCEPTANCE = ("mh", "numerator", "tempered:2", "constant:0.5", "subtraction", "binary")
VARIANTS = list(product(("both", "word", "sentence"), MEANINGS, GRAMMARS))


@pytest.mark.slow
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: " ".join(map(str, graph.values())) or "two")
@pytest.mark.parametrize("mode", ["com", "no-com", "all", "gibbs"])
def test_every_game_of_sentences_runs(tmp_path: Path, mode: str, graph: dict[str, Any]) -> None:
    """Each mode and graph, with listener states and starts; turns, meanings, grammars and rules take turns."""
    number = GRAPHS.index(graph) * 6
    for state, start in product(("chain", "shared"), ("prior", "kmeans", "merge")):
        turns, meaning, grammar = VARIANTS[number % len(VARIANTS)]
        rule = "mh" if graph.get("recursion") == "exact" else ACCEPTANCE[number % len(ACCEPTANCE)]
        changes = {"mode": mode, "listener_state": state, "start": start, "acceptance": rule}
        flags = graph | changes | {"turns": turns, "meaning": meaning, "grammar": grammar, "sweeps": "4"}
        assert load_run(made(tmp_path / str(number), limit="30", **flags)).words["A"].shape == (30, 2)
        number += 1
        if start != "prior":  # 8,000 sentences
            flags |= {"words": "3", "vocabulary": "20", "turns": "word", "meaning": "bag", "grammar": "none"}
            assert load_run(made(tmp_path / f"{number} many", limit="30", **flags)).words["A"].shape == (30, 3)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["digits", "synthetic"])
@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name != "identity"])
def test_every_likelihood_learns_from_sentences(tmp_path: Path, likelihood: str, dataset: str) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name not in ("words", "vocabulary")} | {
        "dataset": dataset, "likelihood": likelihood, "rounds": "1", "epochs": "1", "round_epochs": "1",
        "latent_dim": "3", "chains": "1", "starts": "1", "limit": "40", "run_dir": str(tmp_path / "run"),
    }  # fmt: skip
    try:
        train(resolve(settings | {"words": "2", "vocabulary": "3"}), printer=Silent())
    except UsageError as error:  # as for single signs
        with pytest.raises(UsageError, match=re.escape(str(error))):
            train(resolve(settings), printer=Silent())
        assert not (tmp_path / "run").exists()
    else:
        assert load_run(tmp_path / "run").words["B"].shape == (40, 2)


def test_a_vae_learns_from_sentences_and_recalls_them(tmp_path: Path) -> None:
    changes = {"dataset": "digits", "likelihood": "gaussian", "rounds": "1", "epochs": "2", "latent_dim": "3"}
    folder = made(tmp_path / "run", **changes, chains="1", starts="1")
    assert load_run(folder).recall(4, draws=2)["A"].mean.shape == (1, 8, 8)
    assert cli.main(["recall", str(folder), "--count", "1", "--pairs", "1"]) == 0


@pytest.fixture(scope="module")
def attributes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"dataset": "attributes:2x5", "vocabulary": "5", "hold_out": "0.3", "sweeps": "20", "starts": "3"}
    settings = {name: value for name, value in SETTINGS.items() if name != "limit"} | changes
    folder = tmp_path_factory.mktemp("attributes") / "run"
    train(resolve(settings | {"run_dir": str(folder)}), printer=Silent())
    return folder


def test_language_scores_combinations_that_nobody_has_seen(
    attributes_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(attributes_run, tmp_path / "run")
    assert cli.main(["language", str(tmp_path / "run"), "--json", "--no-plots"]) == 0
    report = json.loads(capsys.readouterr().out)
    for row in report["agents"].values():
        assert row["over_holistic"] > 0 and row["seen"]["all_right"] == 1
    unseen = report["unseen"]
    assert unseen["all_right"]["together"]["in"] == unseen["decoded"]["A->B"]["in"] == 1
    assert (
        report["seen"]["found"]["B->A"] == {"10": 1, "10 of other values": 1}
        and report["seen"]["decoded"]["B->A"] == 1
    )
    # The run has scored itself.
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["language"] == {name: report[name] for name in summary["language"]}
    assert cli.main(["language", str(tmp_path / "run")]) == 0
    assert "over holistic +" in capsys.readouterr().out
    names = ["evidence.png", "imagined_A.png", "imagined_B.png", "vocabulary.png"]
    assert sorted(path.name for path in (tmp_path / "run" / "plots").iterdir()) == names
    loaded = load_run(tmp_path / "run")
    assert loaded.language["words"] == 2 and loaded.plot_imagined("A").axes
    assert cli.main(["report", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    for text in ("All words right, unseen objects", "Vocabulary of agent B, word 2", "What agent A imagines"):
        assert text in page


def test_an_agent_imagines_combinations_that_nobody_has_seen(attributes_run: Path) -> None:
    """The image of a sentence has its brightest pixels at the values of the words, also where no object has it."""
    run = SavedRun(attributes_run)
    grid = imagined(run, speakers_of(run))["A"]
    assert 0 < grid.unsaid.sum() <= 8 and grid.images.shape == (5, 5, 2, 5)
    values = [[int(name.split("(")[1][:-1]) for name in names] for names in (grid.rows, grid.columns)]
    slots = [words.attribute for words in meanings(run.words["A"], attributes_of_run(run))]
    brightest = grid.images.argmax(-1)  # (word 1, word 2, attribute)
    assert (brightest[..., slots[0]] == np.array(values[0])[:, None]).all()
    assert (brightest[..., slots[1]] == np.array(values[1])).all()


def test_the_vocabulary_as_a_table_of_meanings() -> None:
    attributes = np.array([[a, b] for a in range(3) for b in range(2)])
    words = np.stack([1 - attributes[:, 1], (attributes[:, 0] + 2) % 3, attributes[:, 1]], axis=1)
    words[0, 1] = 5
    first, second, third = meanings(words, attributes)
    assert {first.attribute, third.attribute} == {1} and second.attribute == 0
    assert first.names == ["1", "0"] and (first.shares == np.eye(2)).all()
    assert second.names == ["2", "5", "0", "1"] and second.shares[:2].tolist() == [[1, 0, 0], [1, 0, 0]]


def test_one_word_is_the_game_of_single_signs(tmp_path: Path) -> None:
    """Every output of `--words 1` is that of a run without the flag."""
    settings = {name: value for name, value in SETTINGS.items() if name not in ("words", "vocabulary")}
    for name, flags in (("one", {"words": "1"}), ("none", {})):
        train(resolve(settings | {"signs": "5", "run_dir": str(tmp_path / name)} | flags), printer=Silent())
    assert all_outputs(tmp_path / "one") == all_outputs(tmp_path / "none")


def test_language_needs_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {name: value for name, value in SETTINGS.items() if name not in ("words", "vocabulary")}
    train(resolve(settings | {"signs": "3", "run_dir": str(tmp_path / "run")}), printer=Silent())
    assert cli.main(["language", str(tmp_path / "run")]) == 2
    assert "--words 2 or more" in capsys.readouterr().err


def test_recall_of_a_sentence_that_nobody_has_said(
    attributes_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(attributes_run, tmp_path / "run")
    run = load_run(folder)
    said = {tuple(row) for row in run.words["A"].tolist()}
    new = next((a, b) for a in range(5) for b in range(5) if (a, b) not in said)
    command = ["recall", str(folder), "--count", "2", "--sentence", ",".join(map(str, new))]
    assert cli.main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["sentences"] == [list(new)] and report["agents"]["A"]["objects"] == [0]
    assert (folder / "plots" / "recall_sentences.png").stat().st_size > 1000
    assert cli.main([*command, ",".join(map(str, run.words["A"][0]))]) == 0
    out = capsys.readouterr().out
    assert "no object has it; its words mean" in out and "1 object has it" in out
    assert run.recall(list(new), draws=1)["B"].mean.shape == (10,)
    for wrong in ("3", "1,5", "1,x", "1,-2"):
        assert cli.main(["recall", str(folder), f"--sentence={wrong}"]) == 2
        assert "expected 2 words from 0 to 4" in capsys.readouterr().err


def test_name_tells_the_words_of_unseen_combinations(
    attributes_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["name", str(attributes_run), "--split", "unseen"]
    assert cli.main([*command, "--out", str(tmp_path / "rows.jsonl"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["objects"] == 8 and scores["joint"]["accuracy"] == scores["agents"]["B"]["accuracy"] == 1
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert all(len(row["joint_sentence"]) == 2 and len(row["label"].split()) == 2 for row in rows)
    assert cli.main(command) == 0
    assert capsys.readouterr().out.splitlines()[1].split(",")[2] == " ".join(map(str, rows[0]["sentence_A"]))


def test_the_formats_of_a_corpus(attributes_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = load_run(attributes_run)
    words = [*run.words["A"].tolist(), *run.words["B"].tolist()]

    def written(*flags: str) -> list[Any]:
        assert cli.main(["corpus", str(attributes_run), *flags]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["message"] for line in written()] == written("--format", "xferbench") == words
    names = [run.objects.class_names[label].split() for label in run.labels]
    assert written("--format", "csar") == [
        [message, [f"1={a}", f"2={b}"]] for message, (a, b) in zip(words, [*names, *names], strict=True)
    ]
    out = tmp_path / "elcc"
    assert cli.main(["corpus", str(attributes_run), "--format", "elcc", "--out", str(out)]) == 0
    system = out / "systems" / "mh-naming-game"
    (data,) = (system / "data").iterdir()
    assert [json.loads(line) for line in (data / "corpus.jsonl").read_text().splitlines()] == words
    about = json.loads((system / "metadata.yml").read_text())
    assert set(about) == {"origin", "system"} and list(about["system"]["variants"]) == [data.name]
    assert json.loads((data / "metadata.json").read_text())["metrics"]["system"]["kappa"] == run.scores["kappa"]
    capsys.readouterr()
    for flags in (["--out", str(out)], []):
        assert cli.main(["corpus", str(attributes_run), "--format", "elcc", *flags]) == 2
        assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["report"], ["play", "--sweeps", "6", "--turns", "word", "--starts", "1"]])
def test_other_commands_read_runs_with_sentences(run: Path, tmp_path: Path, words: list[str]) -> None:
    command, *flags = words
    copy = shutil.copytree(run, tmp_path / "run")
    assert cli.main([command, str(copy), *flags]) == 0


def test_more_sentences_than_a_table_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """17,576 sentences: no table of them is made, and every command reads the run."""
    folder = tmp_path / "run"
    changes = {"dataset": "attributes:3x4", "words": "3", "vocabulary": "26", "hold_out": "0.2", "starts": "1"}
    settings = {name: value for name, value in SETTINGS.items() if name != "limit"} | changes
    train(resolve(settings | {"run_dir": str(folder)}), printer=Silent())
    loaded = load_run(folder)
    assert loaded.words["A"].max() < 26 and loaded.signs["A"].max() > 4096
    assert loaded.scores["agents"]["A"]["accuracy"] <= 1
    for words in (["language"], ["diagnose", "--no-plots"], ["corpus"], ["report"]):
        capsys.readouterr()
        assert cli.main([words[0], str(folder), *words[1:]]) == 0, words
    assert load_run(folder).language["agents"]["A"]["over_holistic"] != 0
    assert "pairs" not in load_run(folder).language["agents"]["A"]["evidence"]


def scored(folder: Path, **changes: str | None) -> dict[str, Any]:
    settings = {
        "likelihood": "identity", "rounds": "0", "words": "2", "vocabulary": "10", "chains": "1", "starts": "4",
        "sweeps": "30",
    }  # fmt: skip
    given = settings | {"run_dir": str(folder)} | changes
    train(resolve({name: value for name, value in given.items() if value is not None}), printer=Silent())
    report = load_run(folder).language
    print(report)  # with -s: docs/sentences.md has the figures
    return report


def right(report: dict[str, Any], kind: str = "in") -> float:
    """Share of unseen objects whose attributes all follow from the sentence of both agents together."""
    return float(report["unseen"]["all_right"]["together"][kind])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_both_digits_of_unseen_numbers(tmp_path: Path, seed: int) -> None:
    report = scored(tmp_path / "run", dataset="numbers", hold_out="0.2", seed=str(seed))
    assert right(report) > 0.4  # chance: 0.01
    assert all(shares["10"] > 0.8 for shares in report["unseen"]["found"].values())  # chance: 0.1
    assert all(shares["10 of other values"] > 0.9 for shares in report["unseen"]["found"].values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_hold_outs_of_egg(tmp_path: Path, seed: int) -> None:
    report = scored(tmp_path / "run", dataset="attributes:2x10", hold_out="egg", seed=str(seed))
    assert right(report) >= 0.99 and right(report, "out") >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_hold_outs_of_egg_with_a_hundred_values(tmp_path: Path, seed: int) -> None:
    changes = {"vocabulary": "100", "start": "kmeans", "starts": "2", "sweeps": "10", "seed": str(seed)}
    report = scored(tmp_path / "run", dataset="attributes:2x100", hold_out="egg", **changes)
    assert right(report) >= 0.99 and right(report, "out") >= 0.99
    assert all(row["seen"]["topsim"] >= 0.99 for row in report["agents"].values())


@pytest.mark.slow
def test_numbers_of_mnist_through_a_vae(tmp_path: Path) -> None:
    """The settings of the data set: those of `scored` are not given."""
    settings = ("likelihood", "rounds", "chains", "starts", "sweeps")
    changes: dict[str, str | None] = dict.fromkeys(settings) | {"seed": "1"}
    report = scored(tmp_path / "run", dataset="mnist-numbers", hold_out="0.2", **changes)
    assert right(report) >= 0.7  # chance: 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_sprites_through_a_vae(tmp_path: Path, seed: int) -> None:
    """The settings of the data set: --likelihood, --rounds and --starts are not given."""
    changes = {"likelihood": None, "rounds": None, "starts": None, "words": "4", "vocabulary": "4", "seed": str(seed)}
    report = scored(tmp_path / "run", dataset="sprites", hold_out="0.2", **changes)
    assert right(report) >= 0.8 and min(report["kappa_slots"]) >= 0.95  # chance: 0.004
