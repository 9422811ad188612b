"""Reference methods, the LaTeX table, kappa of agents that share their signs, and pages of all runs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mhng.experiment.comparison import compare, references, statistics, table
from mhng.experiment.comparison.grid import build_grid
from mhng.experiment.comparison.statistics import Outcome, Row
from mhng.experiment.errors import UsageError
from mhng.experiment.plots.comparison import plot_learning
from mhng.experiment.report import comparison_page
from mhng.experiment.report.report import report


def objects(labels, views):
    return SimpleNamespace(labels=labels, views=[torch.from_numpy(view).float() for view in views])


@pytest.fixture
def blobs():
    """90 objects of three classes. View A tells class 0 from the others, view B class 2 from the others."""
    rng, labels = np.random.default_rng(0), np.arange(90) % 3
    a, b = ((labels == k)[:, None] * 8.0 + rng.normal(size=(90, 60)) for k in (0, 2))
    return objects(labels, [a, 1000 * b])


def test_the_methods_see_the_views_of_all_agents(blobs):
    rows = references.evaluate(blobs, 3, [0, 1])
    assert [row["row"] for row in rows] == ["k-means", "Gaussian mixture", references.CLASSIFIER]
    assert rows[0]["ari"] == [1.0, 1.0]
    assert rows[2]["statistics"]["accuracy"]["mean"] == 1.0


def test_only_the_classifier_sees_labels_and_is_tested_on_other_objects():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    rows = references.evaluate(objects(labels, [rng.normal(size=(200, 5))]), 2, [0])
    assert all(abs(row["statistics"]["ari"]["mean"]) < 0.1 for row in rows)


def test_missing_numbers_and_constant_views_are_taken():
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    view = labels[:, None] * 9.0 + rng.normal(size=(40, 2))
    view[3] = np.nan
    rows = references.evaluate(objects(labels, [view, np.zeros((40, 3))]), 2, [0])
    assert rows[0]["ari"][0] > 0.8


@pytest.mark.parametrize(("first", "kept"), [("com-seed0", True), ("com-other-seed0", False)])
def test_references_are_kept_if_the_first_row_is_the_same(first, kept, tmp_path):
    words = ["--dataset", "synthetic", "--likelihood", "identity", "--limit", "60"]
    runs = build_grid(modes=["com"], seeds=["0"], words=words).runs()
    earlier = {"rows": [{"runs": [{"seed": 0, "folder": first}]}], "references": ["earlier"]}
    (tmp_path / "summary.json").write_text(json.dumps(earlier))
    assert (compare._references(tmp_path, runs, True) == ["earlier"]) == kept


def test_without_labels_there_are_no_references():
    assert references.evaluate(objects(None, [np.zeros((4, 2))]), 2, [0]) == []


def numbers(value):
    return dict.fromkeys(statistics.METRICS, value)


@pytest.fixture
def summary(blobs):
    alone = "what each agent would say alone"
    rows = [
        Row(
            "com, 50%_a",
            "com",
            "50%_a",
            {},
            [Outcome(seed, f"com-seed{seed}", numbers(0.5 + seed)) for seed in (0, 1)],
        ),
        Row("gibbs", "gibbs", "", {}, [Outcome(0, "gibbs-seed0", numbers(0.9), kappa_of=alone)]),
    ]
    return statistics.summarise(rows, "gibbs", {}, references.evaluate(blobs, 3, [0]))


def test_kappa_of_agents_that_share_their_signs_is_marked(summary):
    lines = table.markdown(summary).splitlines()
    assert next(line for line in lines if line.startswith("| gibbs")).count("0.900 (0.900) alone") == 1
    assert not any("alone" in line for line in lines if line.startswith("| com"))
    assert any(line.startswith("| k-means | 1.000") for line in lines)


def test_latex_escapes_names_and_has_all_rows(summary):
    lines = table.latex(summary).splitlines()
    assert lines[4] == r"com, 50\%\_a & 1.000 $\pm$ 0.707 & 0.500 & 1.000 & 1.000 $\pm$ 0.707 \\"
    assert lines[5] == r"gibbs & 0.900 & 0.900 & 0.900 & 0.900 (alone) \\"
    assert lines[7].startswith("k-means & 1.000") and lines[7].endswith(r" & - \\")
    assert lines[0] == r"\begin{tabular}{lrrrr}" and lines[-1] == r"\end{tabular}"


def test_learning_curves_show_the_mean_and_the_range(drawn):
    runs = [
        [{"agents": {"A": {"ari": a}, "B": {"ari": a}}, "kappa": a} for a in aris]
        for aris in ([0.2, 0.4], [0.4, 0.8, 1])
    ]
    plot_learning("x.png", {"com": runs, "empty": []})
    ari, kappa = drawn[0].axes
    for panel in (ari, kappa):
        (line,) = panel.lines
        np.testing.assert_allclose(line.get_ydata(), [0.3, 0.6])
        np.testing.assert_allclose(panel.dataLim.intervaly, [0.2, 0.8])


def test_all_pages_need_a_comparison(tmp_path):
    with pytest.raises(UsageError, match="--all requires the folder of a comparison"):
        report(tmp_path, all_runs=True)


def test_all_pages_are_those_of_complete_runs(tmp_path, summary, monkeypatch):
    import json

    summary["rows"][0]["runs"][1]["status"] = "failed"
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert comparison_page.complete_runs(tmp_path) == [tmp_path / "com-seed0", tmp_path / "gibbs-seed0"]
