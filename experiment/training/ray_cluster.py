"""Connection to a Ray cluster: join a running cluster, or start one on this machine. Ray is an optional package."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.process import defer_interrupt, keep_termination_handlers

ADDRESS = "RAY_ADDRESS"

# No usage statistics; GPUs stay visible to tasks that request CPUs only; the priority of processes is unchanged.
# A cluster that is joined has its own settings.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}

_TIMEOUT = 5.0  # seconds for a cluster to answer


def check_ray(flag: str) -> None:
    """Raise UsageError with the remedy if the package ray is missing or broken. `flag` begins the message."""
    try:
        _ray()
    except Exception as error:  # a broken installation can raise any error
        absent = isinstance(error, ImportError) and error.name == "ray"
        reason = "" if absent else f" ({' '.join(str(error).split())[:120]})"
        raise UsageError(f"{flag} requires ray: pip install 'mh-naming-game[ray]'{reason}") from error


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Connect to a Ray cluster for the block and yield the package ray.

    address: HOST:PORT, or "auto" for a cluster started on this machine; None for the environment variable RAY_ADDRESS.
    If neither is given, starts a cluster with `cpus` CPUs on this machine and stops it after the block. An existing
    connection of this process is used and kept. Raises UsageError if no cluster answers or none can be started.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    name = f"--address {address}" if address is not None else f"{ADDRESS}={os.environ.get(ADDRESS)}"
    address = address or os.environ.get(ADDRESS) or "local"
    joins = address != "local"
    if joins:
        _check_answers(address, name)
    options = {} if joins else {"num_cpus": cpus, "include_dashboard": False}
    try:
        # An interrupt during init would crash Ray at exit. Ray also replaces the handler of SIGTERM by one that skips
        # all cleanup. Its processes ignore a closed terminal, so that this program can stop them.
        with defer_interrupt(), keep_termination_handlers():
            try:
                ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            except (Exception, SystemExit) as error:  # Ray exits the program after a timeout
                reason = "no answer" if isinstance(error, SystemExit) else " ".join(str(error).split())[:200]
                what = (
                    f"{name}: the cluster cannot be joined"
                    if joins
                    else "a Ray cluster cannot be started on this machine"
                )
                raise UsageError(f"{what} ({reason})") from error
        # Ray prints errors of workers to stdout, which is for results.
        ray._private.worker._worker_logs_enabled = False
        yield ray
    finally:
        with defer_interrupt(), keep_termination_handlers():
            ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _ray() -> Any:
    for name, value in SETTINGS.items():  # read at the import and by the started processes
        os.environ.setdefault(name, value)
    import ray

    return ray


def _check_answers(address: str, name: str) -> None:
    """Raise UsageError if no server listens at the address. Ray would wait for two minutes and print messages."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(f"{name}: expected HOST:PORT, or auto for a cluster started on this machine")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{name}: no Ray cluster answers ({reason})") from error
