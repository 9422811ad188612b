"""Runs of the variational game: what they leave, that they go on as they would have, and what is said of them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mhng.experiment.diagnostics import verdict
from mhng.experiment.diagnostics.basins import compare_chains
from mhng.experiment.diagnostics.diagnose import diagnose
from mhng.experiment.diagnostics.summary import summarise_trace
from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import resume
from tests.draws import trace
from tests.runs import contents, made
from tests.unit.diagnostics.test_verdict import SETTINGS

FEATURES = {"dataset": "synthetic", "likelihood": "identity", "latent_dim": "12", "jitter": "0.05", "rounds": "0"}


def test_agents_that_see_a_part_name_all_classes(tmp_path: Path) -> None:
    """Six classes in two dimensions, of which each agent confuses three pairs: as the sampled game finds them."""
    found = {}
    for mode in ("variational", "no-com"):
        run = made(
            tmp_path / mode, mode=mode, **FEATURES, limit="600", dimension="2", signs="6", agents="3", views="0,0,0",
            sweeps="30", start="split",
        )  # fmt: skip
        found[mode] = json.loads((run / run_folder.SUMMARY).read_text())
    talked, alone = found["variational"], found["no-com"]
    assert talked["acceptance"] is None and talked["messages"] == 600 * 3 * 2 and talked["kappa_of"] == "signs"
    assert talked["kappa"] == pytest.approx(1) and talked["log_joint"] == talked["log_evidence"]
    for name in "ABC":
        assert talked["agents"][name]["ari"] > 0.9 > 0.6 > alone["agents"][name]["ari"]


def test_images_are_learned_by_the_signs_and_a_run_goes_on_as_it_would_have(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole", mode="variational", rounds="2")
    part = made(tmp_path / "part", mode="variational", rounds="1")
    resume(part, rounds=2, printer=Silent())
    assert contents(part) == contents(whole)
    assert contents(whole)[0]["agents"]["A"]["ari"] > 0.3
    rows = [json.loads(line) for line in (whole / run_folder.METRICS).read_text().splitlines()]
    bounds = [row["log_joint"] for row in rows if row["kind"] == "sweep" and row["round"] == 2]
    assert all(after >= before - 1e-9 for before, after in pairwise(bounds))


def test_a_diagnosis_says_whether_names_stand_still(tmp_path: Path) -> None:
    run = made(tmp_path / "run", mode="variational", **FEATURES, limit="300", chains="2", sweeps="40", burn_in="35")
    report = diagnose(run, plots=False)
    assert report["verdict"]["converged"]["answer"] == "yes" and report["target"]["kind"] == "another"
    assert "draws no samples" in report["verdict"]["converged"]["words"][0]
    with pytest.raises(UsageError, match="does not support --mode variational"):
        diagnose(run, plots=False, exact=True)

    def judged(signs: np.ndarray) -> verdict.Verdict:
        played = trace(*signs.shape[:2], N=60, signs=signs)
        settings = SETTINGS | {"mode": "variational", "sweeps": signs.shape[1]}
        return verdict.converged(
            settings, summarise_trace(played, 0), compare_chains(played.signs, played.log_evidence), signs
        )

    still = np.broadcast_to(np.arange(60) % 4, (2, 10, 2, 60)).copy()
    assert judged(still).answer == "yes" and "No sign changed" in judged(still).words[1]
    moving = still.copy()
    moving[1, 4:, :, 0] = 3
    assert judged(moving).answer == "not yet" and judged(moving).next[0] == "--sweeps 20 (now 10)"
    apart = still.copy()
    apart[1] = apart[1][..., np.random.default_rng(1).permutation(60)]
    assert judged(apart).answer == "no"
    assert judged(still[:1]).next == ["--chains 4, to see whether other chains end in other basins"]
    # Everybody calls everything otherwise in each sweep, and nothing that is free of labels moves.
    circling = still.copy()
    circling[:, 1::2] = (circling[:, 1::2] + 1) % 4
    assert judged(circling).answer == "no" and "alternate" in judged(circling).words[1]
    renamed = still.copy()
    renamed[:, 6:] = (renamed[:, 6:] + 1) % 4
    assert judged(renamed).answer == "not yet" and "changed in 1 of the 9 steps" in judged(renamed).words[1]
    assert judged(still[:, :1]).answer == "unknown" and judged(still[:, :1]).next[0] == "--sweeps 10 (now 1)"
    nothing = verdict.converged(SETTINGS | {"mode": "variational"}, {}, None)
    assert nothing.answer == "unknown" and "--keep signs (or all)" in nothing.next


def test_in_pairs_nothing_is_said_to_climb(tmp_path: Path) -> None:
    """And what there is not, acceptance and the R-hat of draws, is not shown."""
    run = made(tmp_path / "run", mode="variational", **FEATURES, limit="60", agents="4", meet="ring", chains="2")
    report = diagnose(run, plots=False)
    assert "no lower bound increases" in report["target"]["words"]
    assert report["rhat_max"] is None and report["ess_min"] is None
    assert not [name for name in report["quantities"] if name.startswith("acceptance")]
    assert all(row["rhat"] is None and row["ess"] is None for row in report["quantities"].values())
