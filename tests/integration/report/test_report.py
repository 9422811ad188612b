"""`report`: one page that holds everything, escapes everything, and says what it could not show."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.evaluation.projection import MAX_POINTS, project
from mhng.experiment.report import drawing, run_sections
from mhng.experiment.report.page import Page, number, render
from mhng.experiment.settings.config import plain, resolve
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.saved_run import SavedRun
from tests.comparisons import comparison
from tests.runs import made

ALERT = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Tags, ids, texts and images of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict[str, Any]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [found["id"]] if found.get("id") else []
        self.images += [found] if tag == "img" else []
        self.links += [str(found["href"])] if "href" in found else []
        assert not [name for name in found if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page(digits_page: Path) -> Reader:
    assert [one.name for one in digits_page.parent.iterdir()] == ["page.html"]
    return Reader(digits_page.read_text())


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


# -- a run -----------------------------------------------------------------------------------------


def test_every_section_is_there_and_in_the_contents(page: Reader) -> None:
    sections = ["scores", "curves", "confusion", "map", "recall", "diagnostics", "settings", "provenance"]
    assert page.ids == ["verdict", "next", *sections]
    assert page.links == [f"#{name}" for name in sections]
    for words in (
        "Convergence",
        "Agreement",
        "Match with the labels",
        "--chains 4",
        "latent-dim",
        "git revision",
        "cli.py",
    ):
        assert words in page.text


def test_it_holds_all_that_it_shows(page: Reader) -> None:
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(image["src"].startswith("data:image/") for image in page.images)
    assert {image["src"][:18] for image in page.images} == {"data:image/svg+xml", "data:image/png;bas"}
    assert all(int(image["width"]) > 0 and int(image["height"]) > 0 for image in page.images)


def test_pictures_say_what_they_show_with_numbers(page: Reader) -> None:
    alts = [image["alt"] for image in page.images]
    assert len(set(alts)) == len(alts) and all(re.search(r"\d", alt) for alt in alts)
    for start in (
        "ARI by sweep: A from", "kappa by sweep", "acceptance (share of proposals) by sweep: A->B from",
        "reconstruction (nats per object) by epoch", "KL (nats per object) by epoch",
        "Confusion matrix of agent A: ARI 0.", "Latents of agent B, projected by two principal components",
        "Agent B, sign 9 (",
        "Sign 0 (", "log joint (nats) over the draws of one chain", "Co-assignment of agent A: share of",
    ):  # fmt: skip
        assert any(alt.startswith(start) for alt in alts), start


def test_scores_are_those_of_the_summary(page: Reader, digits_run: Path) -> None:
    summary = json.loads((digits_run / "summary.json").read_text())
    for own in summary["agents"].values():
        assert number(own["ari"]) in page.text and number(own["elbo"], 2) in page.text
    assert f"kappa {number(summary['kappa'])}" in page.text


def test_what_differs_from_the_default_stands_out(digits_run: Path) -> None:
    from mhng.experiment.report.run_sections import settings

    items = {name: strong for _, group in settings({"latent-dim": 4, "mode": "com", "new": 1}).lists
             for name, _, strong in group}  # fmt: skip
    assert items == {"latent-dim": True, "mode": False, "new": True}


def test_the_default_place_and_the_map_of_neighbours(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(digits_run, tmp_path / "run")
    assert cli.main(["report", str(run), "--map", "tsne"]) == 0
    assert capsys.readouterr().out == f"Report: {run / 'report.html'}\n"
    read = Reader((run / "report.html").read_text())
    assert any("projected by t-SNE" in image["alt"] for image in read.images)
    first = (run / "report.html").read_bytes()
    assert cli.main(["report", str(run), "--map", "tsne"]) == 0
    assert (run / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "no-com", "chains": "2"},
        {"mode": "gibbs", "keep": "none"},
        {"mode": "all", "limit": "1", "signs": "2"},
        {"listener_state": "shared", "signs": "1"},
        {"agents": "3", "chains": "3", "views": "0,0,0"},
    ],
    ids=str,
)
def test_every_kind_of_run_has_a_page(
    changes: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"dataset": "synthetic", "likelihood": "identity", "limit": "20", "signs": "3", "rounds": "0"}
    run = made(tmp_path / "run", **small | changes)
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().err == ""
    read = Reader((run / "report.html").read_text())
    assert "feature vectors of" in read.text and "could not be drawn" not in read.text
    assert "no network to train" in read.text


# -- what is not there -------------------------------------------------------------------------------


def test_without_the_data_set_the_rest_is_shown(digits_run: Path, tmp_path: Path) -> None:
    run = copied(digits_run, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"checksum": "of others"}))
    assert cli.main(["report", str(run)]) == 0
    read = Reader((run / "report.html").read_text())
    assert read.text.count("are not those of the run") == 2 and "--data-root DIR" in read.text
    assert "The classes are numbered" in read.text
    assert any(image["alt"].startswith("Confusion matrix of agent A") for image in read.images)
    assert not any(image["alt"].startswith("Latents") for image in read.images)


def test_without_labels_nothing_is_held_against_them(digits_run: Path, tmp_path: Path) -> None:
    run = copied(digits_run, tmp_path / "run")
    with np.load(run / "signs.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "label"}
    np.savez(run / "signs.npz", **kept)
    assert cli.main(["report", str(run)]) == 0
    assert "The objects have no labels." in (run / "report.html").read_text()


def test_a_picture_that_fails_costs_a_line(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mhng.experiment.plots import diagnostics as diagnostic_plots

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError(f"no paper {ALERT}")

    monkeypatch.setattr(diagnostic_plots, "plot_components", broken)
    assert cli.main(["report", str(digits_run), "--out", str(tmp_path / "page.html")]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 2 and "could not be drawn: no paper" in err
    text = (tmp_path / "page.html").read_text()
    assert text.count(html.escape(f"no paper {ALERT}")) == 2 and ALERT not in text


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_an_unfinished_run_is_told_what_to_do(
    status: str, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied(digits_run, tmp_path / "run")
    (run / "posterior.nc").unlink()
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": status}))
    before = sorted(run.iterdir())
    assert cli.main(["report", str(run)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    told = "killed" if status == "running" else status  # nobody holds the folder
    assert str(run) in err and f"status {told!r}" in err and f"train --resume {run}" in err
    assert sorted(run.iterdir()) == before


def test_refusals_are_one_line_and_write_nothing(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    moved = copied(digits_run, tmp_path / "moved")
    manifest = json.loads((moved / "manifest.json").read_text())
    (moved / "manifest.json").write_text(json.dumps(manifest | {"checksum": "of others"}))
    grid = comparison(tmp_path / "grid")
    (grid / "com-seed0").mkdir()
    (grid / "com-seed0" / "config.toml").touch()
    empty = tmp_path / "empty"
    empty.mkdir()
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "grid.toml").write_text("")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "summary.json").write_text('{"rows": [{"row": "x"}]}')
    before = {file: file.stat().st_mtime_ns for file in [*tmp_path.rglob("*"), *digits_run.rglob("*")]}
    for arguments, said in (
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(empty)], "manifest.json"),
        ([str(digits_run), "--map", "umap"], "--map is 'umap'; expected one of pca, tsne"),
        ([str(digits_run), "--out", str(tmp_path)], "--out"),
        ([str(digits_run), "--out", str(tmp_path / "file" / "x.html")], "--out"),
        ([str(digits_run), "--out", str(digits_run / "manifest.json")], "is an input file"),
        ([str(moved), "--data-root", str(tmp_path)], "are not those of the run"),
        ([str(grid), "--data-root", str(tmp_path)], "--data-root"),
        ([str(grid), "--out", str(grid / "summary.json")], "is an input file"),
        ([str(grid), "--out", str(grid / "com-seed0" / "config.toml")], "is an input file"),
        ([str(begun)], "compare --out"),
        ([str(damaged)], "summary.json is not a comparison summary"),
        (["a\0b"], "expected a path without null bytes"),
    ):
        assert cli.main(["report", *arguments]) == 2, arguments
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1, err
    assert {file: file.stat().st_mtime_ns for file in [*tmp_path.rglob("*"), *digits_run.rglob("*")]} == before


# -- names that are HTML -------------------------------------------------------------------------------


def test_names_from_data_and_files_are_escaped(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(digits_run, tmp_path / 'x"><script>alert(1)<' / "script>")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest |= {"command_line": ["train", ALERT], "platform": ALERT, "error": ALERT, "dataset": ALERT}
    manifest["settings"] |= {"data-root": ALERT, ALERT: ALERT}
    manifest["versions"][ALERT] = ALERT
    (run / "manifest.json").write_text(json.dumps(manifest))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"warnings": [ALERT], "device": ALERT}))
    objects = replace(SavedRun(run).objects, class_names=(ALERT,) * 10)
    monkeypatch.setattr(SavedRun, "objects", objects)
    assert cli.main(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    assert "<script" not in text and "alert(1)" in text
    read = Reader(text)
    assert "script" not in read.tags
    assert read.text.count(ALERT) > 10
    assert any(ALERT in image["alt"] for image in read.images)  # a class that a sign names
    assert str(run) in read.text


# -- a comparison ---------------------------------------------------------------------------------------


def test_a_comparison_has_its_table_differences_and_failures(tmp_path: Path) -> None:
    grid = comparison(tmp_path / "grid", names=("com", f"all {ALERT}"), error=f"why {ALERT}")
    run = grid / "com-seed0"
    run.mkdir()
    (run / "report.html").write_text("")
    assert cli.main(["report", str(grid)]) == 0
    text = (grid / "report.html").read_text()
    read = Reader(text)
    assert "<script" not in text
    assert read.ids == ["failed", "scores", "differences", "runs", "settings"]
    assert f"why {ALERT}" in read.text and "Warning: 1 of 6 runs without results" in read.text
    assert "−0.100 −0.120 to −0.080 0 of 2" in read.text
    assert "./com-seed0/report.html" in read.links and len(read.links) == 6
    assert len(read.images) == 3 and "means: com 0.810" in read.images[0]["alt"]


def test_links_are_relative_to_the_page_and_never_a_scheme(tmp_path: Path) -> None:
    grid = comparison(tmp_path / "grid", names=("javascript:alert(1)",), error="x")
    run = grid / "javascript:alert(1)-seed0"
    run.mkdir()
    (run / "report.html").write_text("")
    assert cli.main(["report", str(grid), "--out", str(tmp_path / "out" / "page.html")]) == 0
    links = Reader((tmp_path / "out" / "page.html").read_text()).links
    assert "./../grid/javascript%3Aalert%281%29-seed0/report.html" in links
    assert all(link.startswith(("#", "./")) for link in links)


def test_a_comparison_of_one_row_whose_runs_all_failed(tmp_path: Path) -> None:
    grid = comparison(tmp_path / "grid", names=("com",))
    summary = json.loads((grid / "summary.json").read_text())
    (row,) = summary["rows"]
    row["runs"] = [run | {"status": "failed", "error": "no", "numbers": None} for run in row["runs"]]
    row["statistics"] = {name: dict.fromkeys(found) | {"count": 0} for name, found in row["statistics"].items()}
    (grid / "summary.json").write_text(json.dumps(summary | {"baseline": None}))
    assert cli.main(["report", str(grid)]) == 0
    read = Reader((grid / "report.html").read_text())
    assert "0 of 3 runs done" in read.text and not read.images and "differences" not in read.ids


# -- parts ------------------------------------------------------------------------------------------------


def test_the_plane_holds_the_two_directions_of_most_variance() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(300, 2)) * [5, 2]
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    found = project(flat @ basis[:2] + 7, "pca", 0)
    distances = np.linalg.norm(found.points[:, None] - found.points[None], axis=-1)
    np.testing.assert_allclose(distances, np.linalg.norm(flat[:, None] - flat[None], axis=-1), atol=1e-9)
    assert found.points[:, 0].var() > found.points[:, 1].var() and "100% of the variance" in found.method


@pytest.mark.parametrize("kind", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (4, 3), (7, 1), (7, 5)])
def test_few_objects_and_few_dimensions_have_a_project(kind: str, shape: tuple[int, int]) -> None:
    z = np.random.default_rng(0).normal(size=shape)
    found = project(z, kind, 2**40)
    assert found.points.shape == (shape[0], 2) and np.isfinite(found.points).all()
    assert np.isfinite(project(np.zeros(shape), kind, 0).points).all()


def test_of_many_objects_a_part_is_shown() -> None:
    found = project(np.random.default_rng(0).normal(size=(MAX_POINTS["pca"] + 7, 2)), "pca", 0)
    assert len(found.points) == len(np.unique(found.shown)) == MAX_POINTS["pca"]


def test_a_strip_is_transparent_between_its_images() -> None:
    import base64
    import io

    from PIL import Image

    images = np.full((4, 14, 14), 0.5)
    images[3] = np.nan
    one = drawing.image_strip(images, "x", every=2)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(one.uri.split(",")[1]))))
    assert pixels.shape == (14, one.width, 2) and one.width == 4 * 14 + 2 * 1 + 3
    assert (pixels[:, :14] == [128, 255]).all() and (pixels[:, 14] == 0).all()
    assert (pixels[:, 29:32, 1] == 0).all() and (pixels[:, -14:, 1] == 0).all()


def test_a_strip_keeps_colours() -> None:
    import base64
    import io

    from PIL import Image

    images = np.zeros((2, 14, 14, 3))
    images[0] = (1.0, 0.5, 0.0)
    images[1] = np.nan
    strip = drawing.image_strip(images, "x")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(strip.uri.split(",")[1]))))
    assert pixels.shape == (14, 29, 4)
    assert (pixels[:, :14] == [255, 128, 0, 255]).all() and (pixels[:, 14:, 3] == 0).all()


def test_charts_have_ids_of_their_own_and_are_the_same_again() -> None:
    from mhng.experiment.plots.training import Curves, plot_curves

    curves = Curves("犬 <b>", {"A": [0.0, None, 1.0]}, "none", "agent", True, [0, 0, 1])
    rows = [{"round": 0}, {"round": 0}, {"round": 1}]
    with drawing.ChartRenderer() as one:
        first, second = (one.chart(lambda path: plot_curves(path, curves, rows, "sweep"), "x") for _ in range(2))
    with drawing.ChartRenderer() as other:
        again = other.chart(lambda path: plot_curves(path, curves, rows, "sweep"), "x")
    assert first == again and first.uri != second.uri and not first.fault
    assert (first.width, first.height) == (480, 259)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (True, "–"), ("x", "–"), (-0.5, "−0.500"), (12345.678, "12,345.678")],
)
def test_numbers(value: Any, text: str) -> None:
    assert number(value) == text


def test_a_page_of_nothing_is_a_page() -> None:
    assert "</html>" in render(Page("kind", "title", "lead", []))


@pytest.mark.parametrize(
    ("flags", "bold"),
    [
        ({}, set()),
        ({"rounds": "60"}, {"rounds"}),
        ({"dataset": "fruits360"}, set()),
        ({"dataset": "fruits360", "rounds": str(Config().rounds)}, {"rounds"}),
        ({"dataset": "fruits360", "noise": "0.3"}, {"noise"}),
    ],
)
def test_settings_are_bold_where_they_differ_from_the_defaults_of_the_data_set(
    flags: dict[str, str], bold: set[str]
) -> None:
    section = run_sections.settings(plain(resolve(flags)))
    changed = {name for _, items in section.lists for name, _, is_changed in items if is_changed}
    assert changed - {"dataset"} == bold
