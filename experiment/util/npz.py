"""The .npz format: a zip archive of arrays, each a header and its bytes in order (numpy.lib.format).

Headers are read first, so that a size is known before there is memory for it, and no pickle is executed: an array of
objects is one whose dtype nobody here takes.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.util.paths import check_regular


class Header(NamedTuple):
    """What an array says of itself before its bytes."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """How many follow it."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def open_archive(file: Path, place: str) -> Iterator[zipfile.ZipFile]:
    """The archive; what a damaged or foreign one raises is a UsageError that begins with `place`."""
    check_regular(file, place)
    try:
        with zipfile.ZipFile(file) as archive:
            if len(set(archive.namelist())) < len(archive.namelist()):
                raise ValueError("two arrays of one name")
            yield archive
    except (
        OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no .npz, or damaged"
        raise UsageError(f"{place} cannot be read: {reason}") from error


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """What the arrays are called."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def read_header(archive: zipfile.ZipFile, name: str, place: str) -> Header:
    """Of the array called `name`. UsageError if there is none."""
    if name not in array_names(archive):
        there = ", ".join(sorted(array_names(archive))[:5]) or "nothing"
        raise UsageError(f"{place} holds no array called {name}; it holds {there}")
    with archive.open(f"{name}.npy") as stream:
        return parse_header(stream)


def parse_header(stream: IO[bytes]) -> Header:
    """Read the header; the bytes come next."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return Header(*np.lib.format.read_array_header_1_0(stream))
    if version == (2, 0):
        return Header(*np.lib.format.read_array_header_2_0(stream))
    raise ValueError(f"version {version}")


def read_values(stream: IO[bytes], number: int, dtype: np.dtype) -> NDArray:
    """The next `number` values. EOFError if there are fewer."""
    data = stream.read(number * dtype.itemsize)
    if len(data) < number * dtype.itemsize:
        raise EOFError("cut")
    return np.frombuffer(data, dtype)


def read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    """The array called `name`, whose header has been judged already."""
    with archive.open(f"{name}.npy") as stream:
        shape, fortran, dtype = parse_header(stream)
        values = read_values(stream, math.prod(shape), dtype).reshape(shape, order="F" if fortran else "C")
        if stream.read(1):
            raise ValueError("more bytes than the header says")
        return values
