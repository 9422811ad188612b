"""Street View House Numbers (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers), cropped to single digits.

    ROOT/train_32x32.mat    73,257 training images, where torchvision puts them
    ROOT/test_32x32.mat     26,032 test images

Each is a MATLAB file with X, uint8 (32, 32, 3, N), and y (N, 1), the digits; 0 is stored as 10. SciPy's reader crashes
on some damaged files, so a file is parsed only if it has the MD5 that torchvision lists.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mhng.experiment.data.builtin import source
from mhng.experiment.data.builtin.http import has_md5
from mhng.experiment.data.builtin.source import TEST, TRAIN, Source
from mhng.experiment.util.memory import check_fits

FILES = {TRAIN: "train_32x32.mat", TEST: "test_32x32.mat"}
CLASS_NAMES = tuple("0123456789")


def read(root: Path, part: str = TRAIN) -> Source:
    """Read one part, in file order; images (N, 3, 32, 32). Raises UsageError that names the file."""
    absent = missing(root, part)
    if absent is not None:
        raise source.absent("svhn", absent)
    from scipy.io import loadmat, whosmat
    from torchvision.datasets import SVHN

    file = root / FILES[part]
    md5 = SVHN.split_list[part][2]
    try:
        if not has_md5(file, md5):
            raise source.damaged("svhn", file, f"its MD5 is not {md5}")
        shapes = {name: shape for name, shape, _ in whosmat(file)}
        check_fits(f"--dataset svhn: {file}", math.prod(shapes["X"]))
        arrays = loadmat(file, variable_names=["X", "y"])
    except OSError as error:
        raise source.unreadable("svhn", file, error) from error
    digits = arrays["y"][:, 0].astype(np.int64) % 10
    return Source(np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1)), digits, CLASS_NAMES)


def missing(root: Path, part: str = TRAIN) -> Path | None:
    """The file of that part if it is absent, else None."""
    file = root / FILES[part]
    return None if source.is_file("svhn", file) else file
