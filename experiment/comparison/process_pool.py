"""Parallel subprocesses on this machine, with a limited number of threads each. All end with this process."""

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

from mhng.experiment.util.cores import THREAD_VARIABLES
from mhng.experiment.util.process import defer_interrupt, interrupt_on_termination, interruptible_children

# The folder that holds the package mhng, so that the runs import the same.
HOME = Path(str(sys.modules["mhng"].__file__)).resolve().parents[1]

COMMAND_MARK = "$ "  # first characters of the log line with the command

_PR_SET_PDEATHSIG = 1  # option of prctl(2) on Linux

_POLL_SECONDS = 0.05
STOP_SECONDS = 30.0  # for a run to stop after an interrupt; it may be writing a checkpoint


class Task(NamedTuple):
    """A command, and the log file to which its output is appended."""

    command: Sequence[str]
    log: Path


class StartedTask(Protocol):
    """A running task."""

    def poll(self) -> int | str | None:
        """None while the task runs; then its exit code (negative: signal), or a text if it has none."""


Started = TypeVar("Started", bound=StartedTask)


def describe_signal(code: int) -> str:
    """Describe the negative exit code of a killed process: "killed by SIGKILL"."""
    names = {int(number): number.name for number in signal.Signals}
    return f"killed by {names.get(-code, f'signal {-code}')}"


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int,
    threads: int,
    on_end: Callable[[int, int | str], None],
    on_poll: Callable[[], None] = lambda: None,
    kill_with_parent: bool = False,
) -> None:
    """Run all tasks as subprocesses: `jobs` at a time, `threads` threads each. See `run_queue` for the callbacks.

    kill_with_parent: the kernel kills the subprocesses if this process is killed (SIGKILL; Linux only).
    """

    def start(_: int, task: Task) -> subprocess.Popen[bytes]:
        return _start(task, threads, kill_with_parent)

    run_queue(tasks, jobs=jobs, start=start, stop=_stop, on_end=on_end, on_poll=on_poll)


def run_queue(
    tasks: Sequence[Task],
    *,
    jobs: int,
    start: Callable[[int, Task], Started],
    stop: Callable[[Sequence[Started]], None],
    on_end: Callable[[int, int | str], None],
    on_poll: Callable[[], None],
) -> None:
    """Start all tasks by `start(index, task)`, `jobs` at a time, and wait for their end.

    on_end(index, code): called after each task; see `StartedTask.poll`. on_poll(): called several times a second. An
    exception (Ctrl-C, SIGTERM, SIGHUP, an error) calls `stop` with the running tasks, which it must end.
    """
    waiting = list(enumerate(tasks))[::-1]
    running: dict[int, Started] = {}
    with interrupt_on_termination():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    index, task = waiting.pop()
                    # An interrupt between the start and its record would leave the task running.
                    with defer_interrupt(), interruptible_children():
                        running[index] = start(index, task)
                for index, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[index]
                        on_end(index, code)
                on_poll()
                time.sleep(_POLL_SECONDS)
        finally:
            stop(list(running.values()))


def _start(task: Task, threads: int, kill_with_parent: bool) -> subprocess.Popen[bytes]:
    with task.log.open("ab") as log:
        log.write(f"{COMMAND_MARK}{shlex.join(task.command)}\n".encode("utf-8", "backslashreplace"))
        log.flush()
        return subprocess.Popen(
            task.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # All threading libraries get the same number, whatever the user's environment says.
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"PYTHONPATH": _import_path()},
            # A terminal interrupts its whole process group. In that group a task would get a second interrupt from
            # `_stop`, which breaks its cleanup.
            process_group=0,
            preexec_fn=_parent_death_hook() if kill_with_parent else None,
        )


def _import_path() -> str:
    """PYTHONPATH of a task: this package first."""
    return os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])])


def _parent_death_hook() -> Callable[[], None]:
    """Function that runs in the child before exec: the child dies with its parent and accepts SIGINT."""
    # Load the library before the fork: little is safe between fork and exec.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def hook() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray's workers block it
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return hook


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt all processes and wait. Kill those that take too long, or all after another Ctrl-C."""
    try:
        for process in processes:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_SECONDS
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in processes:
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
