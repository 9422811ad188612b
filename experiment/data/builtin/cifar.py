"""CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html) in its binary version.

    ROOT/cifar-10-batches-bin/data_batch_1.bin, ..., data_batch_5.bin      50,000 training images
    ROOT/cifar-10-batches-bin/test_batch.bin                               10,000 test images

An object is 3,073 bytes: its label, then 32 x 32 red, green and blue values, row by row. torchvision's version,
cifar-10-batches-py, consists of Python pickles. It is not read, because a pickle can execute code.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mhng.experiment.data.builtin import source
from mhng.experiment.data.builtin.source import TEST, TRAIN, Source
from mhng.experiment.util.memory import check_fits

FOLDER = "cifar-10-batches-bin"
PICKLES = "cifar-10-batches-py"
FILES = {TRAIN: tuple(f"data_batch_{number}.bin" for number in range(1, 6)), TEST: ("test_batch.bin",)}
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Archive and checksum from the page above
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


def read(root: Path, part: str = TRAIN) -> Source:
    """Read one part, in the order of files and rows; images (N, 3, 32, 32). Raises UsageError that names the file."""
    absent = missing(root, part)
    if absent is not None:
        pickles = source.is_file("cifar10", root / PICKLES / absent.stem)
        hint = f"{PICKLES} holds pickles, which are not executed; get cifar-10-binary.tar.gz: " if pickles else ""
        raise source.absent("cifar10", absent, hint)
    batches = [_batch(root / FOLDER / file) for file in FILES[part]]
    objects = np.concatenate(batches)
    return Source(objects[:, 1:].reshape(-1, *_SHAPE), objects[:, 0].astype(np.int64), CLASS_NAMES)


def missing(root: Path, part: str = TRAIN) -> Path | None:
    """The first absent file of that part, or None."""
    files = (root / FOLDER / file for file in FILES[part])
    return next((file for file in files if not source.is_file("cifar10", file)), None)


def is_whole(file: Path) -> bool:
    """Whether the file exists, and holds whole objects that do not begin with zeros."""
    if not source.is_file("cifar10", file):
        return False
    with file.open("rb") as stream:
        return any(stream.read(_RECORD)) and file.stat().st_size % _RECORD == 0


def _batch(file: Path) -> np.ndarray:
    """Read one file: uint8 (N, 3073), one row per object."""
    try:
        check_fits(f"--dataset cifar10: {file}", file.stat().st_size)
        data = file.read_bytes()
    except OSError as error:
        raise source.unreadable("cifar10", file, error) from error
    if not data or len(data) % _RECORD:
        raise source.damaged("cifar10", file, f"its {len(data)} bytes are not a multiple of {_RECORD}")
    if not any(data[:_RECORD]):
        raise source.damaged("cifar10", file, "it begins with zeros")
    objects = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    source.check_labels("cifar10", file, objects[:, 0], 0, len(CLASS_NAMES) - 1)
    return objects
