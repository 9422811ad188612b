"""Convert labels of the user, whole numbers with gaps or text, to indices of class names.

Different texts are different classes. Whole numbers are sorted by value, and text by its characters. Text is a whole
number only in plain digits (2, 10) or as a float in the usual forms (2.0, 2.00e+00), never 02, 1E2 or 1_000.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.util import npz
from mhng.experiment.util.text import short_repr

# Names of arrays and columns of labels
LABEL_NAMES = ("labels", "label")
# Decimal digits without useless zeros, decimals, the form of numpy.savetxt, and missing values
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*|[0-9]+\.[0-9]*|[0-9]\.[0-9]+e[+-][0-9]{2,3}|(?i:nan|inf))")
# Largest size of an array of labels, in bytes; class names need less.
_MOST_LABELS = 2**30


def encode_labels(place: str, labels: Sequence[str] | NDArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Convert labels (N,) to int64 indices (N,) of class names; returns the indices and the names.

    place: beginning of each error message. Raises UsageError naming the index of a label that is empty, or that is
    not a whole number where all labels are numbers.
    """
    array = np.asarray(labels)
    if array.dtype.kind == "S":
        array = _decoded(place, array)
    if array.dtype.kind == "U":
        names, first = np.unique(array, return_index=True)
        check_names({name: f"{place}[{n}]" for name, n in zip(names.tolist(), first, strict=True)})
        array = np.char.strip(array)
        _refuse(place, array, array == "", "text or a whole number; it is empty")
        return _encode_text(place, array)
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


def check_names(places: Mapping[str, str]) -> None:
    """Raise UsageError for a class name with control characters, or for class names that look alike.

    Names look alike if they differ only in blanks at their ends, or in the Unicode form of their letters. places: the
    beginning of the error message, by name.
    """
    plain: dict[str, str] = {}
    for name, place in places.items():
        shape = unicodedata.normalize("NFC", name).strip()
        if any(unicodedata.category(letter) == "Cc" for letter in shape):
            raise UsageError(f"{place}: the class {short_repr(name)} has a control character; remove it")
        if shape in plain:
            raise UsageError(
                f"{place}: the classes {ascii(plain[shape])[:100]} and {ascii(name)[:100]} look alike (blanks, or "
                "Unicode forms); use one spelling, or different names"
            )
        plain[shape] = name


def printable(name: str) -> str:
    """Escape bytes of a file name that are not UTF-8, as \\udcXX, so that the name can be written as UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def labels_key(archive: zipfile.ZipFile) -> str | None:
    """Name of the array of labels in an .npz file: labels or label, in upper or lower case; None without one."""
    there = npz.array_names(archive)
    exact = [name for name in LABEL_NAMES if name in there]
    return next((name for name in [*exact, *there] if name.casefold() in LABEL_NAMES), None)


def read_labels(archive: zipfile.ZipFile, name: str, N: int, place: str) -> NDArray:
    """Read the labels (N,) of an .npz file from the array `name`. Only dtype, shape and size are checked."""
    header = npz.read_header(archive, name, place)
    if header.dtype.kind not in "iubfUS" or header.shape != (N,):
        raise UsageError(
            f"{place}: {name} must be {N} whole numbers or texts, one per object; their dtype is {header.dtype} "
            f"and their shape {header.shape}"
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


def _encode_text(place: str, array: NDArray) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """`encode_labels` for an array of non-empty texts."""
    unique, codes = np.unique(array, return_inverse=True)
    texts = unique.tolist()
    if all(_NUMBER.fullmatch(text) for text in texts):
        whole = np.array([whole_number(text) is not None for text in texts])
        _refuse(place, array, ~whole[codes], "a whole number or text")
        values = np.array([whole_number(text) for text in texts], dtype=object)
        numbers, ranks = np.unique(values, return_inverse=True)
        if len(numbers) == len(texts):
            return ranks[codes].astype(np.int64), tuple(map(str, numbers.tolist()))
    return codes.astype(np.int64), tuple(map(printable, texts))


def whole_number(text: str) -> int | None:
    """The whole number that a text states, such as 2 or 2.0; None for other texts, such as 02 or 2.5."""
    number = Decimal(text) if _NUMBER.fullmatch(text) else Decimal("nan")
    return int(number) if number.is_finite() and number == number.to_integral_value() else None


def _refuse(place: str, array: NDArray, wrong: NDArray[np.bool_], what: str) -> None:
    found = np.flatnonzero(wrong)
    if len(found):
        shown = "" if what.endswith("empty") else f"; it is {array[found[0]]}"
        raise UsageError(f"{place}[{found[0]}] must be {what}{shown}")
