"""Data sets in idx files, where torchvision puts them: ROOT/FOLDER/raw/..., each file plain or as .gz.

The idx format (LeCun, Cortes, Burges, http://yann.lecun.com/exdb/mnist): a magic number 00 00 TT RR (TT = 08
for bytes, RR the number of axes), RR big-endian 32-bit sizes, and the bytes in C order. torchvision looks
only whether the files exist; here a file must be exactly as long as its header says, and what the header says must fit
into memory before there is memory for it: a small .gz can stand for a large file.

EMNIST (Cohen, Afshar, Tapson, van Schaik 2017, arXiv 1702.05373) is six data sets of the same handwriting. Its files
hold images with rows and columns exchanged, which is undone here, and the labels of its letters begin at 1.
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

    folder: torchvision's name of it. class_names: of the labels first_label, first_label + 1, ... split: torchvision's
    name of it among those of its folder, or none. transposed: whether rows and columns are exchanged in the files.
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


DIGITS = tuple(string.digits)
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CHARACTERS = DIGITS + tuple(string.ascii_letters[26:] + string.ascii_letters[:26])
# Letters whose two cases look alike are one class there: the capital's.
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
    """The images of one part of the idx set `name` under `root`, upright and in file order; images (N, 1, H, W).

    A file that is missing, unreadable, cut, foreign, too large or at odds with the other one is a `UsageError` that
    names it.
    """
    its = IDX_SETS[name]
    image_file, label_file = (_existing(name, root / its.folder / "raw" / file) for file in its.files(part))
    images = _read_idx(name, image_file, axes=3)
    labels = _read_idx(name, label_file, axes=1)
    if len(images) != len(labels):
        raise UsageError(
            f"--dataset {name}: {image_file} holds {len(images)} images, {label_file} {len(labels)} labels"
        )
    source.check_labels(name, label_file, labels, its.first_label, its.first_label + len(its.class_names) - 1)
    if its.transposed:
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    return Source(images[:, None], labels.astype(np.int64) - its.first_label, its.class_names)


def missing(name: str, root: Path, part: str = TRAIN) -> Path | None:
    """The first file of that part which is not there, neither plain nor packed; nothing is said of what they hold."""
    raw = root / IDX_SETS[name].folder / "raw"
    return next((raw / file for file in IDX_SETS[name].files(part) if existing_file(name, raw / file) is None), None)


def existing_file(name: str, file: Path) -> Path | None:
    """`file`, or `file`.gz, or None."""
    candidates = (file, file.with_name(f"{file.name}.gz"))
    return next((candidate for candidate in candidates if source.is_file(name, candidate)), None)


def _existing(name: str, file: Path) -> Path:
    there = existing_file(name, file)
    if there is None:
        raise source.absent(name, file)
    return there


def _read_idx(name: str, file: Path, axes: int) -> np.ndarray:
    """The uint8 array in `file`, which must have `axes` axes and exactly the length its header promises."""
    try:
        with file.open("rb") as stream:
            if file.suffix == ".gz":
                with gzip.open(stream) as unpacked:
                    return _read_stream(name, file, cast(IO[bytes], unpacked), axes, None)
            return _read_stream(name, file, stream, axes, file.stat().st_size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise source.damaged(name, file, "it is cut, or not a gzip file") from error
    except OSError as error:
        raise source.unreadable(name, file, error) from error


def _read_stream(name: str, file: Path, stream: IO[bytes], axes: int, length: int | None) -> np.ndarray:
    """The same, of an opened file; length: of all that is in it, if that is known."""
    start = 4 + 4 * axes
    header = stream.read(start)
    magic = bytes((0, 0, 8, axes))
    if header[:4] != magic:
        raise UsageError(
            f"--dataset {name}: {file} is not an idx file of bytes with {axes} axes: "
            f"it begins with {header[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}"
        )
    if len(header) < start:
        raise source.damaged(name, file, f"its header is cut after {len(header)} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", axes, offset=4))
    sizes, promised = " x ".join(map(str, shape)), math.prod(shape)
    if length is None:
        check_fits(f"--dataset {name}: {file}", promised)
        data = stream.read(promised + 1)
        follow = f"{promised} bytes and more" if len(data) > promised else f"{len(data)} bytes"
    else:
        follow = f"{length - start} bytes"
        data = stream.read(promised + 1) if length - start == promised else b""
    if len(data) != promised:
        raise source.damaged(name, file, f"its header promises {sizes} bytes, and {follow} follow it")
    if 0 in shape:
        raise UsageError(f"--dataset {name}: {file} is empty: its header says {sizes}")
    return np.frombuffer(data, np.uint8).reshape(shape)
