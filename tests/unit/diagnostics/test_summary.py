"""R-hat, effective sample size and Monte Carlo error of made-up chains."""

from __future__ import annotations

import numpy as np
import pytest

from mhng.experiment.diagnostics.summary import summarise_trace
from tests.draws import trace


def test_rhat_is_not_available_with_one_chain_and_that_is_said() -> None:
    one = summarise_trace(trace(C=1), 0)
    assert one["rhat_note"] == "not available with one chain"
    assert one["rhat_max"] is None
    assert {row["rhat"] for row in one["quantities"].values()} == {None}
    assert one["quantities"]["lp"]["ess"] > 0
    short = summarise_trace(trace(T=3), 0)
    assert short["rhat_note"] == "not available with fewer than 4 draws"
    assert short["rhat_max"] is short["ess_min"] is None
    assert summarise_trace(trace(), 0)["rhat_note"] is None


@pytest.mark.parametrize("T", [1, 2])
def test_one_draw_has_a_mean_and_nothing_else(T: int) -> None:
    row = summarise_trace(trace(T=T), T - 1)["quantities"]["lp"]
    assert row["mean"] == pytest.approx(trace(T=T).log_joint[:, -1].mean())
    assert (row["rhat"], row["ess"]) == (None, None)
    assert (row["constant_chains"], row["stuck_apart"]) == (None, 0.0)


def test_mixed_chains_pass_and_chains_apart_do_not() -> None:
    good = summarise_trace(trace(T=400), 0)
    assert good["quantities"]["lp"]["rhat"] < 1.01
    assert good["quantities"]["lp"]["ess"] > 600
    apart = trace(T=400, log_joint=trace(T=400).log_joint + np.array([[0.0], [0.0], [5.0]]))
    bad = summarise_trace(apart, 0)
    assert bad["rhat_max"] == bad["quantities"]["lp"]["rhat"] > 1.5


def test_constant_chains_are_reported_and_not_scored() -> None:
    log_joint = trace().log_joint
    log_joint[0] = -50.0
    one = summarise_trace(trace(log_joint=log_joint), 0)["quantities"]["lp"]
    assert one["constant_chains"] == pytest.approx(1 / 3)
    assert (one["ess"], one["stuck_apart"]) == (None, 0.0)
    assert one["rhat"] > 1.1

    same = summarise_trace(trace(log_joint=np.full((3, 40), -50.0)), 0)
    row = same["quantities"]["lp"]
    assert row == {
        "mean": -50, "sd": 0, "rhat": None, "ess": None, "mcse": None, "constant_chains": 1, "stuck_apart": 0
    }  # fmt: skip
    assert same["stuck_apart"] == []

    stuck = summarise_trace(trace(log_joint=np.full((3, 40), 1.0) * [[1], [1], [2]]), 0)
    assert stuck["quantities"]["lp"]["rhat"] is None
    assert stuck["stuck_apart"] == ["lp"]


def test_a_game_that_stands_still_is_reported_without_a_warning() -> None:
    signs = np.repeat(trace(C=2, T=1).signs, 20, axis=1)
    still = summarise_trace(trace(C=2, T=20, signs=signs), 0)
    shares = still["quantities"]["component_share[A, 1]"]
    assert (shares["constant_chains"], shares["rhat"], shares["ess"]) == (1.0, None, None)
    together = still["quantities"]["co_assignment[A]"]
    assert together["constant_chains"] == 1.0
    assert 0 < together["stuck_apart"] < 1  # on some pairs the two chains agree
    assert still["quantities"]["successive_ari[A]"]["mean"] == 1.0


def test_values_that_are_not_finite_have_no_diagnostics() -> None:
    log_joint = trace().log_joint
    log_joint[1, 7] = -np.inf
    row = summarise_trace(trace(log_joint=log_joint), 0)["quantities"]["lp"]
    assert (row["rhat"], row["ess"]) == (None, None)
    assert row["mean"] == pytest.approx(log_joint[np.isfinite(log_joint)].mean())
