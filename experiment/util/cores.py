"""Cores and threads that this process may use."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mhng.experiment.util import control_groups
from mhng.experiment.util.process import environment

AUTO = "auto"

# Variables with the number of threads of OpenMP, MKL and OpenBLAS. The libraries read them when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def available_cores() -> int:
    """Number of cores that this process may use: the smallest of CPU affinity, control groups and SLURM."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [quota for group in control_groups.control_groups("cpu") if (quota := _quota(group)) is not None]
    return min([cores, *limits, *_of_environment("SLURM_CPUS_PER_TASK")])


def thread_limit(threads: str = AUTO) -> int:
    """The most threads of this process: those of --threads, at most the available cores.

    With auto, OMP_NUM_THREADS limits them too.
    """
    limits = _of_environment("OMP_NUM_THREADS") if threads == AUTO else [int(threads)]
    return min([available_cores(), *limits])


def check_threads(text: str) -> None:
    """Check the value of --threads. Raises ValueError, which continues the sentence "--threads ..."."""
    if text != AUTO and not re.fullmatch("[1-9][0-9]{0,4}", text):
        raise ValueError(f"is {text[:40]!r}; expected auto, or a whole number from 1 on")


@contextmanager
def waiting_threads_sleep() -> Iterator[None]:
    """Load OpenMP in the block so that its threads sleep while they wait for each other, unless the user decides.

    They spin by default. With other programs on the cores, that takes up to 35 times the processor time.
    """
    decided = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys()
    with environment(**{} if decided else {"OMP_WAIT_POLICY": "PASSIVE"}):
        yield


@contextmanager
def command_threads(threads: str) -> Iterator[None]:
    """Compute with N threads in the block for --threads N, with one for auto. For commands that read finished runs."""
    count = 1 if threads == AUTO else thread_limit(threads)
    if "torch" not in sys.modules:
        with environment(**dict.fromkeys(THREAD_VARIABLES, str(count))):
            yield
        return
    from mhng.models.torch_defaults import torch_threads

    with torch_threads(count):
        yield


def _quota(group: control_groups.Group) -> int | None:
    """Whole cores in the quota of a control group, at least 1; None without a quota."""
    try:
        if group.version == 2:
            quota, period = (group.folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota, period = (
                (group.folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):  # without a quota, version 2 says "max"
        return None
    return max(1, math.floor(cores)) if cores > 0 else None  # version 1 says -1


def _of_environment(name: str) -> list[int]:
    """The first number in an environment variable, such as 4 in "4,2", as a list; empty if it has none."""
    first = os.environ.get(name, "").split(",")[0].strip()
    return [int(first)] if re.fullmatch("[1-9][0-9]{0,4}", first) else []
