"""A run keeps freed memory for its next large tensor, instead of having it cleared anew."""

from __future__ import annotations

import json
import mmap
import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import json
import resource
from pathlib import Path

import numpy as np

from mhng.experiment.util.memory import keep_freed_memory


def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(2**23)  # 64 MiB, more than glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


before = page_faults()
held = pages()
with keep_freed_memory():
    page_faults()
    within = page_faults()
    kept = pages() - held
print(json.dumps({"before": before, "within": within, "after": page_faults(), "kept": kept, "left": pages() - held}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has this setting")
def test_large_blocks_use_memory_that_was_freed_before() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, check=True)
    seen = json.loads(done.stdout)
    block = 2**26 // mmap.PAGESIZE
    assert seen["within"] < 0.1 * seen["before"], seen
    # The block's end returns the memory, and the old rule holds again.
    assert seen["kept"] > 0.9 * block, seen
    assert seen["left"] < 0.1 * block, seen
    assert seen["after"] > 0.9 * seen["before"], seen
