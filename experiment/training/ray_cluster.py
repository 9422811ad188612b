"""Ray, an optional package: whether it is there, and a cluster to work on, which is joined or started here."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.process import defer_interrupt

ADDRESS = "RAY_ADDRESS"

# No word of what is done here leaves the machine; a program that asked for processors alone may use the GPUs as well;
# and it gives way to others no more than without Ray. A cluster that is joined has its own.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}

_HANGUP = getattr(signal, "SIGHUP", None)
_TOLD_TO_END = [number for number in (signal.SIGTERM, _HANGUP) if number is not None]

_SECONDS = 5.0  # for an address to answer


def check_ray(flag: str) -> None:
    """UsageError, which begins with `flag` and says what to do, where the package is not there or does not work."""
    try:
        _ray()
    except Exception as error:  # of an installation that is broken, anything
        absent = isinstance(error, ImportError) and error.name == "ray"
        reason = "" if absent else f" ({' '.join(str(error).split())[:120]})"
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
        with defer_interrupt(), _signals_kept():  # interrupted in the midst, it crashes at the end of the program
            try:
                ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            except (Exception, SystemExit) as error:  # it ends the program where it has waited in vain
                reason = "no answer" if isinstance(error, SystemExit) else " ".join(str(error).split())[:200]
                what = f"{name}: the cluster cannot be joined" if joins else "a Ray cluster cannot be started here"
                raise UsageError(f"{what} ({reason})") from error
        # What befalls workers it would print to stdout all the same, where results go.
        ray._private.worker._worker_logs_enabled = False
        yield ray
    finally:
        with defer_interrupt(), _signals_kept():
            ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


def _ray() -> Any:
    for name, value in SETTINGS.items():  # read when it is imported, or by what it starts
        os.environ.setdefault(name, value)
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
    """Ray puts a handler of its own in the place of SIGTERM's, which ends a program without tidying. What it starts
    ignores that a terminal was closed, as it does Ctrl-C: this program is to end it, when all is tidy."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _TOLD_TO_END}
    if _HANGUP is not None and before[_HANGUP] is not None:
        signal.signal(_HANGUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that Python did not install
                signal.signal(number, handler)
