"""`train` and `load_run` in a notebook that has changed global defaults: the same numbers, and nothing is changed."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyro
import pytest
import torch

import mhng
from mhng.experiment.api import LoadedRun

SMALL = {
    "dataset": "digits", "limit": 60, "signs": 3, "latent_dim": 2, "epochs": 2, "rounds": 1, "sweeps": 5,
    "burn_in": 1, "starts": 1, "chains": 1, "device": "cpu",
}  # fmt: skip


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "device": lambda: default_device("meta"),
    "device in a block": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "errstate": lambda: np.errstate(all="raise"),
}


def globals_now() -> list[Any]:
    """The global state of a process that a run could change."""
    state: list[Any] = [
        torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_default_device(), torch.get_rng_state().tolist(), random.getstate(), np.geterr(),
        np.random.get_state()[1].tolist(),  # type: ignore[index, union-attr]
    ]  # fmt: skip
    state += [
        dict(os.environ), os.getcwd(), warnings.filters[:], sys.stdout, sys.stderr, logging.getLogger().handlers[:],
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)],
        dict(matplotlib.rcParams), pyro.settings.get(), dict(pyro.get_param_store()),
    ]  # fmt: skip
    return state


def numbers(run: LoadedRun) -> list[Any]:
    """All that the methods of a run compute."""
    images = np.zeros((2, 8, 8), dtype=np.uint8)
    images[:, 2:6, 3] = 200
    named = run.name(images)
    return [
        *(run.latents(agent) for agent in run.agents), *run.components("B"), run.imagine("A", "B"),
        run.recall(1)["A"].draws, named.joint_probability, *named.probability.values(), *run.signs.values(),
        *run.modalities("A", run.objects.views[0][:2].numpy()).values(),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mhng.train(**SMALL, run_dir=tmp_path_factory.mktemp("notebook") / "run").path


@pytest.fixture(scope="module")
def wanted(trained: Path) -> list[Any]:
    return numbers(mhng.load_run(trained))


@pytest.mark.parametrize("state", STATES)
def test_defaults_of_a_notebook_change_no_number_and_stay_as_they_are(
    state: str, trained: Path, wanted: list[Any], tmp_path: Path
) -> None:
    with STATES[state]():
        before = globals_now()
        found = numbers(mhng.load_run(trained))
        anew = numbers(mhng.train(**SMALL, run_dir=tmp_path / "run"))
        after = globals_now()
    assert after == before
    for have in (found, anew):
        for one, other in zip(have, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
