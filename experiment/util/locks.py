"""Locks of folders: one command at a time may hold a folder, by an exclusive lock on its file `.lock`."""

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
except ImportError:  # on Windows, folders are not locked
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"

# Tries to take a lock that is held, and the seconds after each try; a last try follows.
_TRIES, _PAUSE = 4, 0.05

log = logging.getLogger("mhng")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock an existing folder for the block. Raises UsageError if another command holds it."""
    try:
        lock = take_lock(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be used: {error_line(error)}") from error
    try:
        yield
    finally:
        release_lock(lock)


def take_lock(path: Path) -> int:
    """Lock `path`/.lock for this process; returns its descriptor. Raises BlockingIOError if another run has it."""
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            _flock(lock)
    except BlockingIOError:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise BlockingIOError(errno.EWOULDBLOCK, f"it is in use by another run (pid {holder})") from None
    except OSError as error:
        # Some network file systems have no locks. A run without a lock is better than none.
        log.warning("%s cannot be locked (%s); do not start two runs in it", path, error_line(error))
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())  # the next command names it in its message
    except BaseException:  # a full disk: nobody could release this lock, and it would block this process too
        os.close(lock)
        raise
    return lock


def release_lock(lock: int) -> None:
    """Release a lock of `take_lock`, by its descriptor."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)  # workers may still hold a copy of the descriptor
    os.close(lock)


def _flock(lock: int) -> None:
    """Take the lock; retry for 0.2 s, because `is_unlocked` of another process holds it for a moment."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(_PAUSE)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_unlocked(path: Path) -> bool:
    """Whether no process holds the lock of `path`. False if the system cannot tell."""
    if fcntl is None:
        return False
    try:
        lock = os.open(path / LOCK, os.O_RDONLY)
    except FileNotFoundError:  # every run creates .lock, so this folder is a copy of a run
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
