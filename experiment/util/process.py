"""Folders, environment variables and signal handlers of this process, which change for a block.

Only the main thread can set signal handlers. In any other thread these functions leave signals alone.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mhng.experiment.errors import Interrupted

# Windows has no SIGHUP and no SIGUSR1.
_TERMINATION = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Signals that ask a run to stop: Ctrl-C, the time limit of a cluster, a closed terminal, a scheduler.
_STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


# -- environment variables -------------------------------------------------------------------------


@contextmanager
def environment(**changes: str | None) -> Iterator[None]:
    """Set environment variables, or remove those with value None; restore all of them at the end."""
    before = {name: os.environ.get(name) for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def has_home() -> bool:
    """Whether the user has a home folder, and this process a current folder. Libraries look into both."""
    try:
        os.getcwd()
        return os.path.isdir(os.path.expanduser("~"))
    except OSError:
        return False


@contextmanager
def quiet_imports() -> Iterator[None]:
    """Import libraries without their warnings, without a graphical backend, and without lines about cache folders."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), environment(MPLBACKEND=None):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def temporary_folders() -> Iterator[None]:
    """Set an empty temporary folder in place of the user's configuration, cache and current folder, and home."""
    has_fonts = has_home()  # else Matplotlib keeps its list of fonts here
    with tempfile.TemporaryDirectory() as folder:
        changes = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), folder)
        fonts = {} if has_fonts else {"MPLCONFIGDIR": folder}
        here = os.open(".", os.O_RDONLY)
        os.chdir(folder)
        try:
            with environment(**changes, **fonts, ARVIZ_DATA=None):
                yield
        finally:
            os.fchdir(here)
            os.close(here)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


# -- signals ---------------------------------------------------------------------------------------


@contextmanager
def defer_interrupt() -> Iterator[None]:
    """Handle Ctrl-C, and other signals that have a handler, at the end of the block. For blocks of about a second.

    An ignored SIGINT stays ignored, as in a background job.
    """
    handlers = _own_handlers()
    caught: list[int] = []
    try:
        with _handlers(dict.fromkeys(handlers, lambda number, _: caught.append(number))):
            yield
    finally:
        if caught:
            handlers[caught[0]](caught[0], None)


@contextmanager
def ignore_interrupt() -> Iterator[None]:
    """Ignore Ctrl-C in the block, so that a second Ctrl-C does not break off the cleanup after the first.

    Other signals that have a handler are ignored, too.
    """
    with _handlers(dict.fromkeys(_own_handlers(), signal.SIG_IGN)):
        yield


@contextmanager
def on_stop_signals(request: Callable[[int], None]) -> Iterator[None]:
    """Call `request` with the number of a signal that asks the process to stop (`_STOP`).

    Signals that are ignored (nohup, background jobs) or that the caller handles are left alone.
    """
    wanted = [number for number in _STOP if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    with _on_signals(wanted, request):
        yield


def _own_handlers() -> dict[int, Any]:
    """The handlers in Python of the signals that ask a process to stop."""
    handlers = {number: signal.getsignal(number) for number in _STOP}
    return {number: handler for number, handler in handlers.items() if callable(handler)}


@contextmanager
def interruptible_children() -> Iterator[None]:
    """Start child processes that react to SIGINT, even if this process ignores it, as a background job does."""
    # A child inherits an ignored signal. In place of a handler it gets the default action.
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with _handlers({signal.SIGINT: lambda *_: None} if ignored else {}):
        yield


@contextmanager
def interrupt_on_termination() -> Iterator[None]:
    """Raise Interrupted on SIGTERM and SIGHUP too, unless another handler is set or they are ignored (nohup)."""

    def interrupt(number: int) -> None:
        raise Interrupted(number)

    with _on_signals([number for number in _TERMINATION if signal.getsignal(number) is signal.SIG_DFL], interrupt):
        yield


@contextmanager
def _on_signals(numbers: Iterable[int], handle: Callable[[int], object]) -> Iterator[None]:
    """Call `handle` with the number of each of these signals.

    `handle` may raise Interrupted. Where Ray raises a plain KeyboardInterrupt in its place, the block ends with
    Interrupted nevertheless.
    """
    caught: list[int] = []

    def handler(number: int, _: object) -> None:
        caught.append(number)
        handle(number)

    with _handlers(dict.fromkeys(numbers, handler)):
        try:
            yield
        except KeyboardInterrupt as error:
            if caught and not isinstance(error, Interrupted):
                raise Interrupted(caught[-1]) from error
            raise


@contextmanager
def keep_termination_handlers() -> Iterator[None]:
    """Restore the handlers of SIGTERM and SIGHUP at the end. Processes started in the block ignore SIGHUP."""
    handlers = {number: signal.getsignal(number) for number in _TERMINATION}
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and handlers[hangup] is not None:
        handlers[hangup] = signal.SIG_IGN
    with _handlers(handlers):
        yield


@contextmanager
def _handlers(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Set signal handlers for the block and restore the previous ones at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in handlers}
    # None is a handler that Python did not install. Python could not restore it.
    before = {number: handler for number, handler in before.items() if handler is not None}
    for number in before:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
