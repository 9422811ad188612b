"""Settings of the whole suite."""

import os

# Before torch is imported, here and in the commands that tests start: the tensors are small, and two processes
# with two threads each on two cores wait for each other most of the time.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch


@pytest.fixture(autouse=True)
def _globals_are_left_alone():
    """A test that changes a global default fails: the next one would run under it."""
    before = torch.get_default_dtype(), torch.get_num_threads()
    yield
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before
