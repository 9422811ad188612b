"""The prior scale of a run: it follows the data, is recorded, and is restored."""

import json

import numpy as np
import pytest
import torch

from mhng import load_run, train
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.train import resume
from tests.runs import all_outputs

FEATURES = {
    "dataset": "csv",
    "likelihood": "identity",
    "signs": 4,
    "rounds": 0,
    "sweeps": 10,
    "burn_in": 3,
    "chains": 1,
}
DIGITS = {
    "dataset": "digits", "limit": 60, "signs": 3, "latent_dim": 2, "epochs": 2, "rounds": 1, "sweeps": 5,
    "burn_in": 1, "starts": 1, "chains": 1,
}  # fmt: skip


def write_features(folder, seed=0):
    """Two CSV files with 300 objects of four classes, five standard deviations apart, and the last column label."""
    generator = np.random.default_rng(seed)
    labels, files = generator.integers(4, size=300), []
    for name in "AB":
        means = generator.normal(size=(4, 3))
        nearest = min(np.linalg.norm(means[a] - means[b]) for a in range(4) for b in range(a))
        x = means[labels] * 5 / nearest + generator.normal(size=(300, 3))
        files.append(folder / f"{name}.csv")
        np.savetxt(files[-1], np.column_stack([x, labels]), delimiter=",", header="f1,f2,f3,label", comments="")
    return [str(file) for file in files]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clear_classes_in_features_have_a_sign_each_without_a_prior(tmp_path, seed):
    run = train(data=write_features(tmp_path, seed), seed=seed, run_dir=tmp_path / "run", **FEATURES)
    assert all(agent["ari"] > 0.95 and agent["signs_used"] == 4 for agent in run.scores["agents"].values())
    scales = json.loads((tmp_path / "run" / run_folder.MANIFEST).read_text())["prior_scale"]
    assert scales == {"A": pytest.approx(4 ** (2 / 3)), "B": pytest.approx(4 ** (2 / 3))}


def test_the_synthetic_set_has_its_six_classes(tmp_path):
    run = train(dataset="synthetic", likelihood="identity", rounds=0, chains=1, seed=1, run_dir=tmp_path / "run")
    assert all(agent["ari"] > 0.95 and agent["signs_used"] == 6 for agent in run.scores["agents"].values())


def test_a_given_scale_is_kept(tmp_path):
    run = train(data=write_features(tmp_path), prior="W=0.1", run_dir=tmp_path / "run", **FEATURES)
    assert float(run.models["A"].mixture.W[0, 0]) == 0.1
    assert "prior_scale" not in json.loads((tmp_path / "run" / run_folder.MANIFEST).read_text())


def test_the_scale_of_latents_is_selected_once_and_restored(tmp_path):
    train(run_dir=tmp_path / "long", **DIGITS)
    train(run_dir=tmp_path / "short", **DIGITS | {"rounds": 0})
    resume(tmp_path / "short", rounds=1)
    assert all_outputs(tmp_path / "short") == all_outputs(tmp_path / "long")
    scales = json.loads((tmp_path / "short" / run_folder.MANIFEST).read_text())["prior_scale"]
    run = load_run(tmp_path / "short")
    for name, model in run.models.items():
        assert torch.equal(model.mixture.W, scales[name] * torch.eye(2, dtype=torch.float64)) and scales[name] != 0.1
