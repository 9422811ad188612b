"""One run at a time in a process: Pyro keeps one stack of effect handlers for all threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyro.poutine import runtime

from mhng.experiment.errors import UsageError

_lock = threading.RLock()  # a callback of a run may start another, in its thread


@contextmanager
def alone() -> Iterator[None]:
    """A context, or decorator, in which no other thread starts a run.

    Raises UsageError if another thread has a run, or if a Pyro effect handler of the caller is active.
    """
    if not _lock.acquire(blocking=False):
        raise UsageError("another thread of this process has a run; wait for its end, or start a process for each run")
    try:
        if handlers := runtime._PYRO_STACK:
            raise UsageError(
                f"a run cannot start inside a Pyro effect handler ({type(handlers[-1]).__name__}); start it outside"
            )
        yield
    finally:
        _lock.release()
