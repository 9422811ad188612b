"""Parallel subprocesses on the nodes of a Ray cluster. All end with this process.

A run is a Ray task, which starts the same command as `process_pool` on the node that Ray selects. All nodes must
share a file system: the folder of the runs, this program and its Python have the same paths. Ray's workers hold no
state. If a worker dies, its run is resumed on another worker, and only work since the last checkpoint is repeated.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mhng.experiment.comparison import process_pool
from mhng.experiment.comparison.process_pool import Task, describe_signal, run_queue
from mhng.experiment.errors import RunError, UsageError

RETRIES = 3  # restarts of a run before it counts as failed

_TOKEN_PREFIX = ".cluster-"
_VISIBLE_SECONDS = 5.0  # a network file system may show a new file with a delay
_EXTRA_STOP_SECONDS = 5.0  # beyond STOP_SECONDS, which the nodes use
_DEATHS = {"NodeDiedError": "its node was lost", "OutOfMemoryError": "its node ran out of memory"}


def allocate(ray: Any, runs: int, jobs: int | None, threads: int | None) -> tuple[int, int]:
    """Number of parallel runs and of threads per run, for `runs` runs on the CPUs of the cluster.

    jobs, threads: the user's values, if any. Raises `UsageError` if no node has enough CPUs for the threads: Ray
    would wait forever.
    """
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    largest = max(sizes, default=0)
    if largest < (threads or 1):
        raise UsageError(f"--threads is {threads or 1}; the largest node of the cluster has {largest} CPUs")
    jobs = jobs or min(sum(size // (threads or 1) for size in sizes), runs)
    # The largest number of threads with which all jobs fit at the same time. If none does, jobs wait for each other.
    fitting = (number for number in range(largest, 0, -1) if sum(size // number for size in sizes) >= jobs)
    return jobs, threads or next(fitting, 1)


def run_tasks(
    tasks: Sequence[Task],
    *,
    jobs: int,
    threads: int,
    on_end: Callable[[int, int | str], None],
    on_poll: Callable[[], None] = lambda: None,
    retry: Callable[[int, str], Task | None],
) -> None:
    """Run all tasks on the connected Ray cluster (`ray_cluster.cluster`), as `process_pool.run_tasks` does.

    retry(index, reason): called if the worker of a task died, at most `RETRIES` times per task; returns the task to
    start instead, or None if the run is complete. Raises `UsageError` if a node does not see the folder of the logs
    or the program.
    """
    import ray

    with _token_file(tasks[0].log.parent) as token:
        remote = _remote_function(ray, threads, token)
        run_queue(
            tasks,
            jobs=jobs,
            start=lambda index, task: _RayTask(ray, remote, task, lambda reason: retry(index, reason)),
            stop=lambda started: _stop(ray, started),
            on_end=on_end,
            on_poll=on_poll,
        )


def run_on_node(command: Sequence[str], log: str, threads: int) -> int:
    """Run a command in a subprocess of this Ray worker; returns its exit code."""
    codes: list[int | str] = []
    task = Task(command, Path(log))
    # If the worker is killed, the run must end too. Otherwise it would keep the lock of its folder.
    process_pool.run_tasks(
        [task], jobs=1, threads=threads, on_end=lambda _, code: codes.append(code), kill_with_parent=True
    )
    return int(codes[0])


def _remote_function(ray: Any, threads: int, token: str) -> Any:
    """The Ray remote function: returns the exit code, or a text that says what the node lacks."""
    home, working_directory, patience = str(process_pool.HOME), str(Path.cwd()), _VISIBLE_SECONDS

    # Ray sends a local function by value, so a node without this program can still report that.
    @ray.remote(num_cpus=threads, max_retries=0)
    def run(command: list[str], log: str) -> int | str:
        import os
        import sys
        import time

        deadline = time.monotonic() + patience
        while not os.path.exists(token):
            if time.monotonic() > deadline:
                return f"{os.path.dirname(token)} on {os.uname().nodename} is missing or another folder"
            time.sleep(0.1)
        for path in (command[0], home, working_directory):
            if not os.path.exists(path):
                return f"{path} is missing on {os.uname().nodename}"
        os.chdir(working_directory)
        if home not in sys.path:
            sys.path.insert(0, home)
        from mhng.experiment.comparison.ray_pool import run_on_node

        return run_on_node(command, log, threads)

    return run


class _RayTask:
    """A task on the cluster. It is sent again if its worker dies."""

    def __init__(self, ray: Any, remote: Any, task: Task, retry: Callable[[str], Task | None]) -> None:
        self._ray = ray
        self._remote = remote
        self._retry = retry
        self._deaths = 0
        self._send(task)

    def _send(self, task: Task) -> None:
        self.task = task
        self.ref = self._remote.remote(list(task.command), str(task.log))

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
        return code if code >= 0 else self._died(describe_signal(code))

    def _died(self, reason: str) -> int | str | None:
        self._deaths += 1
        if self._deaths > RETRIES:
            return f"{reason} (attempt {self._deaths}, the last)"
        task = self._retry(reason)
        if task is None:
            return 0
        self._send(task)
        return None


def _stop(ray: Any, tasks: Sequence[_RayTask]) -> None:
    """Interrupt all tasks and wait. Kill those that take too long, or all after another Ctrl-C."""
    running = [task.ref for task in tasks]
    if not running:
        return
    try:
        for ref in running:
            ray.cancel(ref)
        with suppress(KeyboardInterrupt):
            timeout = process_pool.STOP_SECONDS + _EXTRA_STOP_SECONDS
            _, running = ray.wait(running, num_returns=len(running), timeout=timeout)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)


@contextmanager
def _token_file(folder: Path) -> Iterator[str]:
    """A file with a new name in `folder`. A node that sees the file sees the same folder."""
    token = folder.resolve() / f"{_TOKEN_PREFIX}{secrets.token_hex(8)}"
    try:
        for stale in token.parent.glob(f"{_TOKEN_PREFIX}*"):  # left by a command that was killed
            stale.unlink(missing_ok=True)
        token.touch()
        yield str(token)
    finally:
        token.unlink(missing_ok=True)
