"""Memory of the host: what is available, and whether data fit into it."""

from __future__ import annotations

import os
from pathlib import Path

from mhng.experiment.errors import UsageError

GIB = 2**30
_MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Bytes of the host's memory that a new program could use; None where the system does not tell."""
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_fits(place: str, size: int) -> None:
    """UsageError if `size` bytes are more than the memory that is free."""
    there = available_memory()
    # Read, changed to float32 and seen by agents, data exist twice at the least.
    if there is not None and 2 * size > there:
        raise UsageError(
            f"{place} holds {size / GIB:,.3g} GiB of data, and {there / GIB:.3g} GiB of memory are available"
        )
