"""`recall RUN`: pictures and scores of what agents mean by a sign, the same every time, and a judge who can say no."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mhng import cli
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.classifier import train_classifier
from mhng.experiment.evaluation.imagination import decode_signs
from mhng.experiment.evaluation.recall import evaluate, recall
from mhng.experiment.plots.recall import Direction, plot_cross
from mhng.experiment.training.saved_run import SavedRun
from mhng.models.rng import stream

PICTURES = {"recall_A.png", "recall_B.png", "cross_recall.png"}


@pytest.fixture(scope="module")
def recalled(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("recalled") / "run"
    shutil.copytree(digits_run, run)
    shutil.rmtree(run / "plots")
    assert cli.main(["recall", str(run), "--count", "2", "--pairs", "2"]) == 0
    return run


def test_it_leaves_pictures_and_strict_json(recalled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {file.name for file in (recalled / "plots").iterdir()} == PICTURES
    assert all((recalled / "plots" / name).read_bytes().startswith(b"\x89PNG") for name in PICTURES)
    first = (recalled / "recall.json").read_text()
    report = json.loads(first, parse_constant=pytest.fail)
    assert set(report["agents"]) == {"A", "B"} and set(report["cross"]) == {"A->B", "B->A"}
    assert len(report["agents"]["A"]["signs"]) == 10 and report["draws"] == 2
    for own in report["cross"].values():
        assert 0 <= own["accuracy_draws"] <= 1 and own["judge_accuracy"] > 0.5
        assert own["pixel_distance"] < own["pixel_distance_shuffled"]
        assert own["latent_distance"] < own["latent_distance_shuffled"]
    # Again, as JSON: nothing but the seed decides.
    assert cli.main(["recall", str(recalled), "--count", "2", "--pairs", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report
    assert (recalled / "recall.json").read_text() == first


def test_accuracy_is_what_the_judge_says_of_imagined_images(digits_run: Path) -> None:
    """The mean of every sign, judged once and handed to all objects that the speaker calls so."""
    run = SavedRun(digits_run)
    report, gallery = evaluate(run, temperature=0, count=3, pairs=2)
    assert report["draws"] == 0 and report["cross"]["A->B"]["accuracy_draws"] is None
    labels = run.objects.labels
    assert labels is not None
    a, b = run.models.values()
    classifier = train_classifier(run.objects.views[1], labels, stream(0, "B/recall/judge"))
    assert classifier is not None
    spoken = a.perceive(run.objects.views[0], None).log_prob_table(run.parameters["A"]).argmax(-1)
    images = b.decode(run.parameters["B"].mu)[spoken]
    assert report["cross"]["A->B"]["accuracy_means"] == pytest.approx((classifier.predict(images) == labels).mean())
    # In the picture: the first objects that A calls so, and at T = 0 B's mean of the sign.
    for row, k in enumerate(gallery.shown):
        ids = torch.nonzero(spoken == int(k)).flatten()[:2]
        for column, n in enumerate(ids):
            np.testing.assert_array_equal(gallery.saw["A->B"][row, column], run.objects.views[0][n, 0])
            np.testing.assert_allclose(gallery.imagined["A->B"][row, column], images[n, 0], atol=1e-5)
        assert np.isnan(gallery.saw["A->B"][row, len(ids) :]).all()


def test_images_come_in_the_order_of_their_signs(digits_run: Path) -> None:
    run = SavedRun(digits_run)
    agent, own = run.models["A"], run.parameters["A"]
    signs = torch.arange(10).repeat(150)  # more than a chunk
    parts = list(decode_signs(agent, own, signs, 0.0, stream(0, "test")))
    assert len(parts) == 2
    np.testing.assert_allclose(torch.cat([part for _, part in parts]), agent.decode(own.mu)[signs], atol=1e-6)


def test_labels_reach_nothing_but_scores(digits_run: Path) -> None:
    run = SavedRun(digits_run)
    _, before = evaluate(run, temperature=1, count=1, pairs=1)
    object.__setattr__(run.objects, "labels", np.roll(run.objects.labels, 7))
    _, after = evaluate(run, temperature=1, count=1, pairs=1)
    for part in ("recalled", "saw", "imagined"):
        for name, images in getattr(before, part).items():
            np.testing.assert_array_equal(images, getattr(after, part)[name])


def test_the_judge_needs_something_to_learn_and_is_tested_on_the_rest() -> None:
    labels = np.arange(100) % 2
    view = torch.from_numpy(np.where(labels, 1.0, 0.0)).float()[:, None, None, None].expand(-1, 1, 3, 3)
    classifier = train_classifier(view, labels, stream(0, "test"))
    assert classifier is not None and classifier.held_out == 1.0
    noise = train_classifier(torch.rand(100, 1, 3, 3, generator=stream(1, "noise")), labels, stream(0, "test"))
    assert noise is not None and noise.held_out < 0.9  # what it learned by heart does not count
    assert train_classifier(view[:5], labels[:5], stream(0, "test")) is None
    assert train_classifier(view, np.zeros(100, dtype=np.int64), stream(0, "test")) is None


@pytest.mark.parametrize("shape", [(1, 1), (50, 20), (3, 2)])
def test_every_size_of_picture_is_drawn(shape: tuple[int, int], tmp_path: Path) -> None:
    S, P = shape
    images = np.full((S, P, 8, 8), np.nan, dtype=np.float32)
    rows = [f"sign {k}: T-shirt/top, 98%" for k in range(S)]
    panels = [Direction(a, b, rows, images, images) for a, b in ("AB", "BA", "AC")]
    plot_cross(tmp_path / "cross.png", panels)
    assert (tmp_path / "cross.png").stat().st_size > 1000


def test_refusals_are_one_line_and_write_nothing(
    digits_run: Path, vectors_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in digits_run.rglob("*")}
    for run, arguments, said in (
        (digits_run, ["--temperature", "-1"], "--temperature is -1; expected 0 to 100"),
        (digits_run, ["--temperature", "nan"], "--temperature"),
        (digits_run, ["--temperature", "inf"], "--temperature"),
        (digits_run, ["--count", "0"], "--count is 0; expected 1 to"),
        (digits_run, ["--pairs", "1000"], "--pairs is 1000; expected 1 to"),
        (vectors_run, [], "feature vectors"),
        (digits_run / "plots", [], "is not a run"),
    ):
        assert cli.main(["recall", str(run), *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1
    assert {file: file.stat().st_mtime_ns for file in digits_run.rglob("*")} == before


def test_a_run_folder_that_is_read_only_is_found_before_the_work(
    digits_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match=r"cannot be written; recall writes recall\.json and pictures into it"):
        recall(digits_run)
