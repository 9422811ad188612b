"""Forked copies of this process that work side by side.

A copy shares the memory of this process, so it starts in milliseconds with all that exists here, parts of the user
included. What it sends back is pickled by `Connection.send`: plain values, and tensors as `to_bytes` makes them.

In threads of one process, Pyro's part of a step would hold Python's lock. A new interpreter would import torch for
seconds and need a copy of the data.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from mhng.models.torch_defaults import torch_threads

# Signals that ask a run to stop. Only the parent acts on them: it collects the results and ends the copies.
_STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_PR_SET_PDEATHSIG = 1  # option of prctl(2)
_M_ARENA_MAX = -8  # option of mallopt(3)
_POLL_SECONDS = 0.5


class CopyLostError(RuntimeError):
    """A copy ended without a result. The message names it and its exit code."""


class CopyError(Exception):
    """An error in a copy. Arguments: the error."""


def can_fork() -> bool:
    """Whether this process can work in forked copies: on Linux, without a GPU, outside of daemonic processes."""
    # Autograd refuses to work in a copy of a process that has used it beside a GPU.
    return sys.platform == "linux" and not torch.cuda.is_available() and not multiprocessing.current_process().daemon


class Copies:
    """Copies of this process, known by the connections to them."""

    def __init__(self) -> None:
        self._running: dict[Connection, Any] = {}

    def close(self) -> None:
        """End all copies."""
        started = {connection: process for connection, process in self._running.items() if process.pid is not None}
        for process in started.values():
            process.kill()
        for connection, process in started.items():
            process.join()
            connection.close()

    def start(self, work: Callable[[Connection], object], threads: int | None) -> Connection:
        """Start a copy that calls `work` with its end of a connection, on some threads, and ends."""
        here, there = multiprocessing.Pipe()
        process: Any = multiprocessing.get_context("fork").Process(
            target=_in_copy, args=(there, work, threads, os.getpid())
        )
        # A signal between the fork and the handlers of the copy would run the parent's handlers in the copy.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        self._running[here] = process
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside other threads; a copy takes no lock that they may hold.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()
        return here

    def ready(self) -> list[Connection]:
        """Wait for messages, at most half a second; returns the connections that have some."""
        return [end for end in wait(list(self._running), _POLL_SECONDS) if isinstance(end, Connection)]

    def receive(self, connection: Connection, name: str) -> Any:
        """The next message. Raises CopyError, or CopyLostError with the `name` of the copy."""
        try:
            message = connection.recv()
        except (EOFError, OSError) as error:
            process = self._running[connection]
            process.join()
            raise CopyLostError(
                f"the process of {name} has ended (exit code {process.exitcode}); is there enough memory?"
            ) from error
        if isinstance(message, BaseException):
            raise CopyError(message)
        return message

    def end(self, connection: Connection) -> None:
        """Wait for the end of a copy that has sent its last message."""
        self._running[connection].join()
        connection.close()
        del self._running[connection]


def call_side_by_side(calls: Sequence[Callable[[], Any]], processes: int, threads: int | None, name: str) -> list[Any]:
    """Make `calls` in copies, at most `processes` at a time; returns their results in order.

    A result consists of tensors and plain values. Raises the error of a call, and CopyLostError.

    name: what the copies work on, for CopyLostError.
    """
    results: list[Any] = [None] * len(calls)
    waiting, running = deque(range(len(calls))), dict[Connection, int]()
    with closing(Copies()) as copies:
        while waiting or running:
            while waiting and len(running) < processes:
                number = waiting.popleft()
                running[copies.start(partial(_send_result, calls[number]), threads)] = number
            for connection in copies.ready():
                try:
                    message = copies.receive(connection, name)
                except CopyError as error:
                    raise error.args[0] from error
                results[running.pop(connection)] = from_bytes(message)
                copies.end(connection)
    return results


def to_bytes(value: Any) -> bytes:
    """Tensors and plain values as bytes. `Connection.send` would put each tensor into a file of the parent's."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def from_bytes(data: bytes) -> Any:
    """The value of `to_bytes`."""
    return torch.load(io.BytesIO(data), weights_only=True)


def _send_result(call: Callable[[], Any], connection: Connection) -> None:
    connection.send(to_bytes(call()))


def _in_copy(connection: Connection, work: Callable[[Connection], object], threads: int | None, parent: int) -> None:
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)
    libc: Any = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if hasattr(libc, "mallopt"):  # not every C library has it
        libc.mallopt(_M_ARENA_MAX, 1)  # the new thread shall take memory that is free here, not a new heap
    if os.getppid() == parent:
        # OpenMP has no threads in the copy, but believes that it has some. In a new thread it begins afresh.
        worker = threading.Thread(target=_work, args=(connection, work, threads))
        worker.start()
        worker.join()
    os._exit(0)  # no cleanup of the parent's


def _work(connection: Connection, work: Callable[[Connection], object], threads: int | None) -> None:
    try:
        with torch_threads(threads):
            work(connection)
    except BaseException as error:
        with suppress(OSError):  # the parent has ended
            connection.send(_to_send(error))


def _to_send(error: BaseException) -> BaseException:
    """The error with its traceback, which the parent cannot know; a RuntimeError in its place if pickle changes it."""
    try:
        same = type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        same = False
    sent = error if same else RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note("".join(traceback.format_exception(error)))
    return sent
