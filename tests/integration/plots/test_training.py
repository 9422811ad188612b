"""The pictures: that they are drawn of whatever a run leaves, and that they show what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from mhng.experiment.errors import RunError
from mhng.experiment.plots import latent_map, recall
from mhng.experiment.plots import training as training_plots
from mhng.experiment.plots.style import figure_of

ROOT = Path(__file__).resolve().parents[3]


def rows(rounds: int = 2, steps: int = 3, ari: float | None = 0.5, heard: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for r in range(rounds):
        for agent in "AB":
            for e in range(1, steps + 1):
                parts = {
                    "reconstruction": -100.0 + e,
                    "kl": 5.0 + r,
                    "loss": None if e == 2 else 105.0 + r - e,
                }
                found.append({"kind": "epoch", "round": r, "epoch": e, "agent": agent, **parts})
        for t in range(1, steps + 1):
            rates = {"A->B": 0.9, "B->A": 0.8} if heard else None
            agents = {"A": {"ari": ari}, "B": {"ari": ari}}
            sweep = {"kind": "sweep", "round": r, "sweep": t, "agents": agents, "acceptance": rates}
            found.append(sweep | {"kappa": t / 10, "log_joint": -1000.0 * r - t})
    return found


def assert_png(path: Path) -> None:
    assert path.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(path.parent) == [path.name]  # and nothing unfinished beside it


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [[], rows(), rows(1, 1, None, heard=False)], ids=["none", "full", "bare"])
def test_rows_of_every_kind_of_run_are_drawn(tmp_path: Path, given: list[dict[str, Any]]) -> None:
    training_plots.plot_training(tmp_path / "a" / "training.png", given)
    training_plots.plot_game(tmp_path / "b" / "game.png", given)
    assert_png(tmp_path / "a" / "training.png")
    assert_png(tmp_path / "b" / "game.png")


def test_class_names_in_any_script_are_drawn_as_they_are(tmp_path: Path) -> None:
    signs = np.array([[0, 1, 2, 2], [0, 1, 2, 1], [0, 0, 0, 0], [2, 2, 1, 0]])
    names = ["$a_{", "犬", "a name that is much too long for its row", "absent"]
    path = tmp_path / "plots" / "confusion.png"
    training_plots.plot_confusion(path, signs, np.array([0, 1, 2, 2]), ["$A{", "B", "C", "D"], names, 3)
    assert_png(path)


def test_a_picture_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.png"
    training_plots.plot_images(path, np.zeros((1, 2, 3, 3)), ["a"], ["b", "c"])
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(RunError, match=r"images\.png could not be written: No space left on device"):
        training_plots.plot_images(path, np.ones((1, 2, 3, 3)), ["a"], ["b", "c"])
    assert path.read_bytes() == before
    assert_png(path)


def test_no_backend_display_or_matplotlibrc_has_a_say(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.dpi: 9\nsavefig.format: pdf\n")
    code = (
        "import sys, warnings; warnings.simplefilter('error'); from pathlib import Path\n"
        "from mhng.experiment.plots import training\n"
        "import matplotlib, numpy as np; before = matplotlib.rcParams.copy()\n"
        "training.plot_images(Path(sys.argv[1]), np.zeros((1, 1, 4, 4)), ['a'], ['b'])\n"
        "assert matplotlib.rcParams.copy() == before; assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    changed = os.environ | {"MPLBACKEND": "no-such-backend", "MPLCONFIGDIR": str(tmp_path), "DISPLAY": ":99"}
    path = tmp_path / "plots" / "one.png"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, env=changed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    training_plots.plot_images(tmp_path / "plots2" / "one.png", np.zeros((1, 1, 4, 4)), ["a"], ["b"])
    assert path.read_bytes() == (tmp_path / "plots2" / "one.png").read_bytes()


# -- contents --------------------------------------------------------------------------------------


def test_training_shows_each_agent_over_all_epochs_and_the_rounds(drawn: list[Figure]) -> None:
    training_plots.plot_training(Path(), rows(rounds=3, steps=4))
    loss, reconstruction, kl = drawn[0].axes
    lines = {line.get_label(): line for line in kl.lines if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["A", "B"]
    assert lines["A"].get_xdata().tolist() == list(range(1, 13))
    assert lines["B"].get_ydata().tolist() == [5] * 4 + [6] * 4 + [7] * 4
    assert np.isnan(loss.lines[0].get_ydata()[1])  # a loss that was not finite
    for panel in (loss, reconstruction, kl):
        assert [line.get_xdata()[0] for line in panel.lines[2:]] == [4.5, 8.5]
        assert "nats per object" in panel.get_ylabel()
    assert lines["A"].get_color() != lines["B"].get_color()
    assert lines["A"].get_linestyle() != lines["B"].get_linestyle()


def test_game_is_broken_between_rounds(drawn: list[Figure]) -> None:
    training_plots.plot_game(Path(), rows(rounds=2, steps=2))
    ari, kappa, acceptance, log_joint = drawn[0].axes
    np.testing.assert_array_equal(log_joint.lines[0].get_xdata(), [1, 2, np.nan, 3, 4])
    np.testing.assert_array_equal(log_joint.lines[0].get_ydata(), [-1, -2, np.nan, -1001, -1002])
    np.testing.assert_array_equal(kappa.lines[0].get_ydata(), [0.1, 0.2, np.nan, 0.1, 0.2])
    assert acceptance.get_legend_handles_labels()[1] == ["A->B", "B->A"]
    assert ari.get_legend_handles_labels()[1] == ["A", "B"]


def test_what_a_run_has_not_is_said(drawn: list[Figure]) -> None:
    training_plots.plot_game(Path(), rows(ari=None, heard=False))
    ari, _, acceptance, _ = drawn[0].axes
    assert "no labels" in ari.texts[0].get_text()
    assert "no proposals" in acceptance.texts[0].get_text()


def test_a_score_below_zero_is_inside_the_panel(drawn: list[Figure]) -> None:
    training_plots.plot_game(Path(), rows(ari=-0.3))
    assert drawn[0].axes[0].get_ylim()[0] < -0.3


def test_one_sweep_a_round_is_visible(drawn: list[Figure]) -> None:
    training_plots.plot_game(Path(), rows(rounds=50, steps=1))
    assert drawn[0].axes[1].lines[0].get_marker() == "o"


def test_confusion_has_a_perfect_naming_on_the_diagonal(drawn: list[Figure]) -> None:
    labels = np.array([0, 0, 1, 1, 2, 2, 2, 2])
    signs = np.array([[3, 3, 0, 0, 1, 1, 1, 1], [3, 3, 0, 0, 1, 1, 1, 1], [0, 0, 2, 2, 3, 3, 3, 1]])
    training_plots.plot_confusion(Path(), signs, labels, ["A", "A2", "B"], ["x", "y", "z"], 5)
    a, _, b, _ = drawn[0].axes
    np.testing.assert_array_equal(a.images[0].get_array(), 100 * np.eye(3, 5))
    assert [tick.get_text() for tick in a.get_xticklabels()] == ["3", "0", "1", "2", "4"]
    # The columns of all agents have one order, so that the dialect of B stands out.
    assert [tick.get_text() for tick in b.get_xticklabels()] == ["3", "0", "1", "2", "4"]
    assert b.images[0].get_array().tolist() == [[0, 100, 0, 0, 0], [0, 0, 0, 100, 0], [75, 0, 25, 0, 0]]
    training_plots.plot_confusion(Path(), signs[2:], labels, ["B"], ["x", "y", "z"], 5, order=signs)
    assert [tick.get_text() for tick in drawn[1].axes[0].get_xticklabels()] == ["3", "0", "1", "2", "4"]
    assert (a.get_title(), b.get_title()) == ("agent A: 100% matched", "agent B: 88% matched")


@pytest.mark.parametrize("K", [2, 40])
def test_confusion_with_fewer_or_many_more_signs_than_classes(drawn: list[Figure], K: int) -> None:
    labels = np.array([0, 1, 2, 2])
    training_plots.plot_confusion(Path(), np.array([[0, 1, 1, 1]]), labels, ["A"], ["x", "y", "z", "absent"], K)
    shares = np.ma.filled(drawn[0].axes[0].images[0].get_array().astype(float), np.nan)
    assert shares.shape == (4, K)
    assert np.nansum(shares, axis=1).tolist() == [100, 100, 100, 0]
    assert np.isnan(shares[3]).all()


def test_images_stand_where_their_names_say(drawn: list[Figure]) -> None:
    images = np.arange(6).reshape(2, 3, 1, 1) / 6 + np.zeros((2, 3, 28, 20))
    images[0, 2] = np.nan
    training_plots.plot_images(Path(), images, ["up", "down"], ["left", "middle", "right"])
    axes = drawn[0].axes[0]
    grid = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    for r, y in enumerate(axes.get_yticks()):
        for c, x in enumerate(axes.get_xticks()):
            tile = grid[int(y) - 13 : int(y) + 14, int(x) - 9 : int(x) + 10]
            np.testing.assert_array_equal(tile, images[r, c, :27, :19])
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)


def test_images_in_colour_stand_beside_grey_ones(drawn: list[Figure]) -> None:
    grey, colour = np.full((1, 2, 14, 14), 0.25), np.zeros((1, 2, 28, 28, 3))
    colour[..., 0] = 0.75
    colour[0, 1] = np.nan
    both = training_plots.alike([grey.astype(np.float32), colour.astype(np.float32)])
    assert both.shape == (2, 1, 2, 28, 28, 3) and np.isnan(both[0, 0, 0, 6]).all()
    np.testing.assert_array_equal(both[0, 0, 0, 7:21, 7:21], 0.25)
    training_plots.plot_images(Path(), both[1], ["a"], ["b", "absent"])
    axes = drawn[0].axes[0]
    y, (x, absent) = int(axes.get_yticks()[0]), map(int, axes.get_xticks())
    pixels = axes.images[0].get_array()
    np.testing.assert_allclose(pixels[y, x], (0.75, 0, 0))
    np.testing.assert_allclose(pixels[y, absent], np.array([220, 230, 240]) / 255)
    assert training_plots.alike([grey.astype(np.float32)]).shape == (1, 1, 2, 14, 14)


def test_row_names_of_a_cross_recall_are_whole_and_inside_the_picture() -> None:
    images = np.zeros((2, 4, 28, 28), dtype=np.float32)
    names = ["sign 0: Cherry Wax Red, 100%", "sign 1: Corn, 97%"]
    panels = [recall.Direction(a, b, names, images, images) for a, b in ("AB", "BA")]
    figure = figure_of(lambda path: recall.plot_cross(path, panels))
    figure.draw_without_rendering()
    for axes in figure.axes:
        labels = axes.get_yticklabels()
        assert [label.get_text() for label in labels] == names
        assert min(label.get_window_extent().x0 for label in labels) >= 0


@pytest.mark.parametrize("count", [1, 10, 20, 40])
def test_no_class_of_a_map_is_grey(count: int) -> None:
    colours = latent_map.palette(count)[:count, :3]
    assert (np.ptp(colours, axis=1) > 0.1).sum() + (colours.max(1) == 0).sum() == count
    assert len(np.unique(colours, axis=0)) == count


def test_names_near_the_edge_of_a_map_extend_inwards(drawn: list[Figure]) -> None:
    points = np.array([[0.0, 0], [5, 0], [10, 0]])
    latent_map.plot_map(Path(), points, np.arange(3), ["left", "middle", "right"], [0, 1, -1], ("x", "y"))
    assert [text.get_ha() for text in drawn[0].axes[0].texts] == ["left", "center", "right"]


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"2 rows, 1 columns.*\(1, 1, 3, 3\)"):
        training_plots.plot_images(Path("no.png"), np.zeros((1, 1, 3, 3)), ["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"2 agents, N.*\(3,\)"):
        training_plots.plot_confusion(Path("no.png"), np.zeros((2, 4)), np.zeros(3), ["A", "B"], ["x"], 3)
