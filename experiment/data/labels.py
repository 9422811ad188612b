"""Labels as users have them, whole numbers with gaps or text, made into indices of class names.

Labels score and do nothing else, so any that tell classes apart will do. Whole numbers are in order of size, text is
in the order of its characters; a whole number that is written as a float or as text is a whole number.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.util import npz

# Bytes of an array of labels: longer texts are no names of classes.
_MOST_LABELS = 2**30


def encode_labels(place: str, labels: Sequence[str] | NDArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (N,) as int64 indices (N,) of class names, and these.

    place: what begins each complaint. UsageError naming the index of a label that is empty, or no whole number among
    numbers.
    """
    array = np.asarray(labels)
    if array.dtype.kind == "S":
        array = _decoded(place, array)
    if array.dtype.kind == "U":
        array = np.char.strip(array)
        _refuse(place, array, array == "", "text or a whole number; it is empty")
        numbers = _as_numbers(array)
        if numbers is None:
            names, codes = np.unique(array, return_inverse=True)
            return codes.astype(np.int64), tuple(printable(str(name)) for name in names)
        array = numbers
    if array.dtype.kind == "f":
        whole = np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2**53)
        _refuse(place, array, ~whole, "a whole number or text")
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise UsageError(f"{place} must be whole numbers or text; they are {array.dtype}")
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    values, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.int64), tuple(str(value) for value in values.tolist())


def printable(name: str) -> str:
    """A name without what no UTF-8 has, as the bytes of file names that are not: those become \\udcXX."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def labels_key(archive: zipfile.ZipFile) -> str | None:
    """What the labels of an .npz file are called there: `labels`, or `label` as in signs.npz; None without any."""
    there = npz.array_names(archive)
    return next((name for name in ("labels", "label") if name in there), None)


def read_labels(archive: zipfile.ZipFile, name: str, N: int, place: str) -> NDArray:
    """The labels of an .npz file, the array of that name, (N,), not judged further."""
    header = npz.read_header(archive, name, place)
    if header.dtype.kind not in "iubfUS" or header.shape != (N,):
        raise UsageError(
            f"{place}: {name} must be {N} whole numbers or texts, one an object; they are {header.dtype} of the "
            f"shape {header.shape}"
        )
    if header.bytes > _MOST_LABELS:
        raise UsageError(f"{place}: {name} is larger than 1 GiB")
    return npz.read_array(archive, name)


def _decoded(place: str, array: NDArray) -> NDArray:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        for n, one in enumerate(array.tolist()):
            try:
                one.decode("utf-8")
            except UnicodeDecodeError:
                raise UsageError(f"{place}[{n}] must be text in UTF-8; it is {one!r}") from None
        raise


def _as_numbers(text: NDArray) -> NDArray | None:
    """The numbers that all the texts are, or None."""
    try:
        return text.astype(np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return text.astype(np.float64)
    except ValueError:
        return None


def _refuse(place: str, array: NDArray, wrong: NDArray[np.bool_], what: str) -> None:
    found = np.flatnonzero(wrong)
    if len(found):
        shown = "" if what.endswith("empty") else f"; it is {array[found[0]]}"
        raise UsageError(f"{place}[{found[0]}] must be {what}{shown}")
