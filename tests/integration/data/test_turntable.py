"""Things that turn, laid out as Fruits 360 is: who sees which file, pixel by pixel, and where none can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mhng import cli, load_run
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import load
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.turntable import indices_ahead
from mhng.experiment.data.views import View, apply_views, parse_view, parse_views
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import naming
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve
from mhng.experiment.training.saved_run import SavedRun
from tests.custom_data import QUICK, image, refused
from tests.runs import all_outputs, contents

# What each picture shows: every file has a grey of its own.
BRAEBURN = {f"{n}_100": 2 * n for n in (0, 1, 2, 3, 9, 10, 11, 100, 101, 327)} | {
    f"r_{n}_100": 100 + n for n in (0, 2, 19, 20)
} | {f"r2_{n}_100": 150 + n for n in (0, 8, 12)}  # fmt: skip
CORN = {f"{n}_100": 200 + n for n in (5, 6, 40)}
GREYS = {f"Apple Braeburn 1/{stem}": grey % 256 for stem, grey in BRAEBURN.items()} | {
    f"Corn 1/{stem}": grey for stem, grey in CORN.items()
}  # fmt: skip
# By hand: the circle of each axis, in the order of its numbers.
CIRCLES = [
    [f"Apple Braeburn 1/{n}_100" for n in (0, 1, 2, 3, 9, 10, 11, 100, 101, 327)],
    [f"Apple Braeburn 1/r_{n}_100" for n in (0, 2, 19, 20)],
    [f"Apple Braeburn 1/r2_{n}_100" for n in (0, 8, 12)],
    [f"Corn 1/{n}_100" for n in (5, 6, 40)],
]


def fruits(root: Path) -> Path:
    """A folder like Training/ of Fruits 360. PNG, so that every pixel is what was written."""
    assert len(set(GREYS.values())) == len(GREYS) == sum(map(len, CIRCLES))
    for stem, grey in GREYS.items():
        image(root / f"{stem}.png", grey)
    return root


def ahead(stem: str, J: int) -> str:
    """Which picture comes J further on, by hand."""
    (circle,) = (circle for circle in CIRCLES if stem in circle)
    return circle[(circle.index(stem) + J) % len(circle)]


def read(
    *data: custom_dataset.Entry, views: Sequence[View | float | str], limit: int | None = None, missing: float = 0.0
) -> Objects:
    return load(
        "folder", data_root=None, download=False, limit=limit, views=views, seed=0, missing=missing,
        files=custom_dataset.Files(data, image_size=6),
    )  # fmt: skip


def greys(view: torch.Tensor) -> list[int]:
    """What each image shows, which must be of one grey."""
    levels = (view.flatten(1) * 255).round().int()
    assert (levels == levels[:, :1]).all()
    return levels[:, 0].tolist()


def stems(objects: Objects) -> list[str]:
    assert objects.files is not None
    return [file.rpartition(".")[0] for file in objects.files]


@pytest.mark.parametrize("J", [1, 3, 4, 7, 10, 30, 327, 999_999])
def test_b_sees_the_file_that_stands_j_places_further_on(J: int, tmp_path: Path) -> None:
    objects = read(fruits(tmp_path), views=(0.0, f"ahead:{J}"))
    assert objects.count == len(GREYS) and objects.class_names == ("Apple Braeburn 1", "Corn 1")
    assert greys(objects.views[0]) == [GREYS[stem] for stem in stems(objects)]
    assert greys(objects.views[1]) == [GREYS[ahead(stem, J)] for stem in stems(objects)]
    assert objects.labels is not None
    assert objects.labels.tolist() == [int(stem.startswith("Corn")) for stem in stems(objects)]


def test_the_order_is_that_of_numbers_and_not_of_letters() -> None:
    files = ["x/10_100.jpg", "x/2_100.jpg", "x/1_100.jpg", "y/b2.png", "y/a10.png", "y/a9.png", "x/r_1_100.jpg"]
    assert indices_ahead(files, 1, "").tolist() == [2, 0, 1, 5, 3, 4, 6]
    assert indices_ahead(files, 2, "").tolist() == [1, 2, 0, 4, 5, 3, 6]
    # One number twice, and folders of one name in two folders, are still orders.
    assert indices_ahead(["a/x/1.png", "a/x/01.png", "b/x/1.png", "b/x/2.png"], 1, "").tolist() == [1, 0, 3, 2]
    assert indices_ahead(["a/9é.png", "a/\udcff.png"], 1, "").tolist() == [1, 0]


def test_every_picture_is_seen_once_whatever_j(tmp_path: Path) -> None:
    for J in (1, 5, 12):
        objects = read(fruits(tmp_path), views=(f"ahead:{J}", 0.0))
        assert sorted(greys(objects.views[0])) == sorted(greys(objects.views[1]))
        assert greys(objects.views[0]) != greys(objects.views[1])


def test_a_limit_does_not_change_what_an_object_looks_like(tmp_path: Path) -> None:
    whole, some = (read(fruits(tmp_path), views=(0.0, "ahead:2"), limit=limit) for limit in (None, 4))
    assert torch.equal(whole.views[1][:4], some.views[1])
    assert not set(greys(some.views[1])) <= set(greys(some.views[0]))  # it looks beyond the limit


def test_it_is_a_step_among_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    from PIL import Image

    for n in range(5):
        (tmp_path / "thing").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8)).save(tmp_path / "thing" / f"{n}_100.png")
    assert parse_views("0, ahead:3+90")[1].text == "ahead:3+90"
    assert parse_view("ahead:3+90+ahead:1").places_ahead == 4
    views = ("ahead:1", "ahead:1+90", "90+ahead:1", "ahead:3+ahead:3+90", "noise:0.1+ahead:1", "ahead:1+noise:0.1")
    objects = read(tmp_path, views=(0.0, *views))
    own, further, turned, *same, first, last = objects.views
    assert torch.equal(further, own[[1, 2, 3, 4, 0]])
    assert torch.equal(turned, apply_views(further, (90.0,), names="A", seed=0)[0])
    assert torch.equal(turned, same[0]) and torch.equal(turned, same[1]) and turned is not further
    # Noise is of agent and picture, not of the place that the picture is seen at.
    assert torch.equal(first, apply_views(further, ("noise:0.1",), names="F", seed=0)[0])
    assert torch.equal(last, apply_views(further, ("noise:0.1",), names="G", seed=0)[0])


def test_of_several_modalities_each_may_be_another_side(tmp_path: Path) -> None:
    objects = read(fruits(tmp_path), views=("0&ahead:3", "ahead:1"))
    for view, J in zip(objects.views, (0, 3, 1), strict=True):
        assert greys(view) == [GREYS[ahead(stem, J)] for stem in stems(objects)]
    assert [[sense.title for sense in own] for own in objects.modalities] == [["0", "ahead:3"], ["ahead:1"]]
    fewer = read(fruits(tmp_path), views=("0&ahead:3", "ahead:1"), missing=0.4)
    lost = fewer.views[1].flatten(1).isnan().all(1)
    assert 0 < lost.sum() < fewer.count and torch.equal(fewer.views[1][~lost], objects.views[1][~lost])


def test_a_folder_for_each_agent_has_circles_of_its_own(tmp_path: Path) -> None:
    """B's camera stands elsewhere, and what it sees is further on as well; the suffix is another one."""
    fruits(tmp_path / "A")
    for stem, grey in GREYS.items():
        image(tmp_path / "B" / f"{stem}.bmp", 255 - grey)
    objects = read(tmp_path / "A", tmp_path / "B", views=(0.0, "ahead:2"))
    assert objects.paired and greys(objects.views[0]) == [GREYS[stem] for stem in stems(objects)]
    assert greys(objects.views[1]) == [255 - GREYS[ahead(stem, 2)] for stem in stems(objects)]


def test_what_is_missing_further_on_is_missing(tmp_path: Path) -> None:
    fruits(tmp_path / "A1")
    fruits(tmp_path / "A2")
    fruits(tmp_path / "B")
    gone = "Apple Braeburn 1/10_100"
    (tmp_path / "A2" / f"{gone}.png").unlink()
    data = ((tmp_path / "A1", tmp_path / "A2"), tmp_path / "B")
    objects = read(*data, views=("0&ahead:2+invert", 0.0))
    lost = objects.views[1].flatten(1).isnan().all(1)
    assert [stem for stem, one in zip(stems(objects), lost, strict=True) if one] == ["Apple Braeburn 1/3_100"]
    assert greys(1 - objects.views[1][~lost]) == [
        GREYS[ahead(stem, 2)] for stem, one in zip(stems(objects), lost, strict=True) if not one
    ]


# -- runs ------------------------------------------------------------------------------------------


def arguments(data: Path, *words: str) -> list[str]:
    return [
        "train", "--dataset", "folder", "--data", str(data), "--image-size", "6", "--views", "0,ahead:2+grey", *QUICK,
        "--latent-dim", "2", "--device", "cpu", *words,
    ]  # fmt: skip


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, ...]]:
    """What agents look at while they name."""
    found: list[tuple[torch.Tensor, ...]] = []
    infer_signs = naming.infer_signs

    def kept(run: SavedRun, views: tuple[torch.Tensor, ...]) -> object:
        found.append(views)
        return infer_signs(run, views)

    monkeypatch.setattr(naming, "infer_signs", kept)
    return found


def test_a_run_of_things_that_turn_goes_on_recalls_reports_and_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], looked: list[tuple[torch.Tensor, ...]]
) -> None:
    data, run, whole = fruits(tmp_path / "Training"), tmp_path / "run", tmp_path / "whole"
    limit = ["--limit", "14"]
    assert cli.main([*arguments(data, *limit), "--run-dir", str(run)]) == 0
    assert "Views: 1x6x6, seen as: A 0, B ahead:2+grey" in capsys.readouterr().out
    assert cli.main(["train", "--resume", str(run), "--rounds", "1"]) == 0
    assert cli.main([*arguments(data, *limit), "--rounds", "1", "--run-dir", str(whole)]) == 0
    assert contents(run) == contents(whole) and all_outputs(run)[4:] == all_outputs(whole)[4:]
    assert [view.text for view in resolve({}, run / run_folder.CONFIG).views] == [0.0, "ahead:2+grey"]
    for command in (["recall"], ["report"]):
        assert cli.main([*command, str(run)]) == 0
    assert greys(load_run(run).objects.views[1]) == [GREYS[ahead(stem, 2)] for stem in stems(load_run(run).objects)]

    # What --limit left; B looks at pictures before and behind the limit.
    capsys.readouterr()
    assert cli.main(["name", str(run), "--split", "rest"]) == 0
    all_stems = stems(read(data, views=(0.0, 0.0)))
    ((a, b),) = looked
    assert greys(a) == [GREYS[stem] for stem in all_stems[14:]]
    assert greys(b) == [GREYS[ahead(stem, 2)] for stem in all_stems[14:]]
    looked.clear()

    # Unseen pictures of one thing, in a folder; of a large one, chunk by chunk.
    rows = tmp_path / "rows.jsonl"
    words = ["name", str(run), "--images", str(data / "Apple Braeburn 1"), "--out", str(rows), "--limit", "12"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("mhng.experiment.evaluation.new_objects._CHUNK", 5)
        assert cli.main(words) == 0
    files = [json.loads(line)["file"] for line in rows.read_text().splitlines()]
    a, b = (torch.cat(parts) for parts in zip(*looked, strict=True))
    assert len(looked) == 3 and greys(a) == [GREYS[f"Apple Braeburn 1/{file[:-4]}"] for file in files]
    assert greys(b) == [GREYS[ahead(f"Apple Braeburn 1/{file[:-4]}", 2)] for file in files]

    # And of many things, in a folder for each, which are their labels.
    looked.clear()
    for source in ("--images", "--new"):
        assert cli.main(["name", str(run), source, str(data), "--out", str(rows)]) == 0
        named = [json.loads(line) for line in rows.read_text().splitlines()]
        a, b = (torch.cat(parts) for parts in zip(*looked, strict=True))
        assert len(named) == len(all_stems) and all(row["file"].startswith(row["label"] + "/") for row in named)
        assert greys(a) == [GREYS[row["file"][:-4]] for row in named]
        assert greys(b) == [GREYS[ahead(row["file"][:-4], 2)] for row in named]
        looked.clear()

    # A picture alone has no other sides.
    np.savez(tmp_path / "some.npz", images=np.zeros((3, 6, 6), np.uint8))
    for one in (data / "Corn 1/5_100.png", tmp_path / "some.npz"):
        capsys.readouterr()
        assert cli.main(["name", str(run), "--images", str(one)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1 and f"--images {one}: an agent's view is ahead:2" in err
    with pytest.raises(UsageError, match=r"run\.name: an agent's view is ahead:2"):
        load_run(run).name(np.zeros((3, 6, 6), np.uint8))

    # What B sees is part of what the run is about, also where it is no object of the run.
    beyond = ahead(all_stems[13], 2)
    assert beyond == "Apple Braeburn 1/r_19_100" and beyond not in all_stems[:14]
    image(data / f"{beyond}.png", 3)
    assert cli.main(["train", "--resume", str(run), "--rounds", "2"]) == 2
    assert "the objects of folder are not those of the run" in capsys.readouterr().err


# -- refused ---------------------------------------------------------------------------------------


def flat(root: Path) -> list[str]:
    for n in range(4):
        image(root / "own" / f"{n}_100.png", n)
    return ["--dataset", "folder", "--data", str(root / "own")]


def in_classes(root: Path) -> list[str]:
    return ["--dataset", "folder", "--data", str(fruits(root / "own"))]


def singles(root: Path) -> list[str]:
    for n in range(4):
        image(root / "own" / str(n) / "0_100.png", n)
    return ["--dataset", "folder", "--data", str(root / "own")]


def npz(root: Path) -> list[str]:
    np.savez(root / "own.npz", images=np.zeros((5, 6, 6)))
    return ["--dataset", "npz", "--data", str(root / "own.npz")]


def csv(root: Path) -> list[str]:
    (root / "own.csv").write_text("1,2\n3,4\n")
    return ["--dataset", "csv", "--data", str(root / "own.csv"), "--likelihood", "identity"]


def bundled(root: Path) -> list[str]:
    return ["--dataset", "digits"]


def drawn_objects(root: Path) -> list[str]:
    return ["--dataset", "synthetic", "--likelihood", "identity"]


FAULTS: dict[str, tuple[Callable[[Path], list[str]], str, list[str]]] = {
    "no places": (in_classes, "0,ahead:", ["expected ahead:J with a whole number J from 1", "'ahead:'"]),
    "nought": (in_classes, "0,ahead:0", ["expected ahead:J with a whole number J from 1", "'ahead:0'"]),
    "backwards": (in_classes, "0,ahead:-1", ["expected ahead:J", "'ahead:-1'"]),
    "half": (in_classes, "0,ahead:1.5", ["expected ahead:J", "'ahead:1.5'"]),
    "other digits": (in_classes, "0,ahead:٣", ["expected ahead:J"]),
    "too many": (in_classes, "0,ahead:1000000", ["expected ahead:J", "999999"]),
    "no colon": (in_classes, "0,ahead", ["'ahead' is no view", "ahead:J"]),
    "a flat folder": (flat, "0,ahead:1", ["ahead:1 requires a subfolder for every rotating object", "/own has none"]),
    "around to itself": (singles, "0,ahead:7", ["ahead:7 maps every picture of --data", "/own to itself", "has 1"]),
    "an npz": (npz, "0,ahead:1", ["ahead:1 requires --dataset folder", "--dataset is npz"]),
    "features": (csv, "0,ahead:1", ["ahead:1 requires --dataset folder", "--dataset is csv"]),
    "digits": (bundled, "0,45+ahead:1", ["45+ahead:1 requires --dataset folder", "--dataset is digits"]),
    "a modality": (bundled, "0,0&ahead:1", ["ahead:1 requires --dataset folder", "--dataset is digits"]),
    "synthetic": (drawn_objects, "0,ahead:1", ["ahead:1 requires --dataset folder", "--dataset is synthetic"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_where_nothing_is_further_on_a_line_says_so(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, views, said = FAULTS[fault]
    refused(["train", *make(tmp_path), "--views", views], tmp_path, ["--views", *said], capsys)


def test_a_folder_of_pictures_to_name_that_leads_back_to_itself_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = fruits(tmp_path / "Training"), tmp_path / "run"
    assert cli.main([*arguments(data), "--run-dir", str(run)]) == 0
    few = tmp_path / "few"
    few.mkdir()
    for n in (0, 1):
        shutil.copy(data / f"Apple Braeburn 1/{n}_100.png", few)
    capsys.readouterr()
    assert cli.main(["name", str(run), "--images", str(few)]) == 2
    assert f"ahead:2 maps every picture of --images {few} to itself; its longest circle has 2" in (
        capsys.readouterr().err
    )


def test_the_objects_of_a_library_call_are_checked_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ahead:1 requires --dataset folder"):
        load("digits", data_root=None, download=False, limit=5, views=(0.0, "ahead:1"), seed=0)
