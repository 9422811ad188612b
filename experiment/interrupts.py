"""Ctrl-C held back while a library is at work that does not survive it tidily (HDF5)."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """An interrupt that comes in the block is raised at its end. For blocks of a second or so."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
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
