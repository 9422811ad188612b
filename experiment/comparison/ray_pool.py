"""Programs side by side on the nodes of a Ray cluster, with their share of its CPUs; all of them end with this one.

Each is a task of Ray, which starts the same command as `pool` does, on the node that Ray picks. All nodes need the
folder of the runs, this program and its Python at the same places: a file system that they share. Ray's workers hold
nothing, so what is lost with one is what the run had not saved, and it goes on on another.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mhng.experiment.comparison import process_pool
from mhng.experiment.comparison.process_pool import Task, killed_by, take_turns
from mhng.experiment.errors import RunError, UsageError

RETRIES = 3  # how often a run goes on elsewhere before it counts as failed

_HOME = Path(__file__).resolve().parents[2]
_TOKEN = ".cluster-"  # begins the name of the file by which nodes know the folder of the runs
_SEEN_WITHIN = 5.0  # seconds: the file system of a network may show what is new a little later
_GRACE = 5.0  # seconds beyond the patience of `pool`, which is that of the nodes
_DEATHS = {"NodeDiedError": "its node was lost", "OutOfMemoryError": "its node had no memory left"}


def shares(ray: Any, runs: int, jobs: int | None, threads: int | None) -> tuple[int, int]:
    """How many of so many `runs` at a time, and with how many threads each: as many as the cluster has CPUs for.

    `UsageError` if no node has CPUs for the threads that are asked for: Ray would wait for one.
    """
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = max(sizes, default=0)
    if most < (threads or 1):
        raise UsageError(f"--threads {threads or 1}: the largest node of the cluster has {most} CPUs")
    jobs = jobs or min(sum(size // (threads or 1) for size in sizes), runs)
    # The most with which all of them find a place; where there are too few places, they take turns.
    fits = (each for each in range(most, 0, -1) if sum(size // each for size in sizes) >= jobs)
    return jobs, threads or next(fits, 1)


def side_by_side(
    tasks: Sequence[Task],
    *,
    jobs: int,
    threads: int,
    ended: Callable[[int, int | str], None],
    waiting: Callable[[], None] = lambda: None,
    again: Callable[[int, str], Task | None],
) -> None:
    """Run all tasks on the cluster that this process is connected to (`engines.cluster`); as `pool.side_by_side`.

    again(index of a task, why): the task as it is now, whose worker died (its node was lost, or it was killed, as
    where memory is short), or None if it is done; asked for `RETRIES` times at most. `UsageError` if a node does not
    see the folder of the logs, or the program, as this machine does.
    """
    import ray

    with _token(tasks[0].log.parent) as token:
        run = _remote(ray, threads, token)
        take_turns(
            tasks,
            jobs=jobs,
            start=lambda index, task: _Started(ray, run, task, lambda reason: again(index, reason)),
            stop=lambda started: _stop(ray, started),
            ended=ended,
            waiting=waiting,
        )


def on_a_node(command: Sequence[str], log: str, threads: int) -> int:
    """Run the task here, on a node, in a program that ends with this one; its exit code."""
    codes: list[int | str] = []
    # Otherwise the run of a worker that died would go on alone, and hold its folder.
    task = Task(command, Path(log))
    process_pool.side_by_side([task], jobs=1, threads=threads, ended=lambda _, code: codes.append(code), tied=True)
    return int(codes[0])


def _remote(ray: Any, threads: int, token: str) -> Any:
    """What Ray runs on a node: gives the exit code or, in words, what the node lacks."""
    home, place, patience = str(_HOME), str(Path.cwd()), _SEEN_WITHIN

    # Being local it is sent whole, not by the name of a module: a node that lacks the program can say so.
    @ray.remote(num_cpus=threads, max_retries=0)
    def run(command: list[str], log: str) -> int | str:
        import os
        import sys
        import time

        until = time.monotonic() + patience
        while not os.path.exists(token):
            if time.monotonic() > until:
                return f"{os.path.dirname(token)} on {os.uname().nodename} is absent, or another folder"
            time.sleep(0.1)
        for path in (*command[:2], place):
            if not os.path.exists(path):
                return f"{path} is absent on {os.uname().nodename}"
        os.chdir(place)
        if home not in sys.path:
            sys.path.insert(0, home)
        from mhng.experiment.comparison.ray_pool import on_a_node

        return on_a_node(command, log, threads)

    return run


class _Started:
    """A task on the cluster, wherever it is now."""

    def __init__(self, ray: Any, run: Any, task: Task, again: Callable[[str], Task | None]) -> None:
        self._ray = ray
        self._run = run
        self._again = again
        self._deaths = 0
        self._send(task)

    def _send(self, task: Task) -> None:
        self.task = task
        self.ref = self._run.remote(list(task.command), str(task.log))

    def poll(self) -> int | str | None:
        if not self._ray.wait([self.ref], timeout=0)[0]:
            return None
        code: int | str
        errors = self._ray.exceptions
        try:
            code = self._ray.get(self.ref)
        except errors.RayTaskError as error:
            raise RunError(f"{self.task.log.stem} could not be started: {error.cause}") from error
        except errors.RayError as error:
            return self._died(_DEATHS.get(type(error).__name__, "its worker died"))
        if isinstance(code, str):
            raise UsageError(f"--engine ray: {code}; all nodes must share a file system with this machine")
        return code if code >= 0 else self._died(killed_by(code))

    def _died(self, reason: str) -> int | str | None:
        self._deaths += 1
        if self._deaths > RETRIES:
            return f"{reason}, the last of {self._deaths} times"
        task = self._again(reason)
        if task is None:
            return 0
        self._send(task)
        return None


def _stop(ray: Any, started: Sequence[_Started]) -> None:
    """Interrupt all and wait; kill those that take too long, or all at another Ctrl-C."""
    left = [one.ref for one in started]
    if not left:
        return
    try:
        for ref in left:
            ray.cancel(ref)
        with suppress(KeyboardInterrupt):
            _, left = ray.wait(left, num_returns=len(left), timeout=process_pool.PATIENCE + _GRACE)
    finally:
        for ref in left:
            ray.cancel(ref, force=True)


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """A file of a new name in the folder. A node that finds it there sees the same folder."""
    token = folder.resolve() / f"{_TOKEN}{secrets.token_hex(8)}"
    try:
        for old in token.parent.glob(f"{_TOKEN}*"):  # of a command that was killed
            old.unlink(missing_ok=True)
        token.touch()
        yield str(token)
    finally:
        token.unlink(missing_ok=True)
