"""Data set files: the errors that all readers share, and the arrays that they return."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mhng.experiment.errors import UsageError


def is_file(name: str, file: Path) -> bool:
    """Whether `file` is an existing file. Raises UsageError if the system cannot tell."""
    try:
        return file.is_file()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise unreadable(name, file, error) from error


def is_folder(name: str, folder: Path) -> bool:
    """Whether `folder` is an existing folder. Raises UsageError if the system cannot tell."""
    try:
        return folder.is_dir()
    except (OSError, ValueError) as error:
        raise unreadable(name, folder, error) from error


def absent(name: str, file: Path, hint: str = "") -> UsageError:
    """The error for an absent file."""
    return UsageError(f"--dataset {name}: no {file}; {hint}pass --data-root DIR, or --download to train")


def unreadable(name: str, file: Path, error: OSError | ValueError) -> UsageError:
    """The error for a file that the system refuses to open or read."""
    return UsageError(f"--dataset {name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}")


def damaged(name: str, file: Path, fault: str) -> UsageError:
    """The error for a damaged file."""
    return UsageError(f"--dataset {name}: {file} is damaged ({fault}); delete it, then use --download")


def check_labels(name: str, file: Path, labels: np.ndarray, least: int, most: int) -> None:
    """Check that all labels (N,) lie in least..most. Raises UsageError that names the index."""
    invalid = np.flatnonzero((labels < least) | (labels > most))
    if len(invalid):
        raise UsageError(
            f"--dataset {name}: {file} has the label {labels[invalid[0]]} at index {invalid[0]}; "
            f"expected {least} to {most}"
        )


# The parts of a data set on disk
TRAIN = "train"
TEST = "test"


class Source(NamedTuple):
    """All objects of a data set, in file order.

    images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; labels: int64 (N,), indices into class_names, or None.
    images_ahead: for turntable pictures, the images J places further on (`mhng.experiment.data.turntable`).
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    images_ahead: Callable[[int], np.ndarray] | None = None
