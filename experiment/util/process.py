"""Environment variables that a foreign library reads at its import, changed for that moment only."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Set variables, or remove those whose value is None, and put everything back at the end."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


# Ignored, or a handler that Python did not install and could not put back.
_UNTOUCHED = (signal.SIG_IGN, None)


@contextmanager
def defer_interrupt() -> Iterator[None]:
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
