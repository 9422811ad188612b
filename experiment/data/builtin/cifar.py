"""CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html) in its binary version.

    ROOT/cifar-10-batches-bin/data_batch_1.bin, ..., data_batch_5.bin      50,000 images to learn from
    ROOT/cifar-10-batches-bin/test_batch.bin                               10,000 held-out ones

Each object is 3,073 bytes: its label, and 32 x 32 red, then green, then blue values, row by row. The version that
torchvision reads, cifar-10-batches-py, is made of Python pickles, which are programs; nothing here executes one, so it
is not read.
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

# The site's own archive and its checksum, as the page above has them.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32


def read(root: Path, part: str = TRAIN) -> Source:
    """The images of one part, in the order of files and rows; images (N, 3, 32, 32). `UsageError` naming the file."""
    gone = missing(root, part)
    if gone is not None:
        pickles = source.is_file("cifar10", root / PICKLES / gone.stem)
        hint = f"{PICKLES} holds pickles, which are not executed; get cifar-10-binary.tar.gz: " if pickles else ""
        raise source.absent("cifar10", gone, hint)
    batches = [_batch(root / FOLDER / file) for file in FILES[part]]
    objects = np.concatenate(batches)
    return Source(objects[:, 1:].reshape(-1, *_SHAPE), objects[:, 0].astype(np.int64), CLASS_NAMES)


def missing(root: Path, part: str = TRAIN) -> Path | None:
    """The first file of that part which is not there."""
    files = (root / FOLDER / file for file in FILES[part])
    return next((file for file in files if not source.is_file("cifar10", file)), None)


def _batch(file: Path) -> np.ndarray:
    """The objects of one file, a row each: uint8 (N, 3073)."""
    try:
        check_fits(f"--dataset cifar10: {file}", file.stat().st_size)
        data = file.read_bytes()
    except OSError as error:
        raise source.unreadable("cifar10", file, error) from error
    if not data or len(data) % _RECORD:
        raise source.damaged("cifar10", file, f"{len(data)} bytes are no whole number of images of {_RECORD}")
    found = np.frombuffer(data, np.uint8).reshape(-1, _RECORD)
    source.check_labels("cifar10", file, found[:, 0], 0, len(CLASS_NAMES) - 1)
    return found
