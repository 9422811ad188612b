"""Fruits 360 from tiny folders in the layouts of the selection and of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mhng import cli
from mhng.experiment.data import loading
from mhng.experiment.data.builtin import fruits
from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.recall import evaluate
from mhng.experiment.training.saved_run import SavedRun

PICTURES = 3


def kinds_in(folder: Path, kinds: tuple[str, ...]) -> None:
    """Pictures of one colour for each kind, a little darker in each picture."""
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        for picture in range(PICTURES):
            colour = (255 - 10 * number, 255 - 20 * picture, 250)
            Image.new("RGB", (100, 100), colour).save(folder / kind / f"{picture}_100.png")


def load(name: str, root: Path) -> Objects:
    return loading.load(name, data_root=root, download=False, limit=None, views=(0.0, 25.0), seed=0)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("fruits360", "fruits360/ten"),
        ("fruits360-20", "fruits360/twenty"),
        ("fruits360", "fruits-360/Training"),
        ("fruits360", "fruits-360_dataset/fruits-360/Training"),
        ("fruits360-20", "Training"),
    ],
)
def test_each_layout_is_read_in_colour_and_in_mixed_order(name: str, place: str, tmp_path: Path) -> None:
    kinds = fruits.SETS[name][1]
    original = "Training" in place
    kinds_in(tmp_path / place, (*kinds, "Apple Braeburn") if original else kinds)
    objects = load(name, tmp_path)
    assert objects.class_names == kinds and objects.views[0].shape == (len(kinds) * PICTURES, 3, 32, 32)
    assert objects.labels is not None
    np.testing.assert_array_equal(np.bincount(objects.labels), PICTURES)
    assert not (np.diff(objects.labels) >= 0).all()  # `limit` takes all kinds
    np.testing.assert_allclose(objects.views[0][:, 0, 0, 0], (255 - 10 * objects.labels) / 255, atol=1e-6)
    assert objects.views[1].shape == objects.views[0].shape


def test_the_twenty_include_the_ten() -> None:
    ten, twenty = (fruits.SETS[name][1] for name in ("fruits360", "fruits360-20"))
    assert len(set(ten)) == 10 and len(set(twenty)) == 20 and set(ten) < set(twenty)


def test_the_test_part_is_that_of_the_original(tmp_path: Path) -> None:
    kinds_in(tmp_path / "fruits360/ten", fruits.TEN)
    with pytest.raises(UsageError, match=r"no folder .*Test.*fruits-360/Test/KIND in it$"):
        loading.held_out("fruits360", "test", data_root=tmp_path, used=1)
    kinds_in(tmp_path / "fruits-360/Test", fruits.TEN)
    source, indices = loading.held_out("fruits360", "test", data_root=tmp_path, used=1)
    assert len(source.images) == len(indices) == 10 * PICTURES
    assert len(loading.held_out("fruits360", "rest", data_root=tmp_path, used=12)[1]) == 10 * PICTURES - 12


def test_absent_kinds_and_downloads_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"no folder .*ten/Avocado; pass --data-root DIR with fruits360/ten/KIND or"):
        load("fruits360", tmp_path)
    kinds_in(tmp_path / "fruits360/ten", fruits.TEN[:-1])
    with pytest.raises(UsageError, match=r"no folder .*ten/Raspberry"):
        load("fruits360", tmp_path)
    (tmp_path / "fruits360/ten/Raspberry").mkdir()
    with pytest.raises(UsageError, match=r"--dataset fruits360: .*Raspberry: the folder holds no image"):
        load("fruits360", tmp_path)
    assert cli.main(["train", "--dataset", "fruits360-20", "--data-root", str(tmp_path), "--download"]) == 2
    assert "--download does not support fruits360-20" in capsys.readouterr().err


def test_a_run_names_fruits_and_recalls_them_in_colour(tmp_path: Path) -> None:
    kinds_in(tmp_path / "fruits-360/Training", fruits.TEN)
    settings = [
        "--dataset", "fruits360", "--data-root", str(tmp_path), "--epochs", "1", "--rounds", "0",
        "--sweeps", "2", "--burn-in", "0", "--latent-dim", "2", "--starts", "1", "--chains", "1",
    ]  # fmt: skip
    assert cli.main(["train", *settings, "--run-dir", str(tmp_path / "run")]) == 0
    run = SavedRun(tmp_path / "run")
    _, gallery = evaluate(run, temperature=1.0, count=2, pairs=2)
    seen = gallery.saw["A->B"]
    assert seen.shape[1:] == gallery.imagined["A->B"].shape[1:] == (2, 32, 32, 3)
    observed = run.objects.views[0].movedim(1, -1).numpy()
    assert (seen[0, 0] == observed).all((1, 2, 3)).any()
