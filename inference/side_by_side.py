"""Learning side by side: agents train at the same time, each in a copy of this process (`mhng.inference.copies`).

Losses come back after each epoch, the agent's state after its last one or on request. The same threads give the same
numbers as learning in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from torch import Tensor

from mhng.inference.copies import Copies, CopyError, from_bytes, to_bytes
from mhng.inference.svi import Learner, Loss

# Estimates of learning on one thread, and the least seconds of an agent's learning that are worth a fork.
STEP_SECONDS = 1.5e-3
FLOPS = 5e10
LEAST_SECONDS = 0.5


class Task(NamedTuple):
    """What one member has to learn; the arguments of `Learner.train_epochs`."""

    member: Any  # `mhng.inference.members.Member`
    epochs: int
    signs: Tensor | None
    components: Any
    done: int


class AgentError(Exception):
    """An error in the process of a learner. Arguments: the name of the agent, and the error."""


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
        self._copies = Copies()
        self._running: dict[Connection, Task] = {}
        self._losses: dict[str, deque[tuple[int, Loss]]] = {task.member.name: deque() for task in tasks}
        self._asked: set[Connection] = set()

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        self._copies.close()

    def epochs(self, name: str) -> Iterator[tuple[int, Loss]]:
        """The epochs of a member, with losses, as they come. Raises AgentError, CopyLostError."""
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
        return any(task.member.name == name for task in (*self._waiting, *self._running.values()))

    def _receive(self) -> None:
        """Start what may run, and take the next messages."""
        while self._waiting and len(self._running) < self._processes:
            task = self._waiting.popleft()
            self._running[self._copies.start(partial(_learn, task), self._threads)] = task
        for connection in self._copies.ready():
            task = self._running[connection]
            name = task.member.name
            try:
                epoch, loss, state = self._copies.receive(connection, f"agent {name}")
            except CopyError as error:
                raise AgentError(name, *error.args) from error
            self._losses[name].append((epoch, Loss(*loss)))
            if state is not None:
                task.member.restore(from_bytes(state), None)
                self.learned[name] = epoch
                self._asked.discard(connection)
            if epoch == task.epochs:
                del self._running[connection]
                self._copies.end(connection)


def _learn(task: Task, connection: Connection) -> None:
    """The work of a copy: learn, and send messages to the parent."""
    member, epochs, signs, components, done = task
    for epoch, loss in member.train_epochs(epochs, signs, components, done):
        asked = connection.poll()  # the parent wants the state
        if asked:
            connection.recv_bytes()
        state = to_bytes(member.state()) if asked or epoch == epochs else None
        connection.send((epoch, tuple(loss), state))
