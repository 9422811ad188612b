"""Data sets in idx files, in torchvision's layout: ROOT/FOLDER/raw/..., plain or as .gz.

The idx format (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist): a magic number 00 00 TT RR (TT = 08
for bytes, RR the number of axes), RR big-endian 32-bit sizes, and the bytes in C order. torchvision only checks that
the files exist. Here a file must have the length in its header, and that length must fit into memory: a small .gz can
unpack to a large file.

EMNIST (Cohen, Afshar, Tapson, van Schaik 2017, arXiv 1702.05373) is six data sets of the same handwriting. Its images
are stored transposed, which is undone here, and the labels of its letters begin at 1.
"""

from __future__ import annotations

import gzip
import math
import string
import zlib
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from mhng.experiment.data.builtin import source
from mhng.experiment.data.builtin.source import TEST, TRAIN, Source
from mhng.experiment.errors import UsageError
from mhng.experiment.util.memory import check_fits


class IdxSet(NamedTuple):
    """A data set in idx files.

    folder: torchvision's name. class_names: names of the labels first_label, first_label + 1, ... split: torchvision's
    name within the folder, or None. transposed: whether the images are stored transposed.
    """

    folder: str
    class_names: tuple[str, ...]
    split: str | None = None
    first_label: int = 0
    transposed: bool = False

    def files(self, part: str) -> Files:
        """The names of the two files of a part, "train" or "test"."""
        if self.split is None:
            first = {TRAIN: "train", TEST: "t10k"}[part]
        else:
            first = f"emnist-{self.split}-{part}"
        return Files(f"{first}-images-idx3-ubyte", f"{first}-labels-idx1-ubyte")


class Files(NamedTuple):
    """The two files of one part of an idx set."""

    images: str
    labels: str


_LONGEST_HEADER = 16  # bytes, with 3 axes

DIGITS = tuple(string.digits)
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CHARACTERS = DIGITS + tuple(string.ascii_letters[26:] + string.ascii_letters[:26])
# Letters whose two cases look alike form one class, the capital letter.
MERGED = tuple(character for character in CHARACTERS if character not in "cijklmopsuvwxyz")


def _emnist(split: str, class_names: tuple[str, ...], first_label: int = 0) -> IdxSet:
    return IdxSet("EMNIST", class_names, split, first_label, transposed=True)


IDX_SETS = {
    "mnist": IdxSet("MNIST", DIGITS),
    "fashion-mnist": IdxSet("FashionMNIST", CLOTHES),
    "kmnist": IdxSet("KMNIST", KANA),
    "emnist-letters": _emnist("letters", tuple(string.ascii_lowercase), first_label=1),
    "emnist-balanced": _emnist("balanced", MERGED),
    "emnist-digits": _emnist("digits", DIGITS),
    "emnist-mnist": _emnist("mnist", DIGITS),
    "emnist-bymerge": _emnist("bymerge", MERGED),
    "emnist-byclass": _emnist("byclass", CHARACTERS),
}


def read(name: str, root: Path, part: str = TRAIN) -> Source:
    """Read one part of the idx set `name` under `root`, upright and in file order; images (N, 1, H, W).

    Raises UsageError that names the file: absent, unreadable, damaged, too large, or with another number of objects.
    """
    idx_set = IDX_SETS[name]
    image_file, label_file = (_existing(name, root / idx_set.folder / "raw" / file) for file in idx_set.files(part))
    images = _read_idx(name, image_file, axes=3)
    labels = _read_idx(name, label_file, axes=1)
    if len(images) != len(labels):
        raise UsageError(
            f"--dataset {name}: {image_file} has {len(images)} images, but {label_file} has {len(labels)} labels"
        )
    source.check_labels(
        name, label_file, labels, idx_set.first_label, idx_set.first_label + len(idx_set.class_names) - 1
    )
    if idx_set.transposed:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    return Source(images[:, None], labels.astype(np.int64) - idx_set.first_label, idx_set.class_names)


def missing(name: str, root: Path, part: str = TRAIN) -> Path | None:
    """The first file of that part that exists neither plain nor as .gz, or None."""
    raw = root / IDX_SETS[name].folder / "raw"
    return next((raw / file for file in IDX_SETS[name].files(part) if existing_file(name, raw / file) is None), None)


def existing_file(name: str, file: Path) -> Path | None:
    """Return `file` or `file`.gz, whichever exists, or None."""
    candidates = (file, file.with_name(f"{file.name}.gz"))
    return next((candidate for candidate in candidates if source.is_file(name, candidate)), None)


def is_damaged(file: Path) -> bool:
    """Whether an existing uncompressed file is empty, begins with zeros, or is shorter or longer than its header says.

    Other content than idx is not called damaged: it may belong to the user.
    """
    with file.open("rb") as stream:
        header = stream.read(_LONGEST_HEADER)
    if not any(header):
        return True
    axes = header[3] if len(header) > 3 else 0
    start = 4 + 4 * axes
    if header[:3] != bytes((0, 0, 8)) or start > _LONGEST_HEADER:
        return False
    return len(header) < start or file.stat().st_size != start + math.prod(
        int(size) for size in np.frombuffer(header, ">u4", axes, offset=4)
    )


def _existing(name: str, file: Path) -> Path:
    existing = existing_file(name, file)
    if existing is None:
        raise source.absent(name, file)
    return existing


def _read_idx(name: str, file: Path, axes: int) -> np.ndarray:
    """Read the uint8 array in `file`, which must have `axes` axes and the length in its header."""
    try:
        with file.open("rb") as stream:
            if file.suffix == ".gz":
                with gzip.open(stream) as unpacked:
                    return _read_stream(name, file, cast(IO[bytes], unpacked), axes, None)
            return _read_stream(name, file, stream, axes, file.stat().st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise source.damaged(name, file, "truncated, or not a gzip file") from error
    except OSError as error:
        raise source.unreadable(name, file, error) from error


def _read_stream(name: str, file: Path, stream: IO[bytes], axes: int, length: int | None) -> np.ndarray:
    """Read the array from an open file. length: of the file in bytes, or None for a compressed one."""
    start = 4 + 4 * axes
    header = stream.read(start)
    magic = bytes((0, 0, 8, axes))
    if not any(header):
        raise source.damaged(name, file, "it begins with zeros" if header else "it is empty")
    if header[:4] != magic:
        raise UsageError(
            f"--dataset {name}: {file} is no idx file of bytes with {axes} axes: it begins with "
            f"{header[:4].hex(' ')}; expected {magic.hex(' ')}; delete it, then use --download"
        )
    if len(header) < start:
        raise source.damaged(name, file, f"its header ends after {len(header)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", axes, offset=4))
    sizes, expected = " x ".join(map(str, shape)), math.prod(shape)
    if length is None:
        check_fits(f"--dataset {name}: {file}", expected)
        data = stream.read(expected + 1)
        follow = f"more than {expected} bytes" if len(data) > expected else f"{len(data)} bytes"
    else:
        follow = f"{length - start} bytes"
        data = stream.read(expected + 1) if length - start == expected else b""
    if len(data) != expected:
        raise source.damaged(name, file, f"its header says {sizes} bytes, but {follow} follow")
    if 0 in shape:
        raise UsageError(f"--dataset {name}: {file} is empty; its header says {sizes}")
    return np.frombuffer(data, np.uint8).reshape(shape)
