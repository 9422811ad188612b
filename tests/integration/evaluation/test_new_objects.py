"""`name RUN --new` and `--split rest` of features and paired data: perceived on the scale of the run, or one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mhng import cli, load_run
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.naming import infer_signs, name_objects
from mhng.experiment.evaluation.new_objects import NewObjects, _observed
from mhng.experiment.metrics import partitions
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.prepare import files_of, load_objects, load_others
from mhng.experiment.training.saved_run import SavedRun
from tests.custom_data import QUICK, image, npz, table, text

RNG = np.random.default_rng(1)
KINDS = RNG.integers(0, 3, 90)
NAMES = ("ant", "bee", "cat")
# On scales of which standardising makes one, around means that are not 0.
ONE = (RNG.normal(0, 6, (3, 5))[KINDS] + RNG.normal(size=(90, 5))) * [1, 10, 0.1, 3, 1] + 20
TWO = RNG.normal(0, 6, (3, 4))[KINDS] + RNG.normal(size=(90, 4))
SEEN, LEFT = slice(60), slice(60, None)


def csv(folder: Path, name: str, numbers: np.ndarray, part: slice, species: bool = False) -> Path:
    """Columns f0, f1, ..., and `species`, if it is to be there."""
    titles = ",".join([f"f{d}" for d in range(numbers.shape[1])] + ["species"] * species)
    extra = [NAMES[k] for k in KINDS[part]] if species else None
    return text(folder, f"{titles}\n{table(numbers[part], extra)}", name)


def trained(folder: Path, data: str, *more: str) -> Path:
    run = folder / "run"
    arguments = ["train", "--dataset", "csv", "--data", data, "--likelihood", "identity", *QUICK, "--sweeps", "12"]
    assert cli.main([*arguments, *more, "--run-dir", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two agents with features of their own, and the files of what it did not see."""
    folder = tmp_path_factory.mktemp("new")
    for name, numbers in (("A", ONE), ("B", TWO)):
        csv(folder, f"{name}.csv", numbers, SEEN, species=name == "A")
        csv(folder, f"{name}-left.csv", numbers, LEFT, species=name == "A")
    trained(folder, f"{folder}/A.csv,{folder}/B.csv", "--label-column", "species")
    return folder


def named(run: Path, *source: str, out: Path) -> tuple[list[dict[str, Any]], str]:
    assert cli.main(["name", str(run), *source, "--out", str(out)]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()], str(source)


def signs(rows: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    return [(row["sign_A"], row["sign_B"], row["joint_sign"]) for row in rows]


def chances(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([[row["probability_A"], row["probability_B"], row["joint_probability"]] for row in rows])


# -- the scale is the run's ----------------------------------------------------------------------------


def test_others_are_on_the_scale_of_the_run(files: Path) -> None:
    config = SavedRun(files / "run").config
    others = load_others(config, files_of(config)._replace(data=(files / "A-left.csv", files / "B-left.csv")))
    for view, numbers in zip(others.views, (ONE, TWO), strict=True):
        np.testing.assert_allclose(view, (numbers[LEFT] - numbers[SEEN].mean(0)) / numbers[SEEN].std(0), atol=1e-3)
    again = load_others(config, files_of(config))
    for view, then in zip(again.views, load_objects(config)[0].views, strict=True):
        assert torch.equal(view, then), "the run's own objects are what they were"


def test_few_components_are_those_of_the_run(tmp_path: Path) -> None:
    data = f"{csv(tmp_path, 'A.csv', ONE, SEEN)},{csv(tmp_path, 'B.csv', TWO, SEEN)}"
    config = resolve({"dataset": "csv", "data": data, "likelihood": "identity", "reduce": "2"})
    left = csv(tmp_path, "A-left.csv", ONE, LEFT), csv(tmp_path, "B-left.csv", TWO, LEFT)
    others = load_others(config, files_of(config)._replace(data=left))
    for view, numbers in zip(others.views, (ONE, TWO), strict=True):
        mean, spread = numbers[SEEN].mean(0), numbers[SEEN].std(0)
        components = PCA(2, whiten=True, svd_solver="full").fit((numbers[SEEN] - mean) / spread)
        np.testing.assert_allclose(view, components.transform((numbers[LEFT] - mean) / spread), atol=1e-3)
    few = load_objects(config)[0]
    for view, then in zip(load_others(config, files_of(config)).views, few.views, strict=True):
        np.testing.assert_allclose(view, then, atol=1e-5)


def test_a_feature_that_never_varied_says_nothing_of_others(tmp_path: Path) -> None:
    numbers = np.hstack([ONE, np.full((90, 1), 7.0)])
    data = f"{csv(tmp_path, 'A.csv', numbers, SEEN)},{csv(tmp_path, 'B.csv', TWO, SEEN)}"
    config = resolve({"dataset": "csv", "data": data, "likelihood": "identity"})
    numbers[:, 5] = 8.0
    left = csv(tmp_path, "A-left.csv", numbers, LEFT), csv(tmp_path, "B-left.csv", TWO, LEFT)
    assert (load_others(config, files_of(config)._replace(data=left)).views[0][:, 5] == 0).all()


@pytest.mark.parametrize("far", [1e9, 1e12, 1e20, 1e36])
def test_one_object_far_off_does_not_drown_the_others(far: float, files: Path, tmp_path: Path) -> None:
    typed = f"{files}/A-left.csv,{files}/B-left.csv"
    rows, _ = named(files / "run", "--new", typed, out=tmp_path / "all.jsonl")
    lines = (files / "A-left.csv").read_text().splitlines()
    lines[7] = f"1,{far},2,3,4,ant"
    spoilt = f"{text(tmp_path, chr(10).join(lines), 'far.csv')},{files}/B-left.csv"
    others, _ = named(files / "run", "--new", spoilt, out=tmp_path / "far.jsonl")
    for given in (rows, others):
        given.pop(6)
    assert signs(others) == signs(rows)
    np.testing.assert_allclose(chances(others), chances(rows), atol=2e-6)


@pytest.mark.parametrize("wild", [1, 4, 29])
def test_an_object_is_named_as_alone_whatever_the_share_of_wild_rows(wild: int, files: Path, tmp_path: Path) -> None:
    typed = f"{files}/A-left.csv,{files}/B-left.csv"
    rows, _ = named(files / "run", "--new", typed, out=tmp_path / "all.jsonl")
    heading, *lines = (files / "A-left.csv").read_text().splitlines()
    lines[:wild] = [f"1,{n + 1}e12,2,3e12,4,ant" for n in range(wild)]
    spoilt = f"{text(tmp_path, chr(10).join([heading, *lines]), 'wild.csv')},{files}/B-left.csv"
    others, _ = named(files / "run", "--new", spoilt, out=tmp_path / "wild.jsonl")
    assert signs(others[wild:]) == signs(rows[wild:])
    np.testing.assert_allclose(chances(others[wild:]), chances(rows[wild:]), atol=2e-6)


def test_who_cannot_be_named_is_told_and_does_not_spoil_the_others(files: Path) -> None:
    run = SavedRun(files / "run")
    views = [view[:20] for view in run.objects.views]
    said = infer_signs(run, views)
    spoilt = [views[0].clone(), views[1]]
    spoilt[0][3, 2], spoilt[0][5, 0] = torch.nan, torch.inf
    lost = infer_signs(run, spoilt)
    others = np.delete(np.arange(20), [3, 5])
    assert (lost.signs[:, others] == said.signs[:, others]).all()
    np.testing.assert_allclose(lost.probability[:, others], said.probability[:, others], atol=1e-9)
    assert np.isnan(lost.probability[0, [3, 5]]).all() and np.isfinite(lost.probability[1]).all()
    with pytest.raises(UsageError, match="index 3 cannot be named: its sign probabilities are not finite"):
        name_objects(run, NewObjects("index", range(20), None, (), [spoilt]))


def test_numbers_in_labels_may_be_written_otherwise(tmp_path: Path) -> None:
    def labelled(name: str, part: slice, names: list[str]) -> Path:
        titles = "f0,f1,f2,f3,f4,species\n"
        return text(tmp_path, titles + table(ONE[part], [names[k] for k in KINDS[part]]), name)

    b, left = csv(tmp_path, "B.csv", TWO, SEEN), csv(tmp_path, "B2.csv", TWO, LEFT)
    run = trained(tmp_path, f"{labelled('A.csv', SEEN, ['01', '02', 'unk'])},{b}", "--label-column", "species")
    for written, expected in ((["1", "2.0", "unk"], ["01", "02", "unk"]), (["01", "02", "2"], ["01", "02", "2"])):
        new = labelled("A2.csv", LEFT, written)
        rows, _ = named(run, "--new", f"{new},{left}", out=tmp_path / "rows.jsonl")
        assert [row["label"] for row in rows] == [expected[k] for k in KINDS[LEFT]]


def test_without_a_header_in_the_run_the_first_row_is_an_object(tmp_path: Path) -> None:
    a, b = (text(tmp_path, table(numbers[SEEN]), name) for name, numbers in (("A.csv", ONE), ("B.csv", TWO)))
    run = trained(tmp_path, f"{a},{b}")
    counting = np.vstack([np.arange(5), ONE[LEFT][1:]])
    new = f"{text(tmp_path, table(counting), 'A2.csv')},{text(tmp_path, table(TWO[LEFT]), 'B2.csv')}"
    assert len(named(run, "--new", new, out=tmp_path / "rows.jsonl")[0]) == 30
    new = f"{csv(tmp_path, 'A3.csv', ONE, LEFT)},{csv(tmp_path, 'B3.csv', TWO, LEFT)}"
    assert len(named(run, "--new", new, out=tmp_path / "rows.jsonl")[0]) == 30  # these have one


def test_labels_may_be_absent_where_a_feature_is_called_label(tmp_path: Path) -> None:
    titles = "f0,f1,label,f3,f4"
    with_kinds = text(tmp_path, f"{titles},kind\n" + table(ONE[SEEN], [NAMES[k] for k in KINDS[SEEN]]), "A.csv")
    run = trained(tmp_path, f"{with_kinds},{csv(tmp_path, 'B.csv', TWO, SEEN)}", "--label-column", "kind")
    bare = text(tmp_path, f"{titles}\n" + table(ONE[LEFT]), "A2.csv")
    rows, _ = named(run, "--new", f"{bare},{csv(tmp_path, 'B2.csv', TWO, LEFT)}", out=tmp_path / "rows.jsonl")
    assert len(rows) == 30 and "label" not in rows[0]


def test_an_object_is_named_alone_as_among_others(files: Path, tmp_path: Path) -> None:
    typed = f"{files}/A-left.csv,{files}/B-left.csv"
    rows, _ = named(files / "run", "--new", typed, out=tmp_path / "all.jsonl")
    assert len(rows) == 30 and len(set(signs(rows))) > 1
    for n in (0, 17):
        part = slice(60 + n, 61 + n)
        one = f"{csv(tmp_path, 'A.csv', ONE, part)},{csv(tmp_path, 'B.csv', TWO, part)}"
        alone, _ = named(files / "run", "--new", one, out=tmp_path / "one.jsonl")
        assert signs(alone) == signs(rows[n : n + 1])
        np.testing.assert_allclose(chances(alone), chances(rows[n : n + 1]), atol=2e-6)


# -- what is said, and how it is scored ----------------------------------------------------------------


def test_scores_and_labels_are_those_of_the_new_objects(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = f"{files}/A-left.csv,{files}/B-left.csv"
    capsys.readouterr()
    out = tmp_path / "rows.jsonl"
    assert cli.main(["name", str(files / "run"), "--new", typed, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in rows] == [NAMES[k] for k in KINDS[LEFT]]
    for agent in "AB":
        own_signs = np.array([row[f"sign_{agent}"] for row in rows])
        assert told["agents"][agent]["ari"] == pytest.approx(partitions.ari(own_signs, KINDS[LEFT]))
    run = SavedRun(files / "run")
    others = load_others(run.config, files_of(run.config)._replace(data=(files / "A-left.csv", files / "B-left.csv")))
    said = infer_signs(run, others.views)
    assert signs(rows) == list(zip(*said.signs.tolist(), said.joint.tolist(), strict=True))
    assert signs(named(files / "run", "--new", typed, "--limit", "4", out=out)[0]) == signs(rows[:4])


def test_from_python_it_is_the_same(files: Path, tmp_path: Path) -> None:
    typed = f"{files}/A-left.csv,{files}/B-left.csv"
    rows, _ = named(files / "run", "--new", typed, out=tmp_path / "rows.jsonl")
    said = load_run(files / "run").name_new(typed)
    each = (said.signs["A"], said.signs["B"], said.joint)
    assert signs(rows) == list(zip(*(part.tolist() for part in each), strict=True))
    assert said.probability["B"] == pytest.approx([row["probability_B"] for row in rows], abs=1e-6)
    with pytest.raises(UsageError, match="differs in layout from --data of the run"):
        load_run(files / "run").name_new(files / "A-left.csv")


def test_what_the_run_left_is_named_as_other_files_are(tmp_path: Path) -> None:
    data = ",".join(str(csv(tmp_path, f"{name}.csv", part, slice(None))) for name, part in (("A", ONE), ("B", TWO)))
    run = trained(tmp_path, data, "--limit", "60")
    left = ",".join(str(csv(tmp_path, f"{name}2.csv", part, LEFT)) for name, part in (("A", ONE), ("B", TWO)))
    rest, _ = named(run, "--split", "rest", out=tmp_path / "rest.jsonl")
    new, _ = named(run, "--new", left, out=tmp_path / "new.jsonl")
    assert signs(rest) == signs(new) and (chances(rest) == chances(new)).all()
    assert [row["index"] for row in rest] == list(range(60, 90)) and "label" not in rest[0]


def test_labels_may_be_absent_or_others(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_labels = named(files / "run", "--new", f"{files}/A-left.csv,{files}/B-left.csv", out=tmp_path / "a.jsonl")[0]
    bare = csv(tmp_path, "bare.csv", ONE, LEFT)
    without = named(files / "run", "--new", f"{bare},{files}/B-left.csv", out=tmp_path / "b.jsonl")[0]
    assert signs(without) == signs(with_labels) and "label" not in without[0]
    renamed = tmp_path / "renamed.csv"
    renamed.write_text((files / "A-left.csv").read_text().replace("cat", "yak"))
    capsys.readouterr()
    foreign = named(files / "run", "--new", f"{renamed},{files}/B-left.csv", out=tmp_path / "c.jsonl")[0]
    assert {row["label"] for row in foreign} == {"ant", "bee", "yak"}
    out, err = capsys.readouterr()
    assert "classes that the run does not have; their accuracy is 0: yak\n" in err and "accuracy" in out


def test_a_run_without_labels_has_ari_of_new_objects_and_no_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"{csv(tmp_path, 'A.csv', ONE, SEEN)},{csv(tmp_path, 'B.csv', TWO, SEEN)}"
    run = trained(tmp_path, data)
    labelled = csv(tmp_path, "A2.csv", ONE, LEFT, species=True)
    labelled.write_text(labelled.read_text().replace("species", "label"))
    capsys.readouterr()
    rows, _ = named(run, "--new", f"{labelled},{csv(tmp_path, 'B2.csv', TWO, LEFT)}", out=tmp_path / "rows.jsonl")
    ari = partitions.ari(np.array([row["sign_A"] for row in rows]), KINDS[LEFT])
    out = capsys.readouterr().out
    assert f"Agent A: ARI {ari:.3f}, NMI" in out and "accuracy" not in out


def test_an_object_may_lack_a_modality_that_no_other_has_either(tmp_path: Path) -> None:
    pair = (("A1", ONE), ("A2", TWO), ("B", TWO))
    a1, a2, b = (csv(tmp_path, f"{name}.csv", numbers, SEEN) for name, numbers in pair)
    run = trained(tmp_path, f"{a1}&{a2},{b}", "--likelihood", "gaussian", "--latent-dim", "2")
    one = csv(tmp_path, "one.csv", ONE, LEFT)
    nothing = text(tmp_path, "f0,f1,f2,f3\n" + ",,,\n" * 30, "nothing.csv")
    rows, _ = named(run, "--new", f"{one}&{nothing},{csv(tmp_path, 'left.csv', TWO, LEFT)}", out=tmp_path / "r.jsonl")
    config = SavedRun(run).config
    whole = load_others(config, files_of(config)._replace(data=((one, tmp_path / "left.csv"), tmp_path / "left.csv")))
    lacking = whole.views[0].clone()
    lacking[:, 5:] = torch.nan
    loaded = SavedRun(run)
    said = infer_signs(loaded, (lacking, whole.views[1]))
    assert signs(rows) == list(zip(*said.signs.tolist(), said.joint.tolist(), strict=True))


def test_features_in_an_npz_for_each_agent(tmp_path: Path) -> None:
    file = npz(tmp_path, view_A=ONE[SEEN], view_B=TWO[SEEN], labels=KINDS[SEEN])
    run = tmp_path / "run"
    arguments = ["train", "--dataset", "npz", "--data", str(file), "--likelihood", "identity", *QUICK]
    assert cli.main([*arguments, "--run-dir", str(run)]) == 0
    np.savez(tmp_path / "left.npz", view_A=ONE[LEFT], view_B=TWO[LEFT], labels=KINDS[LEFT])
    rows, _ = named(run, "--new", str(tmp_path / "left.npz"), out=tmp_path / "rows.jsonl")
    assert [row["label"] for row in rows] == [str(k) for k in KINDS[LEFT]]


# -- images --------------------------------------------------------------------------------------------


def test_a_folder_for_each_agent_and_a_tree_of_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(12):
        for agent in "AB":
            image(tmp_path / agent / NAMES[n % 3] / f"{n}.png", 20 * n, (9, 9))
            image(tmp_path / f"{agent}2" / NAMES[n % 2] / f"{n}.png", 20 * n + 5, (11, 7))
    runs = {}
    for name, data in (("paired", f"{tmp_path}/A,{tmp_path}/B"), ("alone", f"{tmp_path}/A")):
        runs[name] = tmp_path / name
        arguments = ["train", "--dataset", "folder", "--data", data, "--image-size", "8", *QUICK]
        assert cli.main([*arguments, "--run-dir", str(runs[name])]) == 0
    paired, _ = named(runs["paired"], "--new", f"{tmp_path}/A2,{tmp_path}/B2", out=tmp_path / "paired.jsonl")
    order = sorted((NAMES[n % 2], f"{n}") for n in range(12))
    assert [row["file"] for row in paired] == [f"{kind}/{name}.png" for kind, name in order]
    capsys.readouterr()
    tree, _ = named(runs["alone"], "--images", f"{tmp_path}/A2", out=tmp_path / "tree.jsonl")
    assert "ARI" in capsys.readouterr().out
    new, _ = named(runs["alone"], "--new", f"{tmp_path}/A2", out=tmp_path / "new.jsonl")
    assert [(row["file"], row["label"]) for row in tree] == [(f"{kind}/{name}.png", kind) for kind, name in order]
    assert signs(tree) == signs(new) and {row["file"] for row in tree} == {row["file"] for row in new}
    image(tmp_path / "A2" / "preview.png", 9)
    stray, _ = named(runs["alone"], "--images", f"{tmp_path}/A2", out=tmp_path / "stray.jsonl")
    err = capsys.readouterr().err
    assert len(stray) == 1 and "only its 1 images are named, not the 12 in subfolders" in err
    flat, _ = named(runs["alone"], "--images", f"{tmp_path}/A2/ant", out=tmp_path / "flat.jsonl")
    assert "label" not in flat[0] and signs(flat) == [sign for sign, row in zip(signs(tree), tree, strict=True)
                                                      if row["label"] == "ant"]  # fmt: skip


# -- refusals ------------------------------------------------------------------------------------------


def columns_turned(folder: Path) -> str:
    lines = (folder / "A-left.csv").read_text().splitlines()
    rows = [",".join([*reversed(line.split(",")[:5]), line.split(",")[5]]) for line in lines]
    return f"{text(folder, chr(10).join(rows), 'turned.csv')},{folder}/B-left.csv"


def other_rows(folder: Path) -> str:
    return f"{csv(folder, 'few.csv', ONE, slice(60, 70))},{folder}/B-left.csv"


def a_hole(folder: Path) -> str:
    hole = (folder / "B-left.csv").read_text().splitlines()
    hole[3] = "1,2,nan,4"
    return f"{folder}/A-left.csv,{text(folder, chr(10).join(hole), 'hole.csv')}"


def beyond(folder: Path) -> str:
    lines = (folder / "A-left.csv").read_text().splitlines()
    lines[2] = "1,2,3e38,3,4,ant"
    return f"{text(folder, chr(10).join(lines), 'beyond.csv')},{folder}/B-left.csv"


REFUSED = {
    "beyond all scales": (beyond, "object 1 of agent A is too far from the objects of the run"),
    "no such file": (lambda f: f"{f}/A-left.csv,{f}/absent.csv", "absent.csv cannot be read: No such file"),
    "one file": (lambda f: f"{f}/A-left.csv", "differs in layout from --data of the run, "),
    "modalities": (
        lambda f: f"{f}/A-left.csv&{f}/A-left.csv,{f}/B-left.csv",
        "differs in layout from --data of the run",
    ),
    "other features": (lambda f: f"{f}/A-left.csv,{f}/A-left.csv", "agent B has 5 features; expected 4"),
    "columns in another order": (columns_turned, "feature 1 is called 'f4', but 'f0' in"),
    "unequal rows": (other_rows, "has 10 rows and"),
    "a hole": (a_hole, "hole.csv, line 4: column 3 (f2) must be a finite number"),
    "an empty entry": (lambda f: f"{f}/A-left.csv,", "expected a path, or paths with commas"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_the_run_has_it_is_refused_in_a_line(
    case: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = REFUSED[case]
    typed = make(files)
    before = {file: file.read_bytes() for file in files.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert cli.main(["name", str(files / "run"), "--new", typed, "--out", str(tmp_path / "rows.csv")]) == 2
    out, err = capsys.readouterr()
    assert (
        out == "" and err.count("\n") == 1 and said in err and "--new" in err and "--data /" not in err.split("own")[0]
    )
    assert {file: file.read_bytes() for file in files.rglob("*") if file.is_file()} == before
    assert not (tmp_path / "rows.csv").exists()


@pytest.mark.parametrize(
    ("dataset", "views"), [("mnist-numbers", "0,45"), ("mnist-numbers", "0,occlude:0.4"), ("sprites", "0,occlude:0.4")]
)
def test_new_pictures_are_seen_as_those_of_the_run(dataset: str, views: str, tmp_path: Path) -> None:
    """Each digit of a number is turned or covered, and the same part of each."""
    words = ["train", "--dataset", dataset, "--views", views, "--limit", "12", "--latent-dim", "4", *QUICK]
    assert cli.main([*words, "--run-dir", str(tmp_path / "run")]) == 0
    run = SavedRun(tmp_path / "run")
    (observed,) = list(_observed(run, [run.objects.views[0]], no_images_ahead))
    assert all(torch.equal(view, own) for view, own in zip(observed, run.objects.views, strict=True))


def test_a_run_goes_on_where_its_data_are_now(files: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(files / "run", tmp_path / "run"))
    names = [path.name for path in load_run(run).config.data]
    for name in names:
        shutil.copy(files / name, tmp_path / f"new-{name}")
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace(str(files), str(tmp_path / "nowhere")))
    assert load_run(run).plot_game().axes  # without the data
    data = ",".join(str(tmp_path / f"new-{name}") for name in names)
    with pytest.raises(UsageError, match="cannot be read"):
        load_run(run).resume(rounds=1)
    assert load_run(run, data=data).resume(rounds=1).latents("A").shape[0] == load_run(run).summary["objects"]
    assert cli.main(["train", "--resume", str(run), "--data", data, "--rounds", "2"]) == 0


def no_images_ahead(places: int) -> Any:
    raise AssertionError


@pytest.mark.parametrize("words", [["name", "--split", "rest"], ["corpus"], ["report"]])
def test_no_output_replaces_the_data_of_the_run(
    words: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = load_run(files / "run").config.data[0]
    before = file.read_bytes()
    assert cli.main([words[0], str(files / "run"), *words[1:], "--out", str(file)]) == 2
    assert "is an input file" in capsys.readouterr().err and file.read_bytes() == before


def test_new_is_for_runs_with_data_of_their_own(
    digits_run: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli.main(["name", str(digits_run), "--new", str(files / "A.csv")]) == 2
    assert "--new requires a run with data of its own" in capsys.readouterr().err
    assert cli.main(["name", str(files / "run"), "--new", str(files / "A.csv"), "--out", str(files / "A.csv")]) == 2
    assert "is an input file" in capsys.readouterr().err
    assert cli.main(["name", str(files / "run"), "--images", str(files / "A.csv")]) == 2
    assert "cannot name images (use --new or --split rest)" in capsys.readouterr().err


def test_counts_of_others_must_be_counts(tmp_path: Path) -> None:
    numbers = RNG.integers(0, 9, (20, 4))
    np.savetxt(tmp_path / "counts.csv", numbers, delimiter=",", fmt="%d")
    config = resolve({"dataset": "csv", "data": str(tmp_path / "counts.csv"), "likelihood": "identity",
                      "mixture": "dirichlet"})  # fmt: skip
    files = custom_dataset.Files((tmp_path / "counts.csv",), flag="--new")
    assert (load_others(config, files).views[0].numpy() == numbers).all(), "counts stay counts"
    np.savetxt(tmp_path / "others.csv", numbers + 0.5, delimiter=",", fmt="%g")
    with pytest.raises(UsageError, match=r"--new .*others\.csv: .* requires counts"):
        load_others(config, custom_dataset.Files((tmp_path / "others.csv",), flag="--new"))
