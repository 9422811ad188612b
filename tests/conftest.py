"""Settings of the whole suite."""

import os

# Before torch is imported, here and in the commands that tests start: the tensors are small, and two processes
# with two threads each on two cores wait for each other most of the time.
os.environ["OMP_NUM_THREADS"] = "1"

import signal

import pytest
import torch

from tests.runs import _no_pictures, digits_page, digits_run, drawn, pictures, vectors_run

# fixtures of the whole suite
__all__ = ["_no_pictures", "digits_page", "digits_run", "drawn", "pictures", "vectors_run"]

MOST_WORKERS = 8  # each needs about 600 MB of memory
FEW_FILES = 3


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist the suite runs in one process
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Number of test processes: the cores, at most MOST_WORKERS; none for a few files, as each imports torch first."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # pytest-xdist reads it
    paths = [config.invocation_params.dir / argument.split("::")[0] for argument in config.args]
    files = sum(len(list(path.rglob("test_*.py"))) if path.is_dir() else 1 for path in paths)
    if files <= FEW_FILES:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.fixture(autouse=True)
def _globals_are_left_alone():
    """A test that changes a global default fails: the next one would run under it."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    yield
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_interrupts():
    """A shell starts a command with & behind it so that it ignores Ctrl-C, and tests of Ctrl-C would wait forever."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
