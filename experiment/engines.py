"""Ray, an optional package: whether it is there, and a cluster to work on, which is joined or started here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from experiment.errors import UsageError

ENGINES = ("local", "ray")

ADDRESS = "RAY_ADDRESS"

_SECONDS = 5.0  # for an address to answer


def check_ray(flag: str) -> None:
    """UsageError, which begins with `flag` and says what to do, where the package is not there or does not work."""
    try:
        _ray()
    except ImportError as error:
        # Of an installation that is broken, what is missing is another package.
        reason = "" if getattr(error, "name", None) in (None, "ray") else f" ({' '.join(str(error).split())[:120]})"
        raise UsageError(f"{flag} needs the package ray: pip install 'mh-naming-game[ray]'{reason}") from error


@contextmanager
def cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """The package ray, connected for the block: to the cluster at `address` or, if that is None, at RAY_ADDRESS; where
    neither is given, to one of `cpus` CPUs that is started on this machine and ended with the block.

    address: HOST:PORT, or "auto" for the cluster that was started on this machine. A process that is connected already
    stays so, before and after. `UsageError` where no cluster answers or none can be started.
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
        with _signals_kept():
            try:
                ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            except (Exception, SystemExit) as error:  # it ends the program where it has waited in vain
                reason = "no answer" if isinstance(error, SystemExit) else " ".join(str(error).split())[:200]
                what = f"{name}: the cluster cannot be joined" if joins else "a Ray cluster cannot be started here"
                raise UsageError(f"{what} ({reason})") from error
        yield ray
    finally:
        with _signals_kept():
            ray.shutdown()


def _ray() -> Any:
    # It reads these when it is imported. No word of what is done here leaves the machine, and what a program sees of
    # the GPUs is not taken from it because it asked for processors alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def _check_answers(address: str, name: str) -> None:
    """UsageError if nobody listens there: Ray itself would wait for two minutes, and say so all the while."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(f"{name} must be HOST:PORT, or auto for the cluster that was started on this machine")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{name}: no Ray cluster answers there ({reason})") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts a handler of its own in the place of SIGTERM's, which ends a program without tidying."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(TypeError):  # None: a handler that Python did not install
            signal.signal(signal.SIGTERM, before)
