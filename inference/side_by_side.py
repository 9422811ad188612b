"""Learning side by side: agents train at the same time, each in a forked copy of this process.

A copy shares the memory of this process, so it starts in milliseconds with the agent as it is, parts of the user
included. Losses come back after each epoch, the agent's state after its last one or on request. The same threads give
the same numbers as learning in turn.

In threads of one process, Pyro's part of a step would hold Python's lock. A new interpreter would import torch for
seconds and need a copy of the data.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mhng.inference.svi import Learner, Loss
from mhng.models.torch_defaults import torch_threads

# Signals that ask a run to stop. Only the parent acts on them: it collects the states and ends the copies.
_STOP = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_PR_SET_PDEATHSIG = 1  # option of prctl(2)

# Estimates of learning on one thread, and the least seconds of an agent's learning that are worth a fork.
STEP_SECONDS = 1.5e-3
FLOPS = 5e10
LEAST_SECONDS = 0.5
_POLL_SECONDS = 0.5


class Task(NamedTuple):
    """What one member has to learn; the arguments of `Learner.train_epochs`."""

    member: Any  # `mhng.inference.members.Member`
    epochs: int
    signs: Tensor | None
    components: Any
    done: int


class LearnerLostError(RuntimeError):
    """The process of a learner was killed."""


class AgentError(Exception):
    """An error in the process of a learner. Arguments: the name of the agent, and the error."""


def can_fork() -> bool:
    """Whether this process can learn in forked copies: on Linux, without a GPU, outside of daemonic processes."""
    # Autograd refuses to work in a copy of a process that has used it beside a GPU.
    return sys.platform == "linux" and not torch.cuda.is_available() and not multiprocessing.current_process().daemon


def seconds_to_learn(learner: Learner, epochs: int) -> float:
    """Estimate the seconds of some epochs on one thread."""
    if learner.optimiser is None:
        return 0.0
    N, parameters = len(learner.x), sum(part.numel() for part in learner.agent.parameters())
    return epochs * (STEP_SECONDS * -(-N // learner.batch_size) + 6 * N * parameters / FLOPS)


def gains(tasks: Sequence[Task]) -> bool:
    """Whether learning side by side takes less time than learning in turn."""
    seconds = sorted(seconds_to_learn(task.member.learner, task.epochs - task.done) for task in tasks)
    return len(seconds) > 1 and seconds[-2] >= LEAST_SECONDS


class SideBySide:
    """The learners of several members, at most `processes` at a time, `threads` threads each. A context manager.

    learned: by member, the completed epochs of the state that this process holds.
    """

    def __init__(self, tasks: Sequence[Task], processes: int, threads: int | None) -> None:
        self.learned = {task.member.name: task.done for task in tasks}
        self._waiting = deque(tasks)
        self._processes = processes
        self._threads = threads
        self._running: dict[Connection, tuple[Task, Any]] = {}
        self._losses: dict[str, deque[tuple[int, Loss]]] = {task.member.name: deque() for task in tasks}
        self._asked: set[Connection] = set()

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, (_, process) in self._running.items():
            process.kill()
            process.join()
            connection.close()

    def epochs(self, name: str) -> Iterator[tuple[int, Loss]]:
        """The epochs of a member, with losses, as they come. Raises AgentError, LearnerLostError."""
        losses = self._losses[name]
        while losses or self._learns(name):
            if losses:
                yield losses.popleft()
            else:
                self._receive()

    def synchronise(self) -> None:
        """Wait for the state of every running learner after its current epoch; update the members and `learned`."""
        self._asked = set(self._running)
        for connection in self._running:
            with suppress(OSError):  # it has ended; its last state is on the way
                connection.send_bytes(b"")
        while self._asked:
            self._receive()

    def before_state(self, name: str) -> Iterator[tuple[int, Loss]]:
        """The epochs of a member that are part of its state and were not read yet."""
        losses = self._losses[name]
        while losses and losses[0][0] <= self.learned[name]:
            yield losses.popleft()

    def _learns(self, name: str) -> bool:
        tasks = [task for task, _ in self._running.values()]
        return any(task.member.name == name for task in (*self._waiting, *tasks))

    def _receive(self) -> None:
        """Start what may run, and take the next messages."""
        while self._waiting and len(self._running) < self._processes:
            self._start(self._waiting.popleft())
        for connection in wait(list(self._running), _POLL_SECONDS):
            assert isinstance(connection, Connection)
            task, process = self._running[connection]
            name = task.member.name
            try:
                message = connection.recv()
            except (EOFError, OSError) as error:
                process.join()
                raise LearnerLostError(
                    f"the process of agent {name} has ended (exit code {process.exitcode}); is there enough memory?"
                ) from error
            if isinstance(message, BaseException):
                raise AgentError(name, message)
            epoch, loss, state = message
            self._losses[name].append((epoch, Loss(*loss)))
            if state is not None:
                task.member.restore(torch.load(io.BytesIO(state), weights_only=True), None)
                self.learned[name] = epoch
                self._asked.discard(connection)
            if epoch == task.epochs:
                process.join()
                connection.close()
                del self._running[connection]

    def _start(self, task: Task) -> None:
        here, there = multiprocessing.Pipe()
        process: Any = multiprocessing.get_context("fork").Process(
            target=_learn_here, args=(there, task, self._threads, os.getpid())
        )
        # A signal between the fork and the handlers of the copy would run the parent's handlers in the copy.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside other threads; a copy takes no lock that they may hold.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
            self._running[here] = task, process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()


def _learn_here(connection: Connection, task: Task, threads: int | None, parent: int) -> None:
    """The work of a copy: learn, and send messages to the parent."""
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:
        # OpenMP has no threads in the copy, but believes that it has some. In a new thread it begins afresh.
        worker = threading.Thread(target=_learn_and_send, args=(connection, task, threads))
        worker.start()
        worker.join()
    os._exit(0)  # no cleanup of the parent's


def _learn_and_send(connection: Connection, task: Task, threads: int | None) -> None:
    member, epochs, signs, components, done = task
    try:
        with torch_threads(threads):
            for epoch, loss in member.train_epochs(epochs, signs, components, done):
                state = None
                if connection.poll():  # the parent asks
                    connection.recv_bytes()
                    state = _as_bytes(member.state())
                elif epoch == epochs:
                    state = _as_bytes(member.state())
                connection.send((epoch, tuple(loss), state))
    except BrokenPipeError:
        return
    except BaseException as error:
        try:
            connection.send(error)
        except Exception:  # it cannot be pickled
            connection.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _as_bytes(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()
