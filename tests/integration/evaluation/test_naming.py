"""`name RUN`: what agents say of unseen images is Bayes' rule, whatever they came in; bad images leave nothing."""

from __future__ import annotations

import csv
import io
import json
import shutil
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mhng import cli
from mhng.experiment.data import loading
from mhng.experiment.data.builtin import registry as builtin_registry
from mhng.experiment.data.builtin.idx import IDX_SETS
from mhng.experiment.data.images import read_image
from mhng.experiment.data.resize import resize_images
from mhng.experiment.data.views import apply_views
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching
from mhng.experiment.evaluation.naming import InferredSigns, infer_signs, score
from mhng.experiment.metrics import partitions
from mhng.experiment.training.saved_run import SavedRun


@pytest.fixture(scope="module")
def unseen() -> np.ndarray:
    """Twelve 8 x 8 digits that the run did not use, (12, 8, 8) in [0, 1]."""
    return builtin_registry.digits().images[200:212, 0]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def named(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    assert cli.main(["name", str(run), *arguments]) == 0
    return rows(capsys.readouterr().out)


def refused(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["name", str(run), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


# -- what is said ------------------------------------------------------------------------------------


def test_signs_are_bayes_rule_with_torchs_own_density(digits_run: Path, unseen: np.ndarray) -> None:
    trained = SavedRun(digits_run)
    agents = list(trained.models.values())
    pi = torch.tensor([0.3, 0.02, *[0.085] * 8], dtype=torch.float64)  # skewed: a prior counted twice would show
    for agent in agents:
        agent.log_pi.copy_((pi / pi.sum()).log())
    views = apply_views(unseen[:, None].copy(), trained.config.views, names="AB", seed=0)
    said = infer_signs(trained, views)
    log_likelihoods = []
    for agent, own, view in zip(agents, trained.parameters.values(), views, strict=True):
        z = agent.encoder(view)[0].double()
        law = torch.distributions.MultivariateNormal(own.mu, scale_tril=own.scale_tril)
        log_likelihoods.append(law.log_prob(z[:, None]))
    log_pi = agents[0].log_pi
    for m, own_table in enumerate(log_likelihoods):
        law = (log_pi + own_table).softmax(-1)
        assert said.signs[m].tolist() == law.argmax(-1).tolist()
        np.testing.assert_allclose(said.probability[m], law.max(-1).values.numpy(), rtol=1e-9)
    joint = (log_pi + log_likelihoods[0] + log_likelihoods[1]).softmax(-1)
    assert said.joint.tolist() == joint.argmax(-1).tolist()
    np.testing.assert_allclose(said.joint_probability, joint.max(-1).values.numpy(), rtol=1e-9)


def test_agents_are_those_of_the_checkpoint(digits_run: Path) -> None:
    """Weights and components are the saved ones, and the names are nearer to the run's own than chance is."""
    trained = SavedRun(digits_run)
    saved = torch.load(digits_run / "checkpoint.pt", weights_only=True)
    said = infer_signs(trained, trained.objects.views)
    for m, (name, agent) in enumerate(trained.models.items()):
        for key, value in saved["members"][name]["agent"].items():
            assert torch.equal(agent.state_dict()[key], value), key
        assert torch.equal(trained.parameters[name].mu, saved["components"][m][0])
        assert torch.equal(trained.parameters[name].scale_tril, saved["components"][m][1])
        assert partitions.kappa(said.signs[m], trained.signs[name]) > 0.1
    assert trained.round == 1


def test_scores_use_the_runs_matching_and_not_a_new_one() -> None:
    old = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 2])
    meaning = matching.match_signs(matching.contingency_table(*old, K=4, classes=3))
    assert meaning.tolist() == [0, 1, 2, -1]
    new = np.array([1, 1, 0, 0])  # a perfect partition under other numbers
    labels = np.array([0, 0, 1, 1])
    said = InferredSigns(np.stack([new, new]), np.ones((2, 4)), new, np.ones(4))
    found = score(said, ["A", "B"], labels, [meaning] * 3)
    assert found["agents"]["A"] == {"ari": 1.0, "nmi": pytest.approx(1.0), "accuracy": 0.0}
    assert (found["kappa"], found["agreed"], found["joint"]["ari"]) == (1.0, 1.0, 1.0)


def test_the_rest_is_what_the_run_did_not_use(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = named(digits_run, capsys, "--split", "rest")
    assert [int(row["index"]) for row in found] == list(range(200, 1797))
    labels = builtin_registry.digits().labels[200:]
    assert [row["label"] for row in found] == [str(label) for label in labels]
    assert all((row["agree"] == "true") == (row["sign_A"] == row["sign_B"]) for row in found)
    trained = SavedRun(digits_run)
    images = builtin_registry.digits().images[200:]
    said = infer_signs(trained, apply_views(images, (0.0, 45.0), names="AB", seed=0))
    assert [int(row["sign_B"]) for row in found] == said.signs[1].tolist()  # in chunks as in one piece


# -- where images come from --------------------------------------------------------------------------


def test_every_container_of_the_same_images_gives_the_same_names(
    digits_run: Path, unseen: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bytes_ = (unseen * 255).round().astype(np.uint8)
    colour = np.repeat(bytes_[..., None], 3, axis=-1)
    arrays = {
        "bytes": bytes_,
        "floats": bytes_.astype(np.float64) / 255,
        "channel": bytes_[:, None],
        "colour-last": colour,
        "colour-first": colour.transpose(0, 3, 1, 2),
        "fortran": np.asfortranarray(bytes_),
        "big-endian": (bytes_ / 255).astype(">f4"),
    }
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    for n, image in enumerate(bytes_):
        Image.fromarray(image).save(folder / f"{n:02}.{'bmp' if n % 2 else 'png'}")
    expected = named(digits_run, capsys, "--images", str(folder))
    assert [row.pop("file") for row in expected] == [f"{n:02}.{'bmp' if n % 2 else 'png'}" for n in range(12)]
    signs = [(row["sign_A"], row["sign_B"], row["joint_sign"], row["agree"]) for row in expected]
    assert len(set(signs)) > 3
    for name, array in arrays.items():
        file = tmp_path / f"{name}.npz"
        np.savez(file, images=array)
        found = named(digits_run, capsys, "--images", str(file))
        assert [(row["sign_A"], row["sign_B"], row["joint_sign"], row["agree"]) for row in found] == signs, name
    one = named(digits_run, capsys, "--images", str(folder / "03.bmp"))
    assert [row["file"] for row in one] == ["03.bmp"] and one[0]["sign_A"] == signs[3][0]


def test_black_on_white_is_said_to_be_unlike_the_objects_of_the_run(
    digits_run: Path, unseen: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.npz"
    for images, count in ((unseen, 0), (1 - unseen, 12)):
        np.savez(file, images=images)
        assert cli.main(["name", str(digits_run), "--images", str(file)]) == 0
        assert (f"note: {count} of 12 objects are unlike those of the run" in capsys.readouterr().err) == (count > 0)


def test_labels_of_an_npz_are_scored_and_json_is_strict(
    digits_run: Path, unseen: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "new.npz", tmp_path / "names.jsonl"
    np.savez(file, images=unseen, labels=builtin_registry.digits().labels[200:212])
    arguments = ["name", str(digits_run), "--images", str(file), "--out", str(out), "--limit", "10", "--json"]
    assert cli.main(arguments) == 0
    text, err = capsys.readouterr()
    found = json.loads(text, parse_constant=pytest.fail)
    assert err == "" and found["objects"] == 10 and 0 <= found["agents"]["B"]["accuracy"] <= 1
    table = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(table) == 10 and table[0]["index"] == 0 and isinstance(table[0]["agree"], bool)
    assert [row["label"] for row in table] == [str(label) for label in builtin_registry.digits().labels[200:210]]
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["names.jsonl", "new.npz"]


def test_the_test_files_of_an_idx_set(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    for name, array in zip(
        IDX_SETS["mnist"].files("test"), (images, np.array([7, 2, 1], dtype=np.uint8)), strict=True
    ):
        head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (raw / name).write_bytes(head + array.tobytes())
    source, indices = loading.held_out("mnist", "test", data_root=tmp_path, used=10_000)
    np.testing.assert_array_equal(source.images, images[:, None])
    assert source.labels.tolist() == [7, 2, 1] and indices.tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="train-images-idx3-ubyte"):
        loading.held_out("mnist", "rest", data_root=tmp_path, used=1)


def test_the_rest_of_mnist5k_is_in_its_fixed_order() -> None:
    used = loading.load("mnist5k", data_root=None, download=False, limit=4990, views=(0.0,), seed=0)
    source, indices = loading.held_out("mnist5k", "rest", data_root=None, used=4990)
    assert len(source.images) == len(indices) == 10
    assert sorted([*used.indices, *indices]) == list(range(5000))
    with pytest.raises(UsageError, match="the run used all 5000 objects"):
        loading.held_out("mnist5k", "rest", data_root=None, used=5000)


def test_other_sizes_and_colours_are_fitted_by_the_rule() -> None:
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    assert resize_images(red, (1, 8, 8)).unique().tolist() == pytest.approx([0.299])
    same = torch.rand(2, 1, 8, 8)
    assert resize_images(same, (1, 8, 8)) is same
    wide = resize_images(torch.ones(1, 1, 4, 16), (1, 8, 8))
    assert wide.shape == (1, 1, 8, 8) and wide[0, 0, 0].sum() == 0 and wide[0, 0, 4].min() > 0.8
    assert resize_images(torch.full((1, 1, 80, 80), 0.5), (1, 8, 8)).flatten().tolist() == pytest.approx([0.5] * 64)


def test_files_of_every_kind_are_read_as_what_they_show(tmp_path: Path) -> None:
    grey = np.array([[0, 128], [255, 64]], dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_allclose(read_image(tmp_path / "grey.png")[0], grey / 255, atol=1e-6)
    deep = (grey.astype(np.uint16)) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_allclose(read_image(tmp_path / "deep.png")[0], grey / 255, atol=1e-6)
    clear = np.full((2, 2, 4), 255, dtype=np.uint8)
    clear[0, 0, 3] = 0  # transparent white: black
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert read_image(tmp_path / "clear.png")[:, 0, 0].tolist() == [0, 0, 0]
    assert read_image(tmp_path / "clear.png")[:, 1, 1].tolist() == [1, 1, 1]


# -- refusals ----------------------------------------------------------------------------------------


def spoiled(value: float) -> np.ndarray:
    images = np.zeros((5, 8, 8))
    images[3, 2, 2] = value
    return images


ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "absent": ({"pictures": np.zeros((2, 8, 8))}, "no array called images; it holds pictures"),
    "pickle": ({"images": np.array([{}, []], dtype=object)}, "dtype is object"),
    "integers": ({"images": np.zeros((2, 8, 8), dtype=np.int64)}, "dtype is int64"),
    "nan": ({"images": spoiled(np.nan)}, "images[3] has nan"),
    "negative": ({"images": spoiled(-0.5)}, "images[3] has -0.5"),
    "bright": ({"images": spoiled(200.0)}, "images[3] has 200.0; the finite values lie between 0.0 and 200.0"),
    "flat": ({"images": np.zeros((2, 64))}, "their shape is (2, 64)"),
    "channels": ({"images": np.zeros((2, 5, 8, 8))}, "C = 1 or 3"),
    "none": ({"images": np.zeros((0, 8, 8))}, "images is empty"),
    "bytes of 0 and 1": ({"images": np.eye(8, dtype=np.uint8)[None]}, "images is uint8, where 255 is white"),
    "labels": ({"images": np.zeros((2, 8, 8)), "labels": np.array([1])}, "labels must be 2 whole numbers"),
    "float labels": ({"images": np.zeros((2, 8, 8)), "labels": np.zeros(2)}, "labels must be 2 whole numbers"),
    "foreign": ({"images": np.zeros((2, 8, 8)), "labels": np.array([1, 10])}, "labels[1] is 10"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ARRAYS)
def test_an_unfit_npz_is_one_line_and_nothing_is_written(
    fault: str, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, said = ARRAYS[fault]
    np.savez(tmp_path / "x.npz", **arrays)
    err = refused(digits_run, capsys, "--images", str(tmp_path / "x.npz"), "--out", str(tmp_path / "out.csv"))
    assert said in err and "x.npz" in err
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_damaged_files_are_named(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "._2.png").write_bytes(b"what another system leaves beside a file")
    assert "holds no image" in refused(digits_run, capsys, "--images", str(folder))
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "1.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    assert "2.png cannot be read" in refused(digits_run, capsys, "--images", str(folder))
    (folder / "2.png").write_bytes(b"")
    assert "2.png cannot be read" in refused(digits_run, capsys, "--images", str(folder))
    assert "--limit is 3" in refused(digits_run, capsys, "--images", str(folder), "--limit", "3")
    assert "--limit is 0; expected 1 or more" in refused(digits_run, capsys, "--images", str(folder), "--limit", "0")
    assert "absent" in refused(digits_run, capsys, "--images", str(tmp_path / "absent"))
    np.savez(tmp_path / "cut.npz", images=np.random.default_rng(0).random((9, 8, 8)))
    data_ = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data_[:2000])
    assert "cut.npz cannot be read" in refused(digits_run, capsys, "--images", str(tmp_path / "cut.npz"))


def test_bombs_are_refused_before_they_are_decoded(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    assert "9000 x 9000" in refused(digits_run, capsys, "--images", str(tmp_path / "bomb.png"))
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (10, 60_000, 60_000)})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("images.npy", head.getvalue())
    assert "60000 x 60000" in refused(digits_run, capsys, "--images", str(tmp_path / "bomb.npz"))


def test_runs_that_cannot_name(
    digits_run: Path, vectors_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "feature vectors" in refused(vectors_run, capsys, "--split", "rest")
    assert "no test split" in refused(digits_run, capsys, "--split", "test")
    assert "--json requires --out" in refused(digits_run, capsys, "--split", "rest", "--json")
    assert "exists and is not a file" in refused(digits_run, capsys, "--split", "rest", "--out", str(tmp_path))
    assert "is an input file" in refused(digits_run, capsys, "--split", "rest", "--out", str(digits_run / "signs.npz"))
    assert "no such folder" in refused(tmp_path / "nowhere", capsys, "--split", "rest")
    for file, said in (
        ("checkpoint.pt", "no checkpoint"), ("signs.npz", "the last round writes it"), ("config.toml", "config.toml"),
    ):  # fmt: skip
        run = tmp_path / file
        shutil.copytree(digits_run, run)
        (run / file).unlink()
        (run / "checkpoint.prev.pt").unlink()
        assert said in refused(run, capsys, "--split", "rest")
    run = tmp_path / "other"
    shutil.copytree(digits_run, run)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("limit = 200", "limit = 100"))
    assert "not those of the run" in refused(run, capsys, "--split", "rest")
    (run / "config.toml").write_text(text.replace("latent-dim = 4", "latent-dim = 5"))
    assert "its latent-dim is 4; this run has 5" in refused(run, capsys, "--split", "rest")
