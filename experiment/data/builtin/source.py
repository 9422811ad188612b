"""Files of a data set on the disk, found and complained of in one way: what is said names data set and file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mhng.experiment.errors import UsageError


def is_file(name: str, file: Path) -> bool:
    """Whether `file` is one. UsageError if the disk does not say."""
    try:
        return file.is_file()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise unreadable(name, file, error) from error


def absent(name: str, file: Path, hint: str = "") -> UsageError:
    """What to say where `file` is not there."""
    return UsageError(f"--dataset {name}: no {file}; {hint}give --data-root DIR or --download")


def unreadable(name: str, file: Path, error: OSError | ValueError) -> UsageError:
    """What to say of a file that the system does not give."""
    return UsageError(f"--dataset {name}: {file} cannot be read: {getattr(error, 'strerror', None) or error}")


def damaged(name: str, file: Path, fault: str) -> UsageError:
    """What to say of a file that is not whole. Deleting comes first: nothing is fetched over a file that exists."""
    return UsageError(f"--dataset {name}: {file} is damaged ({fault}); delete it, then use --download")


def check_labels(name: str, file: Path, labels: np.ndarray, least: int, most: int) -> None:
    """UsageError naming the index of a label (N,) that is no whole number in least..most."""
    foreign = np.flatnonzero(~((labels >= least) & (labels <= most) & (labels == np.floor(labels))))
    if len(foreign):
        raise UsageError(
            f"--dataset {name}: labels must be {least} to {most}; "
            f"{file} has {labels[foreign[0]]} at index {foreign[0]}"
        )


# The parts of a data set that comes as files: what runs learn from, and what is held out.
TRAIN = "train"
TEST = "test"


class Source(NamedTuple):
    """All objects of a data set, in its own order.

    images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; labels: int64 (N,), indices into class_names, or None.
    further: of pictures of things that turn, those that stand so many places further on
    (`mhng.experiment.data.turntable`).
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    further: Callable[[int], np.ndarray] | None = None
