"""Memory: what is available, whether data fit into it, and freed memory kept for later.

Available is the smallest limit of machine, process, container and job.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.control_groups import PROCESS, ROOT, control_groups

GIB = 2**30
_MEMINFO = Path("/proc/meminfo")
_PROCESS = PROCESS
_CGROUPS = ROOT

# By version of control groups: files of the limit and of the use, and the reclaimable part of the use in memory.stat.
_CGROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}

# Control groups of version 1 without a limit have a number near 2 ** 63.
_UNLIMITED = 2**60

# Address space for the buffers of numerical packages. OpenBLAS retries a failed allocation forever.
_BUFFERS = 384 * 2**20

# Options of mallopt(3), and the largest block from the heap: in a run, and the limit of the rule that glibc has.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_LARGEST_KEPT, _LARGEST_BY_DEFAULT = 2**28, 2**25

# Error texts for failed allocations: torch on Linux, torch on Windows, C libraries.
_NO_MEMORY = re.compile("can't allocate memory|not enough memory|cannot allocate memory|out of memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on the host or on a device."""
    return isinstance(error, MemoryError) or bool(
        isinstance(error, RuntimeError | OSError) and _NO_MEMORY.search(str(error))
    )


def available_memory() -> int | None:
    """Bytes of memory that this process can still use; None if the system does not report them.

    The smallest of the machine's free memory and the limits by `ulimit -v`, control groups and SLURM.
    """
    known = _limits()
    return max(0, min(known)[0]) if known else None


def limited_by() -> str:
    """The name of the smallest limit for messages, as in " (limit of the SLURM job)"; empty for the machine."""
    known = _limits()
    name = min(known)[1] if known else ""
    return name and f" (limit of {name})"


def _limits() -> list[tuple[int, str]]:
    """The known limits in bytes, with their names; that of the machine has none."""
    limits = [(_machine(), ""), (_address_space(), "ulimit -v"), (_slurm(), "the SLURM job")]
    limits += [(left, "the control group") for left in _cgroups()]
    return [(limit, name) for limit, name in limits if limit is not None]


def _machine() -> int | None:
    """Free memory of the machine."""
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


def _address_space() -> int | None:
    """Memory left by `ulimit -v`."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit - _used(0)


def _used(column: int) -> int:
    """Memory of this process: address space (0) or resident (1); 0 if unknown."""
    try:
        return int((_PROCESS / "statm").read_text(encoding="ascii").split()[column]) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError, IndexError):
        return 0


def _cgroups() -> Iterator[int]:
    """Memory left by each control group of this process and by the groups around it."""
    for folder, version in control_groups("memory", _PROCESS, _CGROUPS):
        if (left := _left_in(folder, version)) is not None:
            yield left


def _left_in(group: Path, version: int) -> int | None:
    """Memory left in one control group; None if it does not exist or has no limit."""
    limit_file, used_file, reclaimable = _CGROUP_FILES[version]
    try:
        limit, used = (int((group / name).read_text(encoding="ascii")) for name in (limit_file, used_file))
        statistics = (group / "memory.stat").read_text(encoding="ascii")
    except (OSError, ValueError):  # without a limit, version 2 says "max"
        return None
    cached = re.search(rf"^{reclaimable} (\d+)$", statistics, re.MULTILINE)
    return None if limit >= _UNLIMITED else limit - used + int(cached[1] if cached else 0)


def _slurm() -> int | None:
    """Memory left in the SLURM job."""
    try:
        if "SLURM_MEM_PER_NODE" in os.environ:
            megabytes = int(os.environ["SLURM_MEM_PER_NODE"])
        else:
            megabytes = int(os.environ["SLURM_MEM_PER_CPU"]) * int(os.environ["SLURM_CPUS_ON_NODE"])
    except (KeyError, ValueError):
        return None
    return megabytes * 2**20 - _used(1) if megabytes > 0 else None  # 0: all memory of the node


def check_buffers() -> None:
    """Raise UsageError if `ulimit -v` leaves too little for the buffers of numerical packages."""
    left = _address_space()
    if left is not None and left < _BUFFERS:
        raise UsageError(
            f"not enough memory: the packages need {_BUFFERS / GIB:.3g} GiB more, and ulimit -v leaves "
            f"{max(0, left) / GIB:.3g} GiB; raise the limit"
        )


def check_fits(place: str, size: int) -> None:
    """Raise UsageError if data of `size` bytes, read from `place`, need more memory than is available."""
    available = available_memory()
    # Data exist twice at least: as read, and as float32 views.
    if available is not None and 2 * size > available:
        raise UsageError(
            f"{place} holds {size / GIB:,.3g} GiB of data, and {available / GIB:.3g} GiB of memory are available"
            f"{limited_by()}"
        )


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep memory that is freed in the block for later tensors of the block, where the C library is glibc.

    Without it, glibc returns large blocks to the system at once, and the system clears every page of the next one.
    That took half of the time of initial signs.
    """
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "malloc_trim"):  # another C library
        yield
        return
    _set_thresholds(libc, _LARGEST_KEPT, -1)  # -1: never return memory
    try:
        yield
    finally:
        _set_thresholds(libc, _LARGEST_BY_DEFAULT, 2 * _LARGEST_BY_DEFAULT)
        libc.malloc_trim(0)


def _set_thresholds(libc: Any, largest: int, unused: int) -> None:
    """Blocks up to `largest` bytes come from the heap. Memory at its end returns to the system from `unused` bytes."""
    libc.mallopt(_M_MMAP_THRESHOLD, largest)
    libc.mallopt(_M_TRIM_THRESHOLD, unused)
