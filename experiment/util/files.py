"""Atomic writes: a temporary file beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mhng.experiment.errors import RunError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it at the end, remove it if the block fails.

    For writers that need a path (netCDF, PNG). Raises RunError naming `target` for an OSError.
    """
    target = Path(target)
    # With the process number: two commands may draw the same plot at once.
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            flush_to_disk(beside)
            os.replace(beside, target)
            with suppress(OSError):  # make the renaming durable; some systems cannot flush a folder
                flush_to_disk(target.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def reserve(file: Path, size: int) -> None:
    """Create `file` with space for `size` bytes. Raises OSError if the disk is full.

    For writers that do not handle a full disk: HDF5 raises varying errors, or crashes while it closes the file.
    """
    with file.open("wb") as out:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(out.fileno(), 0, max(size, 1))


def flush_to_disk(path: Path) -> None:
    """Call fsync on a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(file: Path) -> Iterator[None]:
    """Raise RunError naming `file` for an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{file} could not be written: {error_line(error)}") from error


def error_line(error: BaseException) -> str:
    """First line of an error, at most 120 characters."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().split("\n")[0][:120].rstrip(". ") or type(error).__name__
