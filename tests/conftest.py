"""Settings of the whole suite."""

import os

# Before torch is imported, here and in the commands that tests start: the tensors are small, and two processes
# with two threads each on two cores wait for each other most of the time.
os.environ["OMP_NUM_THREADS"] = "1"

import signal

import pytest
import torch

from tests.runs import digits_page, digits_run, drawn, undrawn, vectors_run

__all__ = ["digits_page", "digits_run", "drawn", "undrawn", "vectors_run"]  # fixtures of the whole suite


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
