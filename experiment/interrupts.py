"""Ctrl-C held back while a library is at work that does not survive it tidily (HDF5)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Ignored, or a handler that Python did not install and could not put back.
_UNTOUCHED = (signal.SIG_IGN, None)


@contextmanager
def held_back() -> Iterator[None]:
    """An interrupt that comes in the block is raised at its end. For blocks of a second or so."""
    # Only the main thread is interrupted, and a program in the background may have been told not to be.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) in _UNTOUCHED:
        yield
        return
    struck = False

    def note(*_: object) -> None:
        nonlocal struck
        struck = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if struck:
            raise KeyboardInterrupt
