"""Data of one's own: what is read from .npz and CSV, what runs of it can do, and a line for all that is unfit."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mhng import cli, load_run
from mhng.experiment.data.custom import csv_table
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.labels import encode_labels
from mhng.experiment.data.loading import load
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.views import apply_views
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import load_posterior
from mhng.experiment.settings.config import plain, resolve, to_toml
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.agent_spec import agent_specs
from mhng.experiment.training.build import build_members
from mhng.experiment.training.memory_estimate import check
from mhng.experiment.training.prepare import files_of, load_objects, load_others
from mhng.experiment.training.saved_run import SavedRun
from tests.custom_data import BYTES, FLOATS, NUMBERS, QUICK, image, image_folder, npz, refused, text

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "mfeat"


def read(kind: str, *data: Path, agents: int = 2, limit: int | None = None, **options: Any) -> Objects:
    files = custom_dataset.Files(data, **options)
    return load(kind, data_root=None, download=False, limit=limit, views=(0.0,) * agents, seed=0, files=files)


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (BYTES, BYTES[:, None].astype(np.float32) / 255),
        (FLOATS, FLOATS.transpose(0, 3, 1, 2).astype(np.float32)),
        (np.asfortranarray(FLOATS), FLOATS.transpose(0, 3, 1, 2).astype(np.float32)),
        (FLOATS.transpose(0, 3, 1, 2).astype(np.float16), FLOATS.transpose(0, 3, 1, 2).astype(np.float16)),
    ],
    ids=["bytes", "channels last", "fortran", "halves"],
)
def test_images_of_an_npz(tmp_path: Path, images: np.ndarray, expected: np.ndarray) -> None:
    objects = read("npz", npz(tmp_path, images=images))
    assert objects.views[0].dtype == torch.float32 and not objects.paired
    assert objects.views[0] is objects.views[1]
    np.testing.assert_array_equal(objects.views[0].numpy(), expected.astype(np.float32))
    assert objects.labels is None and objects.categories is None
    np.testing.assert_array_equal(objects.indices, range(12))


def test_features_and_a_view_for_each_agent(tmp_path: Path) -> None:
    objects = read("npz", npz(tmp_path, features=NUMBERS), limit=5)
    np.testing.assert_array_equal(objects.views[1].numpy(), NUMBERS[:5])
    objects = read("npz", npz(tmp_path, view_A=BYTES, view_B=FLOATS, view_C=NUMBERS), agents=3)
    assert [tuple(view.shape[1:]) for view in objects.views] == [(1, 5, 4), (3, 5, 4), (6,)]
    assert objects.paired


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        ([3, 1_000_000, -7, 3], [1, 2, 0, 1], ("-7", "3", "1000000")),
        (["cat", "dog", "ape", "cat"], [1, 2, 0, 1], ("ape", "cat", "dog")),
        (["10", "2", "2", "1"], [2, 1, 1, 0], ("1", "2", "10")),
        ([1.0, 0.0, 1.0, 2.0], [1, 0, 1, 2], ("0", "1", "2")),
        ([True, False, True, True], [1, 0, 1, 1], ("0", "1")),
        (np.array([200, 17, 0, 17], dtype=np.uint8), [2, 1, 0, 1], ("0", "17", "200")),
        (np.array([b"y", b"x", b"x", b"y"]), [1, 0, 0, 1], ("x", "y")),
    ],
    ids=str,
)
def test_labels_are_coded(labels: Any, codes: list[int], names: tuple[str, ...]) -> None:
    found, class_names = encode_labels("labels", np.asarray(labels))
    assert found.tolist() == codes and class_names == names


ROWS = "1,2.5\n-3,4e2\n5,6\n"


@pytest.mark.parametrize(
    ("content", "options", "features", "names"),
    [
        (ROWS, {}, [[1, 2.5], [-3, 400], [5, 6]], ()),
        ("a,b\n" + ROWS, {}, [[1, 2.5], [-3, 400], [5, 6]], ()),
        (ROWS + ",\n\n , \n", {}, [[1, 2.5], [-3, 400], [5, 6]], ()),
        ("0,1\n" + ROWS, {}, [[0, 1], [1, 2.5], [-3, 400], [5, 6]], ()),
        ("a,1\n1,2\n", {"header": "yes"}, [[1, 2]], ()),
        ("0,1,2,3\n4,4,4,5\n", {}, [[4, 4, 4, 5]], ()),
        ("0,1,2,3\n4,4,4,5\n", {"header": "no"}, [[0, 1, 2, 3], [4, 4, 4, 5]], ()),
        ("7,8\n" + ROWS, {"header": "yes"}, [[1, 2.5], [-3, 400], [5, 6]], ()),
        ("a,label,b\n1,x,2\n\n3,y,4\n\n", {}, [[1, 2], [3, 4]], ("x", "y")),
        ("a,kind,b\n1,x,2\n3,y,4\n", {"label_column": "kind"}, [[1, 2], [3, 4]], ("x", "y")),
        ("1,x,2\n3,y,4", {"label_column": "2"}, [[1, 2], [3, 4]], ("x", "y")),
        ("1,2,3,4,0\n1,2,1,0,9\n3,4,1,0,5\n", {"label_column": "-1"}, [[1, 2, 1, 0], [3, 4, 1, 0]], ("5", "9")),
        ('\ufeff"a","b"\r\n"1", 2 \r\n', {}, [[1, 2]], ()),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_csv(
    tmp_path: Path, content: str, options: dict[str, Any], features: list[list[float]], names: tuple[str, ...]
) -> None:
    objects = read("csv", text(tmp_path, content), **options)
    assert objects.views[0] is objects.views[1] and not objects.paired
    np.testing.assert_array_equal(objects.views[0].numpy(), np.array(features))
    assert objects.class_names == names and (objects.labels is None) == (not names)


# -- settings --------------------------------------------------------------------------------------


def test_as_many_agents_as_files_and_no_view_is_turned(tmp_path: Path) -> None:
    three = ",".join(str(text(tmp_path, ROWS, f"{m}.csv")) for m in "abc")
    config = resolve({"dataset": "csv", "data": three, "likelihood": "identity"})
    assert config.agents == 3 and plain(config)["views"] == (0, 0, 0)
    assert config.data is not None and config.data[2] == tmp_path / "c.csv"
    file = tmp_path / "run.toml"
    file.write_text(to_toml(config), encoding="utf-8")
    assert plain(resolve({}, file)) == plain(config)
    assert plain(resolve({"dataset": "npz", "data": str(npz(tmp_path, images=BYTES))}))["views"] == (0, 45)
    pair = str(npz(tmp_path, view_A=BYTES, view_B=BYTES))
    assert plain(resolve({"dataset": "npz", "data": pair}))["views"] == (0, 0)
    assert plain(resolve({"dataset": "npz", "data": pair, "views": "0,90"}))["views"] == (0, 90)


def test_latent_dimensions_may_differ_between_agents(tmp_path: Path) -> None:
    file = npz(tmp_path, view_A=NUMBERS, view_B=NUMBERS[:, :2])
    objects, agents, config, _ = load_objects(resolve({"dataset": "npz", "data": str(file), "likelihood": "identity"}))
    assert [spec.latent_dim for spec in agents] == [6, 2] and config.latent_dim == 6
    members = build_members(agents, objects, torch.device("cpu"))
    assert [one.agent.latent for one in members] == [6, 2]


def test_reduced_features_are_whitened_principal_components(tmp_path: Path) -> None:
    mixed = NUMBERS @ np.random.default_rng(1).normal(size=(6, 6))
    file = npz(tmp_path, view_A=mixed, view_B=mixed[:, :2])
    whole, *_ = load_objects(resolve({"dataset": "npz", "data": str(file), "likelihood": "identity"}))
    objects, _, config, _ = load_objects(
        resolve({"dataset": "npz", "data": str(file), "likelihood": "identity", "reduce": "3"})
    )
    few, same = objects.views
    assert few.shape == (12, 3) and torch.equal(same, whole.views[1]) and config.latent_dim == 3
    torch.testing.assert_close(torch.cov(few.T), torch.eye(3), rtol=0, atol=1e-5)
    # They span what the three largest singular vectors of the standardised features span.
    left = torch.linalg.svd(whole.views[0].double()).U[:, :3]
    torch.testing.assert_close(left @ left.T @ few.double(), few.double(), rtol=0, atol=1e-5)
    assert objects.checksum == whole.checksum


def clusters(spread: float = 0.3) -> tuple[np.ndarray, list[int]]:
    """Three clusters of 20 points, six apart, and their labels."""
    labels = np.repeat([0, 1, 2], 20)
    means = np.array([[0, 0], [6, 0], [0, 6]])
    return means[labels] + np.random.default_rng(0).normal(0, spread, (60, 2)), labels.tolist()


def ari(folder: Path, *arguments: str) -> float:
    game = ["--likelihood", "identity", "--rounds", "0", "--signs", "3", "--sweeps", "10", "--burn-in", "3"]
    assert cli.main(["train", *arguments, *game, "--run-dir", str(folder / "run"), "--overwrite"]) == 0
    summary = json.loads((folder / "run" / run_folder.SUMMARY).read_text())
    return min(agent["ari"] for agent in summary["agents"].values())


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c + 1.7e9,
        lambda c: np.round(c * 100).astype(np.int64) + 1_700_000_000_000,
        lambda c: c + 5e7,
        lambda c: c * 1e-50,
    ],
    ids=["times", "milliseconds", "coordinates", "tiny"],
)
@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_a_spread_that_is_small_against_the_mean_is_not_lost(
    change: Callable[[np.ndarray], np.ndarray], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, labels = clusters()
    features = change(features)
    if kind == "npz":
        file = npz(tmp_path, features=features, labels=labels)
    else:
        rows = [f"{a},{b},{label}" for (a, b), label in zip(features.tolist(), labels, strict=True)]
        file = text(tmp_path, "\n".join(["a,b,label", *rows]))
    assert ari(tmp_path, "--dataset", kind, "--data", str(file)) == 1.0
    if kind == "csv":  # an object of another file is named as in the run, also alone
        run = load_run(tmp_path / "run")
        alone = text(tmp_path, "\n".join(["a,b,label", rows[45]]), "new.csv")
        others = load_others(run.config, files_of(run.config)._replace(data=(alone,), flag="--new"))
        assert torch.equal(others.views[0][0], run.objects.views[0][45])


def test_components_beyond_the_rank_change_nothing_and_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, labels = clusters(0.2)
    line = line[:, :1] - line[:, 1:]
    file = npz(tmp_path, features=line @ [[1, 0.5, 2, -1, 0.3, 0.7]], labels=labels)
    scores = set()
    for reduce in ("1", "2", "3", "5"):
        scores.add(ari(tmp_path, "--dataset", "npz", "--data", str(file), "--reduce", reduce))
        note = f"note: all agents: --reduce is {reduce}, but the features have 1 principal component beyond rounding"
        assert (note in capsys.readouterr().err) == (reduce != "1")
    assert len(scores) == 1
    assert load_run(tmp_path / "run").manifest["notes"][0].startswith("all agents: --reduce is 5")


def test_numbers_that_a_family_takes_as_they_are_must_fit_into_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = np.random.default_rng(0).random((30, 2)) * 1e-9
    shares = np.c_[1 - shares.sum(1), shares]
    (tmp_path / "sticky.py").write_text(
        "from mhng.models.mixtures.normal_wishart import NormalWishart\n"
        "class Shares(NormalWishart):\n    input_support = 'simplex'\n"
    )
    arguments = ["train", "--dataset", "npz", "--data", str(npz(tmp_path, features=shares))]
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(tmp_path))
        family = ["--likelihood", "identity", "--mixture", "sticky:Shares"]
        assert cli.main([*arguments, *family, "--run-dir", str(tmp_path / "run")]) == 2
    assert "column 0 of agent A in npz varies by" in capsys.readouterr().err


# -- whole runs ------------------------------------------------------------------------------------


def cut(folder: Path) -> str:
    np.savez(folder / "own.npz", images=BYTES)
    file = folder / "cut.npz"
    file.write_bytes((folder / "own.npz").read_bytes()[:-200])
    return str(file)


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "own.pipe")
    return str(folder / "own.pipe")


def pair(first: str, second: str) -> Callable[[Path], str]:
    return lambda folder: f"{text(folder, first, 'a.csv')},{text(folder, second, 'b.csv')}"


def spoilt(value: float) -> np.ndarray:
    images = FLOATS.copy()
    images[7, 2, 1, 0] = value
    return images


def holed(value: float) -> np.ndarray:
    numbers = NUMBERS.copy()
    numbers[7, 2] = value
    return numbers


def archive(*arrays: tuple[np.ndarray, bytes]) -> Callable[[Path], str]:
    """An .npz file with members called features, each with bytes at its end."""

    def make(folder: Path) -> str:
        with zipfile.ZipFile(folder / "own.npz", "w") as packed, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for two members of one name
            for array, end in arrays:
                stream = io.BytesIO()
                np.save(stream, array)
                packed.writestr("features.npy", stream.getvalue() + end)
        return str(folder / "own.npz")

    return make


NPZ: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing known": ({"pixels": BYTES}, ["one of images, features", "pixels"]),
    "both kinds": ({"images": BYTES, "features": NUMBERS}, ["one of", "images, features"]),
    "images and views": ({"images": BYTES, "view_A": BYTES, "view_B": BYTES}, ["one of", "view_A"]),
    "view_A alone": ({"view_A": BYTES}, ["view_A alone"]),
    "a gap": ({"view_A": BYTES, "view_C": BYTES}, ["view_B is not among them"]),
    "view counts differ": ({"view_A": BYTES, "view_B": BYTES[:5]}, ["view_A holds 12", "view_B 5"]),
    "four axes of five": ({"images": np.zeros((3, 5, 5, 5))}, ["C = 1 or 3", "(3, 5, 5, 5)"]),
    "flat images": ({"images": np.zeros((3, 25))}, ["(N, H, W)", "(3, 25)"]),
    "whole numbers": ({"images": BYTES.astype(np.int64)}, ["uint8", "int64"]),
    "no images": ({"images": BYTES[:0]}, ["images is empty"]),
    "a NaN": ({"images": spoilt(np.nan)}, ["images[7] has nan"]),
    "above one": ({"view_A": BYTES, "view_B": spoilt(1.5)}, ["view_B[7] has 1.5"]),
    "objects": ({"images": np.array([{}] * 3, dtype=object)}, ["dtype is object"]),
    "inf": ({"features": holed(np.inf)}, ["features", "[7, 2] is inf"]),
    "identifiers": (
        {"features": np.array([[2**62, 1], [2**62 + 9, 2]])},
        ["column 0 has numbers", "too close together"],
    ),
    "too large": ({"features": holed(1e300)}, ["features", "[7, 2] is 1e+300"]),
    "texts": ({"features": np.array([["a"]])}, ["features must be numbers (N, D)", "<U1"]),
    "no column": ({"features": np.zeros((3, 0))}, ["(N, D)", "(3, 0)"]),
    "labels short": ({"images": BYTES, "labels": np.zeros(11, int)}, ["labels must be 12", "(11,)"]),
    "one-hot": ({"images": BYTES, "labels": np.eye(12)}, ["labels must be 12", "(12, 12)"]),
    "halves": ({"images": BYTES, "labels": np.full(12, 0.5)}, ["labels[0] must be a whole number", "0.5"]),
    "label objects": ({"images": BYTES, "labels": np.array(["a", None] * 6)}, ["labels must be 12", "object"]),
    "blanks after a label": ({"features": NUMBERS, "labels": np.array(["a", "a "] * 6)}, ["'a' and 'a ' look alike"]),
    "an empty label": ({"images": BYTES, "labels": np.array(["a", ""] * 6)}, ["labels[1]", "empty"]),
}
OTHERS: dict[str, tuple[str, Callable[[Path], str], list[str], list[str]]] = {
    "two arrays of one name": ("npz", archive((NUMBERS, b""), (NUMBERS * 0, b"")), [], ["own.npz", "damaged"]),
    "more bytes than numbers": ("npz", archive((NUMBERS, bytes(8))), [], ["own.npz", "damaged"]),
    "a large count": ("npz", lambda folder: str(npz(folder, features=np.full((3, 2), 2**24 + 1))),
                      ["--likelihood", "identity", "--mixture", "dirichlet"], ["requires counts", "is 16777217"]),
    "a pipe of numbers": ("csv", pipe, [], ["own.pipe is a pipe or a device"]),
    "a pipe of arrays": ("npz", pipe, [], ["own.pipe is a pipe or a device"]),
    "a device": ("csv", lambda folder: "/dev/null", [], ["/dev/null is a pipe or a device"]),
    "absent": ("npz", lambda folder: str(folder / "none.npz"), [], ["none.npz", "No such file"]),
    "a folder": ("npz", str, [], ["--data", "Is a directory"]),
    "no zip": ("npz", lambda folder: str(text(folder, "hello", "own.npz")), [], ["own.npz", "not an .npz file"]),
    "cut": ("npz", cut, [], ["cut.npz", "damaged"]),
    "two npz": ("npz", lambda folder: f"{cut(folder)},{cut(folder)}", [], ["one file", "names 2"]),
    "an empty path": ("npz", lambda folder: "a.npz,", [], ["--data", "'a.npz,'"]),
    "too many agents": ("npz", lambda folder: str(npz(folder, view_A=NUMBERS, view_B=NUMBERS)), ["--agents", "3"],
                        ["2 agents", "--agents is 3"]),
    "turned features": ("npz", lambda folder: str(npz(folder, features=NUMBERS)), ["--views", "0,45"],
                        ["--views 45 of agent B requires images"]),
    "identity of images": ("npz", lambda folder: str(npz(folder, images=BYTES)), ["--likelihood", "identity"],
                           ["--likelihood identity", "images"]),
    "identity of many": ("npz", lambda folder: str(npz(folder, features=np.zeros((3, 1001)))),
                         ["--likelihood", "identity"], ["at most 1000 features", "1001", "--reduce"]),
    "bernoulli features": ("npz", lambda folder: str(npz(folder, features=NUMBERS)), ["--likelihood", "bernoulli"],
                           ["--likelihood bernoulli"]),
    "reduced images": ("npz", lambda folder: str(npz(folder, images=BYTES)), ["--reduce", "3"], ["--reduce"]),
    "reduced to N": ("npz", lambda folder: str(npz(folder, features=NUMBERS[:3])),
                     ["--reduce", "3", "--likelihood", "identity"], ["--reduce", "objects, 3"]),
    "limit": ("npz", lambda folder: str(npz(folder, images=BYTES)), ["--limit", "13"],
              ["--limit is 13", "12 objects"]),
    "a label column": ("npz", lambda folder: "x.npz", ["--label-column", "3"], ["--label-column requires"]),
    "an empty file": ("csv", lambda folder: str(text(folder, "\n \n")), [], ["own.csv is empty"]),
    "a header alone": ("csv", lambda folder: str(text(folder, "a,b\n")), [], ["a header and no rows"]),
    "a NaN cell": ("csv", lambda folder: str(text(folder, "a,b\n1,2\n\n3,nan\n")), [],
                   ["line 4", "column 2 (b)", "'nan'"]),
    "a missing cell": ("csv", lambda folder: str(text(folder, "1,2\n3,\n")), [], ["line 2", "column 2", "''"]),
    "missing at once": ("csv", lambda folder: str(text(folder, "1,\n3,4\n")), [], ["line 1", "--header yes"]),
    "a text cell": ("csv", lambda folder: str(text(folder, "1,2\n3,1_000\n")), [], ["line 2", "'1_000'"]),
    "a cell too large": ("csv", lambda folder: str(text(folder, "1,2\n3,1e39\n")), [], ["[1, 1] is 1e+39"]),
    "ragged": ("csv", lambda folder: str(text(folder, "1,2\n3,4,5\n")), [], ["line 2", "3 columns", "has 2"]),
    "rows numbered": ("csv", lambda folder: str(text(folder, ",a\n0,4\n1,5\n")), [], ["column 1 has no name"]),
    "rows numbered by pandas": ("csv", lambda folder: str(text(folder, "Unnamed: 0,a,label\n0,4,x\n1,5,y\n")), [],
                                ["column 1 is called 'Unnamed: 0'", "index=False"]),
    "a row of empty cells": ("csv", pair("1,2\n,\n3,4\n", "1,2\n3,4\n ,\n"), [],
                             ["a.csv, line 2: all cells are empty"]),
    "an empty cell": ("csv", lambda folder: str(text(folder, "a\n1\n\n3\n")), [], ["line 3: all cells are empty"]),
    "semicolons": ("csv", lambda folder: str(text(folder, "a;b\n1,5;2\n")), [], ["one column, with ';' in its cells"]),
    "tabs": ("csv", lambda folder: str(text(folder, "1\t2\n3\t4\n")), [], ["one column, with '\\t'", "commas"]),
    "an escape in a label": ("csv", lambda folder: str(text(folder, "a,label\n1,\x1b[31mx\n")), [],
                             ["the class '\\x1b[31mx' has a control character"]),
    "one letter in two forms": ("csv", lambda folder: str(text(folder, "a,label\n1,é\n2,e\u0301\n")), [],
                                ["'e\\u0301' and '\\xe9' look alike"]),
    "rows under #": ("csv", lambda folder: str(text(folder, "#,a\n0,4\n1,5\n")), [], ["column 1 has no name"]),
    "a column 1_0": ("csv", lambda folder: str(text(folder, "a,b\n1,2\n")), ["--label-column", "1_0"],
                                       ["--label-column 1_0", "no column"]),
    "halves of savetxt": ("csv", lambda folder: str(text(folder, "label,a\n1.0e+00,1\n2.5e+00,2\n")), [],
                          ["label[1] must be a whole number", "2.5e+00"]),
    "a missing label": ("csv", lambda folder: str(text(folder, "label,a\n1.0,1\nnan,2\n")), [],
                        ["label[1] must be a whole number", "nan"]),
    "labels alone": ("csv", lambda folder: str(text(folder, "label\n1\n")), [], ["no column of features"]),
    "two label columns": ("csv", lambda folder: str(text(folder, "a,label,label\n1,2,3\n")), [], ["2 columns"]),
    "no such column": ("csv", lambda folder: str(text(folder, "a,b\n1,2\n")), ["--label-column", "c"],
                       ["--label-column c", "no column"]),
    "a column too far": ("csv", lambda folder: str(text(folder, "a,b\n1,2\n")), ["--label-column", "3"],
                         ["--label-column", "1 to 2", "3"]),
    "column zero": ("csv", lambda folder: str(text(folder, "a,b\n1,2\n")), ["--label-column", "0"], ["it is 0"]),
    "half labels": ("csv", lambda folder: str(text(folder, "1,2\n3,2.5\n")), ["--label-column", "2"],
                    ["label[1] must be a whole number", "2.5"]),
    "an empty label cell": ("csv", lambda folder: str(text(folder, "1,2\n3,\n")), ["--label-column", "2"],
                            ["line 2", "label is empty"]),
    "rows differ": ("csv", pair("1,2\n3,4\n", "1,2\n"), [], ["a.csv has 2 rows", "b.csv 1"]),
    "labels differ": ("csv", pair("a,label\n1,x\n2,y\n", "b,label\n1,x\n2,x\n"), [],
                      ["b.csv, line 3", "'x'", "'y'"]),
    "latin": ("csv", lambda folder: str(_latin(folder)), [], ["own.csv", "UTF-8"]),
    "absent csv": ("csv", lambda folder: str(folder / "none.csv"), [], ["none.csv", "No such file"]),
    "a bad header flag": ("csv", lambda folder: "x.csv", ["--header", "maybe"], ["--header", "auto, yes, no"]),
}  # fmt: skip


def _latin(folder: Path) -> Path:
    file = folder / "own.csv"
    file.write_bytes("größe,label\n1,2\n".encode("latin-1"))
    return file


@pytest.mark.parametrize("fault", NPZ)
def test_an_unfit_npz_is_refused(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, said = NPZ[fault]
    file = npz(tmp_path, **arrays)
    features = "features" in arrays and "images" not in arrays
    extra = ["--likelihood", "identity"] if features else []
    refused(["train", "--dataset", "npz", "--data", str(file), *extra], tmp_path, [*said, "own.npz"], capsys)


@pytest.mark.parametrize("fault", OTHERS)
def test_unfit_files_and_flags_are_refused(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, make, extra, said = OTHERS[fault]
    arguments = ["train", "--dataset", kind, "--data", make(tmp_path), *extra]
    if kind == "csv":
        arguments += ["--likelihood", "identity"]
    refused(arguments, tmp_path, said, capsys)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "npz"], ["--dataset npz requires --data"]),
        (["--data", "x.npz"], ["--dataset is mnist5k"]),
        (["--header", "yes"], ["--header requires --dataset csv"]),
        (["--reduce", "3", "--dataset", "digits"], ["--reduce requires features"]),
    ],
)
def test_flags_that_do_not_go_together(
    arguments: list[str], said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(["train", *arguments], tmp_path, said, capsys)


def test_sizes_are_judged_before_there_is_memory_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = npz(tmp_path, images=np.zeros((100, 32, 32)))
    numbers = text(tmp_path, ROWS * 100)
    monkeypatch.setattr("mhng.experiment.util.memory.available_memory", lambda: 1000)
    for kind, data in (("npz", file), ("csv", numbers)):
        with pytest.raises(UsageError, match="GiB of memory are available"):
            read(kind, data)
    monkeypatch.setattr("mhng.experiment.training.memory_estimate.available_memory", lambda: 10**7)
    config = Config(likelihood="identity", chains=1)
    specs = [spec.with_shapes(((900,),)) for spec in agent_specs(config)]
    with pytest.raises(UsageError, match=r"3 latents with 900 dimensions .* pass --reduce"):
        check(config, specs, 3, torch.device("cpu"))


def test_a_run_of_agents_with_unequal_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = npz(tmp_path, view_A=NUMBERS, view_B=NUMBERS[:, :2])
    folder = tmp_path / "run"
    arguments = ["train", "--dataset", "npz", "--data", str(file), "--likelihood", "identity", *QUICK]
    assert cli.main([*arguments, "--run-dir", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert "Views: separate data for each agent: A 6, B 2" in out and "no component means" in err
    summary = json.loads((folder / run_folder.SUMMARY).read_text())
    assert summary["agents"]["A"]["ari"] is None and summary["kappa"] is not None
    assert "mu" not in load_posterior(folder / run_folder.POSTERIOR)["posterior"]
    assert cli.main(["diagnose", str(folder), "--no-plots"]) == 0
    assert cli.main(["name", str(folder), "--images", str(file)]) == 2
    assert cli.main(["recall", str(folder)]) == 2
    assert capsys.readouterr().err.count("feature vectors of npz") == 2
    assert cli.main(["corpus", str(folder), "--out", str(tmp_path / "said")]) == 0
    assert cli.main(["train", "--resume", str(folder), "--rounds", "1"]) == 0
    npz(tmp_path, view_A=NUMBERS + 1e-3, view_B=NUMBERS[:, :2] ** 2)
    assert cli.main(["train", "--resume", str(folder), "--rounds", "2"]) == 2
    assert "the objects of npz are not those of the run" in capsys.readouterr().err


def test_a_run_of_images_names_what_it_left_and_labels_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.array([7, -3, 40] * 4)
    file = npz(tmp_path, images=BYTES, labels=labels)
    folder, out = tmp_path / "run", tmp_path / "rows.jsonl"
    arguments = ["train", "--dataset", "npz", "--data", str(file), "--limit", "10", *QUICK]
    assert cli.main([*arguments, "--run-dir", str(folder)]) == 0
    for source in (["--split", "rest"], ["--images", str(file)]):
        assert cli.main(["name", str(folder), *source, "--out", str(out)]) == 0
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        named = labels[10:] if source[0] == "--split" else labels
        assert [row["label"] for row in rows] == [str(label) for label in named]
    np.savez(tmp_path / "foreign.npz", images=BYTES[:2], labels=[7, 8])
    capsys.readouterr()
    assert cli.main(["name", str(folder), "--images", str(tmp_path / "foreign.npz")]) == 0
    out, err = capsys.readouterr()
    assert [line.split(",")[1] for line in out.splitlines()[1:]] == ["7", "8"]
    assert "classes that the run does not have; their accuracy is 0: 8\n" in err


@pytest.mark.parametrize("title", ["label", "Label", "LABELS", "labels"])
def test_no_agent_sees_a_column_of_labels(title: str, tmp_path: Path) -> None:
    file = text(tmp_path, f"a,{title},b\n1,0,2\n3,1,4\n")
    objects = read("csv", file)
    assert objects.views[0].tolist() == [[1, 2], [3, 4]]
    assert objects.labels is not None and objects.labels.tolist() == [0, 1]
    assert objects.modalities[0][0].title == "features"


def test_which_column_is_the_label_can_be_said(tmp_path: Path) -> None:
    file = text(tmp_path, "a,Label,label\n1,0.5,2\n3,1.5,4\n")
    assert read("csv", file).views[0].tolist() == [[1, 0.5], [3, 1.5]]  # the one of exactly that name
    assert read("csv", file, label_column="none").views[0].tolist() == [[1, 0.5, 2], [3, 1.5, 4]]
    assert read("csv", file, label_column="none").labels is None


def test_quotes_that_are_closed_may_have_blanks_after_them(tmp_path: Path) -> None:
    objects = read("csv", text(tmp_path, '"a" ,"label" \n"1.0" ,"x" \n2,"big" dog\n'))
    assert objects.class_names == ("big dog", "x") and objects.views[0].tolist() == [[1], [2]]


def test_the_array_of_labels_may_be_called_label(tmp_path: Path) -> None:
    objects = read("npz", npz(tmp_path, images=BYTES, label=np.arange(12) % 4))
    assert objects.labels is not None and objects.labels.tolist() == (np.arange(12) % 4).tolist()


def test_data_that_has_moved_is_found_where_data_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = npz(tmp_path, images=BYTES, labels=np.arange(12) % 3), str(tmp_path / "run")
    arguments = ["train", "--dataset", "npz", "--data", str(file), "--limit", "10", *QUICK]
    assert cli.main([*arguments, "--run-dir", run]) == 0
    moved = file.rename(tmp_path / "moved.npz")
    np.savez(tmp_path / "other.npz", images=BYTES[::-1])
    commands = (["recall", run], ["name", run, "--split", "rest", "--out", str(tmp_path / "rows.csv")])
    for command in commands:
        capsys.readouterr()
        assert cli.main(command) == 2 and str(file) in capsys.readouterr().err
        assert cli.main([*command, "--data", str(tmp_path / "other.npz")]) == 2
        assert "are not those of the run" in capsys.readouterr().err
        assert cli.main([*command, "--data", str(moved)]) == 0
    assert cli.main(["report", run]) == 0
    bare = len((tmp_path / "run" / "report.html").read_bytes())
    assert cli.main(["report", run, "--data", str(moved)]) == 0
    assert len((tmp_path / "run" / "report.html").read_bytes()) > bare, "recall and latent map are there"
    assert load_run(run, data=str(moved)).latents("A").shape[0] == 10


def test_paired_images_of_unequal_shapes_are_recalled_and_not_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = npz(tmp_path, view_A=BYTES, view_B=FLOATS[:, :3], labels=np.array(["x", "y"] * 6))
    folder = tmp_path / "run"
    assert cli.main(["train", "--dataset", "npz", "--data", str(file), *QUICK, "--run-dir", str(folder)]) == 0
    assert cli.main(["recall", str(folder)]) == 0
    assert (folder / run_folder.PLOTS / "cross_recall.png").exists()
    assert cli.main(["name", str(folder), "--images", str(file)]) == 2
    assert "each agent has separate data" in capsys.readouterr().err


def test_paired_images_of_one_shape_are_named_by_each_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = npz(tmp_path, view_A=BYTES, view_B=BYTES[::-1], labels=np.array(["x", "y"] * 6))
    folder, new = tmp_path / "run", tmp_path / "new.npz"
    np.savez(new, images=BYTES)
    assert cli.main(["train", "--dataset", "npz", "--data", str(file), *QUICK, "--run-dir", str(folder)]) == 0
    capsys.readouterr()
    assert cli.main(["name", str(folder), "--images", str(new)]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 13
    assert "every agent names each image as if it were its own observation" in err


def test_multiple_features_of_handwritten_digits() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    files = (SHARED / "mfeat-mor.csv", SHARED / "mfeat-zer.csv")
    objects = read("csv", *files, label_column="-1")
    assert [tuple(view.shape) for view in objects.views] == [(2000, 6), (2000, 47)]
    assert objects.class_names == tuple("0123456789") and objects.labels is not None
    assert np.bincount(objects.labels).tolist() == [200] * 10
    np.testing.assert_allclose(objects.views[0][0].numpy(), [1, 0, 0, 133.15, 1.3117, 1620.2], rtol=1e-6)


def test_a_run_of_files_keeps_their_names_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = image_folder(tmp_path / "data"), tmp_path / "run"
    arguments = ["train", "--dataset", "folder", "--data", str(data), "--image-size", "8", "--limit", "4", *QUICK]
    assert cli.main([*arguments, "--run-dir", str(run)]) == 0
    with np.load(run / run_folder.SIGNS) as arrays:
        assert arrays["files"].tolist() == ["10/a.png", "2/a.bmp", "2/b.PNG", "2/deep/a.png"]
        assert arrays["label"].tolist() == [2, 0, 0, 0]
    capsys.readouterr()
    assert cli.main(["name", str(run), "--split", "rest"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("4,9,")
    image(data / "2/b.PNG", 1)
    assert cli.main(["name", str(run), "--split", "rest"]) == 2
    assert "the objects of folder are not those of the run" in capsys.readouterr().err


def test_a_run_with_views_names_its_own_objects_as_it_saw_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.concatenate([BYTES / 255.0, FLOATS[..., 0]])
    whole, known = npz(tmp_path, images=images), tmp_path / "run"
    arguments = ["train", "--dataset", "npz", "--data", str(whole), "--views", "noise:0.3,patch:0.0/2+occlude:0.4"]
    assert cli.main([*arguments, *QUICK, "--run-dir", str(known)]) == 0
    assert "Views: 1x5x4, seen as: A noise:0.3, B patch:0.0/2+occlude:0.4" in capsys.readouterr().out
    out = tmp_path / "rows.jsonl"
    assert cli.main(["name", str(known), "--images", str(whole), "--out", str(out)]) == 0
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 24
    trained = SavedRun(known)
    again = apply_views(images[:, None].astype(np.float32), trained.config.views, names=trained.agents, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(again, trained.objects.views, strict=True))
    assert (known / run_folder.CHECKPOINT).exists()


# -- what is said before training ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1E2", "10E1", "2E5"], ("10E1", "1E2", "2E5")),
        (["1_1", "1_11", "11_1"], ("11_1", "1_1", "1_11")),
        (["01", "1", "001"], ("001", "01", "1")),
        (["1", "+1", "-1"], ("+1", "-1", "1")),
        (["-0", "0", "1"], ("-0", "0", "1")),
        (["1.0", "1.00", "1"], ("1", "1.0", "1.00")),
        (["10.0", "2.0", "1.0"], ("1", "2", "10")),
        (["1.000e+00", "2.000e+00", "1.000e+01"], ("1", "2", "10")),
        (["１", "1", "٣"], ("1", "٣", "１")),
        (["0x10", "16", "1e1"], ("0x10", "16", "1e1")),
        ([str(2**70), str(2**70 + 1), "7"], ("7", str(2**70), str(2**70 + 1))),
    ],
    ids=str,
)
def test_different_texts_are_different_classes(labels: list[str], names: tuple[str, ...]) -> None:
    codes, class_names = encode_labels("labels", np.array(labels))
    assert class_names == names and len(set(codes.tolist())) == 3


def test_agents_that_cannot_tell_two_classes_apart_get_no_full_score(tmp_path: Path) -> None:
    features, _ = clusters()
    features[20:40] = features[:20]
    rows = [f"{a},{b},{['1E2', '10E1', '2E5'][n // 20]}" for n, (a, b) in enumerate(features.tolist())]
    score = ari(tmp_path, "--dataset", "csv", "--data", str(text(tmp_path, "\n".join(["a,b,label", *rows]))))
    assert 0.3 < score < 0.6
    assert load_run(tmp_path / "run").objects.class_names == ("10E1", "1E2", "2E5")


@pytest.mark.parametrize(
    "title", ["# label", "#label", "'Label'", " label ", "\u200blabel", "\ufeff\ufefflabel", "ｌａｂｅｌ"]
)
def test_a_decorated_name_hides_no_labels(title: str, tmp_path: Path) -> None:
    objects = read("csv", text(tmp_path, f"{title},f1,f2\n0,1,2\n1,3,4\n"))
    assert objects.views[0].tolist() == [[1, 2], [3, 4]] and objects.class_names == ("0", "1")


def test_a_table_of_savetxt_has_its_labels_and_names(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    np.savetxt(file, np.c_[[10, 2, 10], NUMBERS[:3]], delimiter=",", header="label,a,b,c,d,e,f")
    objects = read("csv", file)
    assert objects.class_names == ("2", "10") and objects.views[0].shape == (3, 6)
    np.savetxt(file, NUMBERS[:3], delimiter=",", header="a,b,c,d,e,f")
    assert csv_table.read_columns(file, None, "auto", False).titles == list("abcdef")


FIRST = "\n".join(f"{n},{value}" for n, value in enumerate([5, 3, 2, 4, 1, 0, 9, 8]))
NOTES: dict[str, tuple[Callable[[Path], tuple[str, Path]], list[str]]] = {
    "an index": (lambda folder: ("csv", text(folder, f"index,f1\n{FIRST}")), ["feature 1 (index) numbers the rows"]),
    "a counting column": (lambda folder: ("csv", text(folder, FIRST)), ["feature 1 numbers the rows (0, 1, ...)"]),
    "a shuffled index": (
        lambda folder: ("npz", npz(folder, features=np.c_[NUMBERS, np.random.default_rng(0).permutation(12)])),
        ["features: feature 7 numbers the rows"],
    ),
    "a column of classes": (
        lambda folder: ("csv", text(folder, "f1,target\n5,0\n6,1\n")),
        ["see the column 'target' as a feature", "--label-column target"],
    ),
    "a second column of labels": (
        lambda folder: ("csv", text(folder, "a,label,Label\n1,x,0\n2,y,1\n")),
        ["see the column 'Label' as a feature"],
    ),
    "an array of classes": (lambda folder: ("npz", npz(folder, features=NUMBERS, y=NUMBERS)), ["not used: y"]),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTES)
def test_suspicious_data_get_a_note(case: str, tmp_path: Path) -> None:
    make, said = NOTES[case]
    kind, file = make(tmp_path)
    (note,) = read(kind, file).notes
    assert note.startswith(f"--data {file}") and all(words in note for words in said)


def test_ordinary_data_get_no_note(tmp_path: Path) -> None:
    assert read("npz", npz(tmp_path, features=NUMBERS, LABELS=np.arange(12) % 2)).notes == ()
    assert read("csv", text(tmp_path, "a,label\n5,0\n3,1\n")).notes == ()
    (tmp_path / "images").mkdir()
    image(tmp_path / "images/cat/1.png", 9)
    image(tmp_path / "images/dog/deep/1.png", 9)
    assert read("folder", tmp_path / "images").notes == ()


def test_folders_and_files_that_are_left_out_are_said(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data")
    text(root / "2", "x", "photo.heic")
    text(root / "2", "x", "bare")
    first, second = read("folder", root).notes
    assert first == f"--data {root}: folders without images are not used as classes: empty"
    assert second.startswith(f"--data {root}: 2 files with other suffixes left out (.heic, no suffix), such as 2/")


def test_files_with_several_frames_are_said(tmp_path: Path) -> None:
    frames = [Image.new("L", (6, 6), value) for value in (10, 200, 90)]
    for name in ("a.gif", "b.png", "c.tif", "d.webp"):
        (tmp_path / "data").mkdir(exist_ok=True)
        frames[0].save(tmp_path / "data" / name, save_all=True, append_images=frames[1:])
    image(tmp_path / "data/e.png", 9)
    (note,) = read("folder", tmp_path / "data").notes
    assert "4 files with several frames; only the first is read" in note


@pytest.mark.parametrize(("names", "said"), [(("é", "e\u0301"), "look alike"), (("a\nb", "c"), "control character")])
def test_class_folders_that_look_alike_are_refused(names: tuple[str, str], said: str, tmp_path: Path) -> None:
    for name in names:
        image(tmp_path / "data" / name / "1.png", 9)
    with pytest.raises(UsageError, match=said):
        read("folder", tmp_path / "data")


@pytest.mark.parametrize(
    ("labels", "said"), [([3] * 12, "all objects have the same"), (range(12), "12 labels differ")]
)
def test_labels_that_cannot_score_get_a_note(labels: Any, said: str, tmp_path: Path) -> None:
    file = npz(tmp_path, features=NUMBERS, labels=np.array(labels))
    config = resolve({"dataset": "npz", "data": str(file), "likelihood": "identity"})
    (note,) = load_objects(config).objects.notes
    assert said in note


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_a_link_that_leads_nowhere_is_refused(target: str, tmp_path: Path) -> None:
    root = image_folder(tmp_path / "data")
    (root / "loop").symlink_to(target)
    with pytest.raises(UsageError, match="loop is a link to a missing file or folder"):
        read("folder", root)


def test_notes_are_printed_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = text(tmp_path, f"index,f1\n{FIRST}"), tmp_path / "run"
    arguments = ["train", "--dataset", "csv", "--data", str(file), "--likelihood", "identity", *QUICK]
    assert cli.main([*arguments, "--run-dir", str(run)]) == 0
    (note,) = load_run(run).manifest["notes"]
    assert capsys.readouterr().err.count(f"note: {note}\n") == 1
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    assert f"Warning: {note}\n" in capsys.readouterr().out


def strokes(folder: Path) -> Path:
    """Black strokes on transparent: all black."""
    for n in range(9):
        pixels = np.zeros((6, 6, 4), np.uint8)
        pixels[n // 3, :, 3] = 255
        (folder / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"in/{n}.png")
    return folder / "in"


def deep(folder: Path) -> Path:
    """16-bit files of numbers to 4095."""
    (folder / "in").mkdir()
    for n in range(9):
        Image.fromarray(np.full((28, 28), n * 511, np.uint16)).save(folder / f"in/{n}.png")
    return folder / "in"


def masks(folder: Path) -> Path:
    for n in range(9):
        image(folder / f"in/{n}.png", n % 2)
    return folder / "in"


def pixel(folder: Path) -> Path:
    images = np.full((9, 28, 28), 0.5)
    images[:, 3, 3] = np.linspace(0, 1, 9)
    return npz(folder, images=images)


DULL: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "black": ("npz", lambda folder: npz(folder, images=BYTES * 0), "all 12 objects are alike; every pixel is 0"),
    "white": ("npz", lambda folder: npz(folder, images=BYTES * 0 + 255.0 / 255), "are alike; every pixel is 1"),
    "alike": ("npz", lambda folder: npz(folder, images=BYTES[[4] * 9]), "all 9 objects are alike"),
    "one pixel": ("npz", pixel, "the objects differ in 1 of 784 pixels only"),
    "strokes": ("folder", strokes, "all 9 objects are alike; every pixel is 0"),
    "divided twice": ("npz", lambda folder: npz(folder, images=BYTES / 255**2), " 0 and 0.00392; expected"),
    "sixteen levels": ("npz", lambda folder: npz(folder, images=BYTES // 16), "near black: .* 0 and 0.0588"),
    "a stray 3": ("npz", lambda folder: npz(folder, images=BYTES // 200 * 2 + BYTES % 2), "0.0118"),
    "masks": ("folder", masks, "near black: .* 0 and 0.00392"),
    "twelve bits": ("folder", deep, "near black: .* 0 and 0.0624"),
    "pale": ("npz", lambda folder: npz(folder, images=1 - BYTES / 255 / 5), "near white: .* 0.8 and 1"),
    "flat": ("npz", lambda folder: npz(folder, images=0.4 + BYTES / 255 / 5), "low contrast: .* 0.4 and 0.6"),
    "constant": ("npz", lambda folder: npz(folder, features=NUMBERS * 0 + 7), "all 12 objects are alike; no feature"),
    "a column": ("npz", lambda folder: npz(folder, features=NUMBERS * [1, 0, 1, 0, 1, 1]), "2 of 6 .* vary: 2, 4$"),
}  # fmt: skip


@pytest.mark.parametrize("case", DULL)
def test_data_with_little_variation_get_a_note(case: str, tmp_path: Path) -> None:
    kind, make, said = DULL[case]
    file = str(make(tmp_path))
    views = {} if case in ("constant", "a column") else {"views": "0,0"}
    likelihood = "bernoulli" if views else "gaussian"
    objects = load_objects(resolve({"dataset": kind, "data": file, "likelihood": likelihood} | views)).objects
    (note,) = objects.notes
    assert re.search(f"^all agents: .*{said}", note), note


def test_new_images_near_black_get_a_note(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for levels, said in ((3, "largest pixel is 0.00784"), (256, "")):
        images = np.random.default_rng(0).integers(0, levels, (4, 8, 8), dtype=np.uint8)
        assert cli.main(["name", str(digits_run), "--images", str(npz(tmp_path, images=images))]) == 0
        err = capsys.readouterr().err
        assert said in err and ("near black" in err) == bool(said)


def test_agents_with_their_own_data_are_named(tmp_path: Path) -> None:
    file = npz(tmp_path, view_A=BYTES, view_B=BYTES[[4] * 12], view_C=BYTES)
    assert load_objects(resolve({"dataset": "npz", "data": str(file)})).objects.notes == (
        "agent B: all 12 objects are alike",
    )


def test_the_sets_of_packages_get_no_note() -> None:
    for dataset, likelihood in (("digits", "bernoulli"), ("synthetic", "identity"), ("mnist5k", "bernoulli")):
        config = resolve({"dataset": dataset, "likelihood": likelihood, "limit": "300"})
        assert load_objects(config).objects.notes == ()


@pytest.mark.parametrize("notes", [None, 5, "text", [1, None]])
def test_foreign_notes_in_a_manifest_do_not_stop_a_diagnosis(
    notes: Any, vectors_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(vectors_run, tmp_path / "run"))
    file = run / run_folder.MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"notes": notes}))
    assert cli.main(["diagnose", str(run), "--no-plots"]) == 0
    assert ("Warning: None\n" in capsys.readouterr().out) == isinstance(notes, list)
