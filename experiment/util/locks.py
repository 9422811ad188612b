"""One command at a time holds a folder, by an exclusive lock on its `.lock`."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import error_line

try:
    import fcntl
except ImportError:  # Windows: no lock there, and nothing else differs
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

# How often, and after how many seconds, a lock is asked for again: a command that only looks holds it for a moment.
_TRIES, _PAUSE = 4, 0.05

log = logging.getLogger("mhng")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder that is there; `UsageError` if another command holds it."""
    try:
        lock = take_lock(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error_line(error)}") from error
    try:
        yield
    finally:
        release_lock(lock)


def take_lock(path: Path) -> int:
    """Lock `path`/.lock for this process: its descriptor. `BlockingIOError` if another run has it."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            _flock(lock)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise BlockingIOError(errno.EWOULDBLOCK, f"it is in use by another run (pid {holder})") from None
    except OSError as error:
        # Some network file systems have no locks. Running there unguarded is better than not at all.
        log.warning("%s cannot be locked (%s): do not aim two runs at it", path, error_line(error))
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())  # for the message that the next one gets
    except BaseException:  # a full disk: a lock that nobody can give back would keep this process out too
        os.close(lock)
        raise
    return lock


def release_lock(lock: int) -> None:
    """Give a lock back that `take_lock` took."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)  # workers may still hold a copy of the descriptor
    os.close(lock)


def _flock(lock: int) -> None:
    """Take the lock, unless somebody has it for longer than `is_let_go` looks."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_unlocked(path: Path) -> bool:
    """Whether no process holds `path`. False where the system cannot tell."""
    if fcntl is None:
        return False
    try:
        lock = os.open(path / LOCK, os.O_RDONLY)
    except FileNotFoundError:  # every run of ours makes one, so this is a copy
        return True
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
