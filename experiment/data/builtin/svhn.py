"""Street View House Numbers (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers), cropped to single digits.

    ROOT/train_32x32.mat    73,257 images to learn from, where torchvision puts them
    ROOT/test_32x32.mat     26,032 held-out ones

A MATLAB file (version 5, `mhng.experiment.data.builtin.mat5`) of X, uint8 (32, 32, 3, N), and y (N, 1), the digits,
of which 0 is
written as 10. Sizes are read before the arrays are; a variable of any other kind is refused, not interpreted.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mhng.experiment.data.builtin import mat5, source
from mhng.experiment.data.builtin.source import TEST, TRAIN, Source
from mhng.experiment.errors import UsageError
from mhng.experiment.util.memory import check_fits

FILES = {TRAIN: "train_32x32.mat", TEST: "test_32x32.mat"}
CLASS_NAMES = tuple("0123456789")


def read(root: Path, part: str = TRAIN) -> Source:
    """The images of one part, in file order; images (N, 3, 32, 32). `UsageError` naming the file."""
    gone = missing(root, part)
    if gone is not None:
        raise source.absent("svhn", gone)
    file = root / FILES[part]
    images, digits = _arrays(file)
    source.check_labels("svhn", file, digits, 1, 10)
    return Source(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), digits.astype(np.int64) % 10, CLASS_NAMES)


def missing(root: Path, part: str = TRAIN) -> Path | None:
    """The file of that part, if it is not there."""
    file = root / FILES[part]
    return None if source.is_there("svhn", file) else file


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """X (32, 32, 3, N) and y (N,)."""
    try:
        with file.open("rb") as stream:
            there = mat5.variables(stream)
            N = _count(file, there)
            check_fits(f"--dataset svhn: {file}", 3072 * N)
            images, digits = (mat5.read(stream, there[title]) for title in ("X", "y"))
    except OSError as error:
        raise source.unreadable("svhn", file, error) from error
    except ValueError as error:
        raise source.damaged("svhn", file, "it is no MATLAB file of version 5, or cut") from error
    return images.reshape(32, 32, 3, N), digits.reshape(N)


def _count(file: Path, there: dict[str, mat5.Variable]) -> int:
    """N, if the file says that it holds what it should."""
    X, y = there.get("X"), there.get("y")
    if X is None or X.shape[:3] != (32, 32, 3) or len(X.shape) not in (3, 4) or X.kind != "uint8":
        raise UsageError(
            f"--dataset svhn: {file} must hold X, uint8 (32, 32, 3, N); it holds "
            + (
                ", ".join(f"{title[:20]} {its.kind} {its.shape}" for title, its in sorted(there.items())[:5])
                or "nothing"
            )
        )
    N = X.shape[3] if len(X.shape) == 4 else 1
    labels = 0 if y is None else math.prod(y.shape)
    if labels != N or not N:
        raise UsageError(f"--dataset svhn: {file} holds {N} images and {labels} labels")
    return N
