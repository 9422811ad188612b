"""Files of a data set on the disk, found and complained of in one way: what is said names data set and file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mhng.experiment.errors import UsageError


def is_there(name: str, file: Path) -> bool:
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
