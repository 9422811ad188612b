"""The pictures of `diagnose`: that they show what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from mhng.experiment.metrics.relabel import relabel
from mhng.experiment.plots import diagnostics as pictures

RNG = np.random.default_rng(0)


def test_monitors_show_chains_and_their_ranks(drawn: list[Figure]) -> None:
    chains = RNG.normal(size=(3, 40))
    chains[2] += 100
    pictures.plot_monitors(Path(), {"x": chains, "still": np.ones((3, 40))}, np.arange(10, 50))
    trace, ranks, _, still = drawn[0].axes
    np.testing.assert_array_equal(trace.lines[1].get_ydata(), chains[1])
    np.testing.assert_array_equal(trace.lines[0].get_xdata(), np.arange(10, 50))
    last = ranks.patches[2].get_data()
    assert last.values[-2:].sum() == pytest.approx(last.values.sum() - last.values[:-2].sum())
    assert last.values[: len(last.values) // 2].sum() == 0 and last.values.sum() == pytest.approx(1)
    assert still.texts[0].get_text() == "constant"


def test_equal_draws_share_the_ranks_evenly(drawn: list[Figure]) -> None:
    chains = np.zeros((2, 40))
    chains[0, 0] = -1  # not constant
    pictures.plot_monitors(Path(), {"x": chains}, np.arange(40))
    for patch in drawn[0].axes[1].patches:
        values = patch.get_data().values
        np.testing.assert_allclose(values, 1 / len(values), atol=0.03)


def test_many_chains_are_not_all_drawn_and_that_is_said(drawn: list[Figure]) -> None:
    pictures.plot_acceptance(Path(), RNG.random((30, 12, 2)), ["A->B", "B->A"], np.arange(12))
    first, second = drawn[0].axes
    assert len(first.lines) == len(second.lines) == 8 and "first 8 of 30 chains" in first.get_title()
    assert "B->A" in second.get_ylabel()


def test_components_show_means_and_ranges(drawn: list[Figure]) -> None:
    weight = RNG.dirichlet(np.ones(3), size=(2, 10, 1))
    pictures.plot_components(Path(), weight, ["A"])
    container = drawn[0].axes[0].containers[1]
    np.testing.assert_allclose(container.lines[0].get_ydata(), weight[1, :, 0].mean(0))


def test_co_assignment_is_a_share_of_draws_in_blocks(drawn: list[Figure]) -> None:
    truth = np.array([2, 0, 1, 0, 1, 0])
    signs = np.stack([np.stack([order[truth]] * 2) for order in np.array([[0, 1, 2], [2, 0, 1]])])[:, None]
    found = relabel(signs, np.zeros((2, 1)), 3, together=True)
    pictures.plot_co_assignment(Path(), signs, found.permutation, ["A", "B"])
    expected = np.kron(np.eye(3), np.ones((3, 3)))[np.ix_([0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 4, 6])]
    for panel in drawn[0].axes[:2]:
        np.testing.assert_array_equal(panel.images[0].get_array(), expected)


def test_a_part_of_many_objects_is_shown(drawn: list[Figure]) -> None:
    signs = RNG.integers(0, 3, (2, 3, 1, 500))
    found = relabel(signs, np.zeros((2, 3)), 3, together=False)
    pictures.plot_co_assignment(Path(), signs, found.permutation, ["A"], max_objects=50)
    panel = drawn[0].axes[0]
    assert panel.images[0].get_array().shape == (50, 50) and "50 of 500" in panel.get_xlabel()


def test_agreement_names_the_chains(drawn: list[Figure]) -> None:
    agreement = np.array([[[1.0, 0.5], [0.5, 0.9]]])
    pictures.plot_agreement(Path(), agreement, [0, 7], ["A"])
    panel = drawn[0].axes[0]
    assert [text.get_text() for text in panel.texts] == ["1.00", "0.50", "0.50", "0.90"]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0", "7"]
