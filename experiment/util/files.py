"""Files that are whole or not there: written beside their name, flushed to the disk, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mhng.experiment.errors import RunError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to: renamed to `target` at the end, removed if the block fails.

    For writers that want a path (netCDF, PNG). OSError becomes a `RunError` that names `target`.
    """
    target = Path(target)
    # The process number: two commands may make the same plot at once, and each must rename a file of its own.
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            flush_to_disk(beside)
            os.replace(beside, target)
            with suppress(OSError):  # the renaming is to last; not all systems can flush a folder
                flush_to_disk(target.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def reserve(file: Path, size: int) -> None:
    """Make `file` with room for `size` bytes, or raise the OSError of a full disk.

    For writers that do not survive one: HDF5 raises what it likes, or crashes while it closes.
    """
    with file.open("wb") as out:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(out.fileno(), 0, max(size, 1))


def flush_to_disk(path: Path) -> None:
    """fsync a file, or a folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(file: Path) -> Iterator[None]:
    """The run had begun: a file that cannot be written ends it, with one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{file} could not be written: {error_line(error)}") from error


def error_line(error: BaseException) -> str:
    """The first line of an error, short enough for a message of one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().split("\n")[0][:120].rstrip(". ") or type(error).__name__
