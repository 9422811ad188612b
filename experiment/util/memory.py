"""Available memory of the host, and a check that data fit into it."""

from __future__ import annotations

import os
from pathlib import Path

from mhng.experiment.errors import UsageError

GIB = 2**30
_MEMINFO = Path("/proc/meminfo")


def available_memory() -> int | None:
    """Bytes of memory that a new program could use; None if the system does not report them."""
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
    """Raise UsageError if data of `size` bytes, read from `place`, need more memory than is available."""
    available = available_memory()
    # Data exist twice at least: as read, and as float32 views.
    if available is not None and 2 * size > available:
        raise UsageError(
            f"{place} holds {size / GIB:,.3g} GiB of data, and {available / GIB:.3g} GiB of memory are available"
        )
