"""Numbers that make trouble: a defined result, or a stop that names round, epoch and agent and keeps what was good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhng.experiment.errors import RunError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.training.console import Silent
from mhng.experiment.training.prepare import load_objects
from mhng.experiment.training.train import resume, train

RNG = np.random.default_rng(0)
IMAGES = RNG.random((12, 6, 5)).astype(np.float32)
CLASSES = np.tile([0, 1, 2], 70)
POINTS = (np.eye(3)[CLASSES] * 20 + RNG.normal(size=(210, 3))).astype(np.float64)
QUICK = [
    "--rounds",
    "1",
    "--epochs",
    "2",
    "--sweeps",
    "4",
    "--burn-in",
    "1",
    "--starts",
    "2",
    "--start",
    "kmeans",
    "--chains",
    "1",
    "--device",
    "cpu",
]
IDENTITY = ["--likelihood", "identity"]


def run(folder: Path, arrays: dict[str, Any], *words: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "own.npz", **arrays)
    words = ("--dataset", "npz", "--data", str(folder / "own.npz"), "--run-dir", str(folder / "run"), *QUICK, *words)
    return train(resolve(read_settings(words)), printer=Silent())


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [one for item in value.values() for one in numbers(item)]
    if isinstance(value, list):
        return [one for item in value for one in numbers(item)]
    return [value] if isinstance(value, int | float) else []


# What comes in, the flags, and how many signs each agent must at least have used.
DEFINED: dict[str, tuple[dict[str, Any], list[str], int]] = {
    "black images": ({"images": np.zeros_like(IMAGES)}, ["--signs", "3"], 1),
    "white images": ({"images": np.ones_like(IMAGES)}, ["--signs", "3"], 1),
    "one grey": ({"images": np.full((12, 6, 5), 128, np.uint8)}, ["--signs", "2", "--likelihood", "gaussian"], 1),
    "denormal pixels": ({"images": IMAGES * 1e-40}, ["--signs", "2"], 1),
    "one object": ({"images": IMAGES[:1]}, ["--signs", "4"], 1),
    "one object with features": ({"features": POINTS[:1]}, [*IDENTITY, "--signs", "3"], 1),
    "one sign": ({"features": POINTS}, [*IDENTITY, "--signs", "1"], 1),
    "one dimension": ({"features": POINTS[:, :1]}, [*IDENTITY, "--signs", "2"], 2),
    "one latent dimension": ({"images": IMAGES}, ["--latent-dim", "1", "--signs", "2"], 1),
    "more signs than objects": ({"features": POINTS[:5]}, [*IDENTITY, "--signs", "12"], 1),
    "a sign for each object": ({"features": POINTS[:6]}, [*IDENTITY, "--signs", "6"], 1),
    "one of a kind": ({"features": np.vstack([POINTS[:16], [[500, 0, 0]]])}, [*IDENTITY, "--signs", "3"], 1),
    "equal objects": ({"features": np.ones((12, 3))}, [*IDENTITY, "--signs", "3"], 1),
    "equal objects, head to head": ({"features": np.ones((12, 3))},
                                    [*IDENTITY, "--signs", "3", "--mixture", "head-to-head"], 1),
    "equal objects, merged": ({"features": np.ones((12, 3))}, [*IDENTITY, "--signs", "3", "--start", "merge"], 1),
    "more signs than objects, merged": ({"features": POINTS[:5]}, [*IDENTITY, "--signs", "12", "--start", "merge"], 1),
    "equal but for one feature": ({"features": np.pad(POINTS, ((0, 0), (0, 2)), constant_values=0.1)},
                                  [*IDENTITY, "--signs", "3"], 3),
    "a constant of 1e30": ({"features": np.pad(POINTS, ((0, 0), (0, 1)), constant_values=1e30)},
                           [*IDENTITY, "--signs", "3"], 3),
    "huge": ({"features": POINTS * 1e30}, [*IDENTITY, "--signs", "3"], 3),
    "as huge as can be": ({"features": POINTS * 1e37}, [*IDENTITY, "--signs", "3"], 3),
    "tiny": ({"features": POINTS * 1e-30}, [*IDENTITY, "--signs", "3"], 3),
    "denormal": ({"features": POINTS * 1e-40}, [*IDENTITY, "--signs", "3"], 3),
    "huge and tiny": ({"features": POINTS * np.array([1e30, 1e-30, 1])}, [*IDENTITY, "--signs", "3"], 3),
    "huge, learned": ({"features": POINTS * 1e30}, ["--likelihood", "gaussian", "--signs", "3"], 1),
    "dependent features": ({"features": POINTS @ np.ones((3, 3))}, [*IDENTITY, "--signs", "2"], 1),
    "start from the prior": ({"features": POINTS * 1e30}, [*IDENTITY, "--signs", "3", "--start", "prior"], 1),
    "start by splitting": ({"features": POINTS[:4]}, [*IDENTITY, "--signs", "3", "--start", "split"], 1),
    "gibbs, no epochs": ({"images": IMAGES}, ["--mode", "gibbs", "--epochs", "0", "--signs", "2"], 1),
    "a batch of one": ({"images": IMAGES}, ["--batch-size", "1", "--signs", "2"], 1),
    "a last batch of one": ({"images": IMAGES}, ["--batch-size", "11", "--signs", "2"], 1),
    "a tiny step": ({"images": IMAGES}, ["--lr", "1e-300", "--signs", "2"], 1),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINED)
def test_a_defined_result(name: str, tmp_path: Path) -> None:
    arrays, words, used = DEFINED[name]
    summary = run(tmp_path, arrays, *words)
    json.dumps(summary, allow_nan=False)
    assert np.isfinite(numbers(summary)).all() and summary["log_evidence"] is not None
    assert all(own["signs_used"] >= used for own in summary["agents"].values())
    state = torch.load(tmp_path / "run" / run_folder.CHECKPOINT, weights_only=True)
    assert all(part.isfinite().all() for parts in state["components"] for part in parts)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-3, 1e30, 1e37])
def test_the_scale_of_features_does_not_matter(scale: float, tmp_path: Path) -> None:
    def seen(features: np.ndarray) -> torch.Tensor:
        np.savez(tmp_path / "own.npz", features=features)
        words = ["--dataset", "npz", "--data", str(tmp_path / "own.npz"), *IDENTITY]
        return load_objects(resolve(read_settings(words)))[0].views[0]

    plain = seen(POINTS)
    torch.testing.assert_close(plain.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(plain.std(0, correction=0), torch.ones(3), rtol=1e-5, atol=0)
    # Denormal numbers have few digits.
    torch.testing.assert_close(seen(POINTS * scale), plain, rtol=0, atol=1e-5 if scale > 1e-39 else 1e-3)
    constant = np.pad(POINTS, ((0, 0), (0, 1)), constant_values=scale / 3)
    assert (seen(constant)[:, 3] == 0).all()


@pytest.mark.parametrize("step", ["1e3", "1e30", "1e300"])
def test_a_step_too_large_stops_with_its_place_and_keeps_the_round_before(step: str, tmp_path: Path) -> None:
    summary = run(tmp_path, {"images": IMAGES}, "--signs", "2", "--rounds", "0")
    before = torch.load(tmp_path / "run" / run_folder.CHECKPOINT, weights_only=True)
    state = torch.load(tmp_path / "run" / run_folder.CHECKPOINT, weights_only=True)
    for own in state["members"].values():
        own["optimiser"]["param_groups"][0]["lr"] = float(step)
    torch.save(state, tmp_path / "run" / run_folder.CHECKPOINT)
    saved = (tmp_path / "run" / run_folder.CHECKPOINT).read_bytes()
    try:
        resume(tmp_path / "run", rounds="3", printer=Silent())
        said = ""
    except RunError as error:
        said = str(error)
    if said:
        assert "round " in said and "agent " in said and "try a smaller --lr" in said and "\n" not in said
        assert json.loads((tmp_path / "run" / run_folder.MANIFEST).read_text())["status"] == "failed"
        kept = torch.load(tmp_path / "run" / run_folder.CHECKPOINT, weights_only=True)
        assert all(value.isfinite().all() for own in kept["members"].values() for value in own["agent"].values())
        if kept["done"] == before["done"]:
            assert (tmp_path / "run" / run_folder.CHECKPOINT).read_bytes() == saved
    else:
        assert step == "1e3"  # large, but numbers all the same
    assert summary["rounds"] == 0


def test_a_run_that_never_learned_says_where(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"round 0, agent A: .*; try a smaller --lr"):
        run(tmp_path, {"images": IMAGES}, "--lr", "1e30", "--signs", "2")
    assert not (tmp_path / "run" / run_folder.CHECKPOINT).exists()
