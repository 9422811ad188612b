"""Programs side by side, so many at a time, each with its share of the threads; all of them end with this one."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from mhng.experiment.util.process import defer_interrupt, interrupt_on_termination, interruptible_children

# Whichever of these libraries brings the threads: one number, and the user's own does not multiply by the jobs.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

COMMAND_MARK = "$ "  # begins the line of a log that holds the command

_PR_SET_PDEATHSIG = 1  # of Linux's prctl

_PAUSE = 0.05  # seconds between two looks at what runs
PATIENCE = 30.0  # seconds for a run to end tidily: it may be in the middle of writing a checkpoint


class Task(NamedTuple):
    """A command to run, and the file that its output is added to."""

    command: Sequence[str]
    log: Path


class Running(Protocol):
    """A task that has been started."""

    def poll(self) -> int | str | None:
        """None while it runs; then its exit code, negative for a signal, or in words why it has none."""


Started = TypeVar("Started", bound=Running)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def killed_by(code: int) -> str:
    """How a program ended whose exit code is negative."""
    names = {int(number): number.name for number in signal.Signals}
    return f"killed by {names.get(-code, f'signal {-code}')}"


def side_by_side(
    tasks: Sequence[Task],
    *,
    jobs: int,
    threads: int,
    ended: Callable[[int, int | str], None],
    waiting: Callable[[], None] = lambda: None,
    tied: bool = False,
) -> None:
    """Run all tasks on this machine, `jobs` at a time, with `threads` threads each. For the rest see `take_turns`.

    tied: a program is killed where this one ends without a chance to stop it (SIGKILL; on Linux).
    """

    def start(_: int, task: Task) -> subprocess.Popen[bytes]:
        return _start(task, threads, tied)

    take_turns(tasks, jobs=jobs, start=start, stop=_stop, ended=ended, waiting=waiting)


def take_turns(
    tasks: Sequence[Task],
    *,
    jobs: int,
    start: Callable[[int, Task], Started],
    stop: Callable[[Sequence[Started]], None],
    ended: Callable[[int, int | str], None],
    waiting: Callable[[], None],
) -> None:
    """Start all tasks by `start(index, task)`, `jobs` at a time, and see them end.

    ended(index of the task, how it ended: see `Running.poll`) is called after each; waiting() several times a second.
    Whatever ends this (Ctrl-C, SIGTERM, a terminal that was closed, an error) calls `stop` with those that run, which
    ends them as Ctrl-C would.
    """
    left = list(enumerate(tasks))[::-1]
    running: dict[int, Started] = {}
    with interrupt_on_termination():
        try:
            while left or running:
                while left and len(running) < jobs:
                    index, task = left.pop()
                    # One that has been started must be known, to be stopped.
                    with defer_interrupt(), interruptible_children():
                        running[index] = start(index, task)
                for index, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[index]
                        ended(index, code)
                waiting()
                time.sleep(_PAUSE)
        finally:
            stop(list(running.values()))


def _start(task: Task, threads: int, tied: bool) -> subprocess.Popen[bytes]:
    with task.log.open("ab") as log:
        log.write(f"{COMMAND_MARK}{shlex.join(task.command)}\n".encode("utf-8", "backslashreplace"))
        log.flush()
        return subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | dict.fromkeys(_THREADS, str(threads)),
            # A terminal interrupts all of its group: these would be struck twice, and a second Ctrl-C breaks tidying.
            process_group=0,
            preexec_fn=_tie() if tied else None,
        )


def _tie() -> Callable[[], None]:
    """What a program does before it begins, so that it is killed with its parent, and can be interrupted."""
    # Loaded before the fork, after which it is best to do little.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def tie() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a worker of Ray has it blocked
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return tie


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt all and wait; kill those that take too long, or all at another Ctrl-C."""
    try:
        for process in processes:
            process.send_signal(signal.SIGINT)
        until = time.monotonic() + PATIENCE
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in processes:
                process.wait(max(0.0, until - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
