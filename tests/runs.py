"""Shared by tests: small runs, made once (a test that writes to one copies it), their contents, and caught figures."""

import hashlib
import json
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mhng.experiment.plots import community as community_plots
from mhng.experiment.plots import comparison as comparison_plots
from mhng.experiment.plots import diagnostics as diagnostic_plots
from mhng.experiment.plots import latent_map
from mhng.experiment.plots import training as training_plots
from mhng.experiment.report.report import report
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import load_posterior
from mhng.experiment.settings.config import resolve
from mhng.experiment.training import loop
from mhng.experiment.training.console import Silent
from mhng.experiment.training.train import train

SMALL_FLAGS = [
    "--dataset", "digits", "--limit", "60", "--signs", "3", "--latent-dim", "2", "--epochs", "2",
    "--round-epochs", "1", "--rounds", "1", "--sweeps", "5", "--burn-in", "1", "--starts", "1",
    "--chains", "1", "--likelihood", "bernoulli",
    "--batch-size", "16", "--lr", "3e-2",  # enough that latents do not collapse
]  # fmt: skip


def contents(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Summary, signs and metrics of a run without times: equal after a stop and a resume."""
    summary = json.loads((folder / run_folder.SUMMARY).read_text())
    summary.pop("seconds")
    with np.load(folder / run_folder.SIGNS) as arrays:
        signs = {name: arrays[name].tolist() for name in arrays.files}
    return summary, signs, (folder / run_folder.METRICS).read_text()


def tensors(value: Any, place: str = "") -> dict[str, Any]:
    """A flat checkpoint: hashes of tensors and plain values by path, without times."""
    if isinstance(value, dict):
        pairs = [(str(key), item) for key, item in value.items() if key != "seconds"]
    elif isinstance(value, list | tuple):
        pairs = [(str(index), item) for index, item in enumerate(value)]
    else:
        if not isinstance(value, torch.Tensor):
            return {place: value}
        return {place: (value.shape, value.dtype, hashlib.sha256(value.numpy().tobytes()).hexdigest())}
    return {inner: leaf for key, item in pairs for inner, leaf in tensors(item, f"{place}/{key}").items()}


def all_outputs(folder: Path) -> tuple[Any, ...]:
    """Everything that a run leaves but times and pictures, to compare two runs."""
    posterior = load_posterior(folder / run_folder.POSTERIOR)
    draws = {
        f"{group}/{name}": values.values.tobytes()
        for group in ("posterior", "sample_stats", "components", "signs", "log_likelihood", "observed_data")
        if group in posterior
        for name, values in posterior[group].items()
    }
    state = tensors(torch.load(folder / run_folder.CHECKPOINT, weights_only=True))
    return *contents(folder), (folder / run_folder.CONFIG).read_bytes(), state, draws


def made(folder: Path, **changes: str) -> Path:
    """A tiny run of 8 x 8 digits, with changes."""
    settings = {
        "dataset": "digits", "limit": "200", "signs": "10", "latent_dim": "4", "epochs": "60", "rounds": "1",
        "sweeps": "6", "burn_in": "1", "starts": "2", "device": "cpu", "run_dir": str(folder),
        "likelihood": "bernoulli", "round_epochs": "1", "chains": "1",
        "batch_size": "32", "lr": "3e-3", "jitter": "0",  # enough steps to see: a collapsed run tests nothing
    }  # fmt: skip
    train(resolve(settings | changes), printer=Silent())
    return folder


_draw = loop.TrainingLoop._draw


@contextmanager
def pictures_drawn(drawn: bool) -> Iterator[None]:
    """Draw the pictures of runs in this process, or leave them out: they take longer than a small run."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop.TrainingLoop, "_draw", _draw if drawn else lambda self: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_pictures() -> Iterator[None]:
    with pictures_drawn(False):
        yield


@pytest.fixture
def pictures() -> Iterator[None]:
    """For a test that looks at the pictures of a run."""
    with pictures_drawn(True):
        yield


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pictures_drawn(True):
        return made(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="session")
def digits_page(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run, in a folder that was not there."""
    file = tmp_path_factory.mktemp("page") / "new" / "page.html"
    before = {one: one.stat().st_mtime_ns for one in digits_run.rglob("*")}
    report(digits_run, out=file)
    assert {one: one.stat().st_mtime_ns for one in digits_run.rglob("*")} == before
    return file


@pytest.fixture(scope="session")
def vectors_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(
        tmp_path_factory.mktemp("runs") / "vectors",
        dataset="synthetic", likelihood="identity", limit="20", signs="3", rounds="0",
    )  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made, in the place of the files."""
    figures: list[Figure] = []

    @contextmanager
    def keep(path: Path, width: float, height: float) -> Iterator[Figure]:
        figures.append(Figure(figsize=(width, height)))
        yield figures[-1]

    for module in (training_plots, community_plots, diagnostic_plots, comparison_plots, latent_map):
        monkeypatch.setattr(module, "picture", keep)
    return figures


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The nearest thing to a disk that fills up in the middle of a write that a test may set."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
