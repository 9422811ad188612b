"""Street View House Numbers (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers), cropped to single digits.

    ROOT/train_32x32.mat    73,257 images to learn from, where torchvision puts them
    ROOT/test_32x32.mat     26,032 held-out ones

A MATLAB file (version 5) of X, uint8 (32, 32, 3, N), and y (N, 1), the digits, of which 0 is written as 10. Sizes are
read before the arrays are; a variable of any other kind is refused, not interpreted.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from experiment.data import set_files
from experiment.data.given import check_fits
from experiment.data.source import TEST, TRAIN, Source
from experiment.errors import UsageError

FILES = {TRAIN: "train_32x32.mat", TEST: "test_32x32.mat"}
CLASS_NAMES = tuple("0123456789")


def read(root: Path, part: str = TRAIN) -> Source:
    """The images of one part, in file order; images (N, 3, 32, 32). `UsageError` naming the file."""
    gone = missing(root, part)
    if gone is not None:
        raise set_files.absent("svhn", gone)
    file = root / FILES[part]
    images, digits = _arrays(file)
    set_files.check_labels("svhn", file, digits, 1, 10)
    return Source(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), digits.astype(np.int64) % 10, CLASS_NAMES)


def missing(root: Path, part: str = TRAIN) -> Path | None:
    """The file of that part, if it is not there."""
    file = root / FILES[part]
    return None if set_files.is_there("svhn", file) else file


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """X (32, 32, 3, N) and y (N,)."""
    from scipy.io import loadmat, whosmat

    try:
        with file.open("rb") as stream:
            shapes = {title: (tuple(shape), kind) for title, shape, kind in whosmat(stream)}
            N = _count(file, shapes)
            check_fits(f"--dataset svhn: {file}", 3072 * N)
            stream.seek(0)
            found: dict[str, Any] = loadmat(stream, variable_names=("X", "y"))
    except UsageError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise set_files.unreadable("svhn", file, error) from error
        raise _foreign(file) from error
    except Exception as error:  # of a damaged file scipy's reader raises what it likes, from TypeError to zlib.error
        raise _foreign(file) from error
    images, digits = found["X"], found["y"]
    # The header of a file could say one thing and its bytes another.
    if (
        images.size != 3072 * N
        or images.shape[:3] != (32, 32, 3)
        or images.dtype != np.uint8
        or digits.size != N
        or digits.dtype.kind not in "iuf"
    ):
        raise _foreign(file)
    return images.reshape(32, 32, 3, N), digits.reshape(N)


def _count(file: Path, shapes: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """N, if the file says that it holds what it should."""
    images, kind = shapes.get("X", ((), ""))
    labels, _ = shapes.get("y", ((), ""))
    if images[:3] != (32, 32, 3) or len(images) not in (3, 4) or kind != "uint8":
        raise UsageError(
            f"--dataset svhn: {file} must hold X, uint8 (32, 32, 3, N); it holds "
            + (
                ", ".join(f"{title[:20]} {of} {shape}" for title, (shape, of) in sorted(shapes.items())[:5])
                or "nothing"
            )
        )
    N = images[3] if len(images) == 4 else 1
    if math.prod(labels) != N or not N:
        raise UsageError(f"--dataset svhn: {file} holds {N} images and {math.prod(labels) if labels else 0} labels")
    return N


def _foreign(file: Path) -> UsageError:
    return set_files.damaged("svhn", file, "it is no MATLAB file of version 5, or cut")
