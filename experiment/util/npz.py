"""The .npz format: a zip archive of arrays, each a header and its bytes in order (numpy.lib.format).

Headers are read first, so that the size of an array is known before memory is allocated. No pickle is executed: every
reader checks the dtype, and none accepts object arrays.
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
    """Header of an array: shape, order and dtype."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def open_archive(file: Path, place: str) -> Iterator[zipfile.ZipFile]:
    """Open the archive for the block. A damaged or foreign file is a UsageError that begins with `place`."""
    check_regular(file, place)
    try:
        with zipfile.ZipFile(file) as archive:
            if len(set(archive.namelist())) < len(archive.namelist()):
                raise ValueError("two arrays have the same name")
            yield archive
    except (
        OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an .npz file, or damaged"
        raise UsageError(f"{place} cannot be read: {reason}") from error


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def read_header(archive: zipfile.ZipFile, name: str, place: str) -> Header:
    """Read the header of the array `name`. Raises UsageError if the archive has no such array."""
    if name not in array_names(archive):
        there = ", ".join(sorted(array_names(archive))[:5]) or "nothing"
        raise UsageError(f"{place} holds no array called {name}; it holds {there}")
    with archive.open(f"{name}.npy") as stream:
        return parse_header(stream)


def parse_header(stream: IO[bytes]) -> Header:
    """Read the header from an open array. The stream is then at the first byte of the values."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return Header(*np.lib.format.read_array_header_1_0(stream))
    if version == (2, 0):
        return Header(*np.lib.format.read_array_header_2_0(stream))
    raise ValueError(f"version {version}")


def read_values(stream: IO[bytes], number: int, dtype: np.dtype) -> NDArray:
    """Read the next `number` values. Raises EOFError if there are fewer."""
    data = stream.read(number * dtype.itemsize)
    if len(data) < number * dtype.itemsize:
        raise EOFError("cut")
    return np.frombuffer(data, dtype)


def read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    """Read the array `name`. The caller has checked its header."""
    with archive.open(f"{name}.npy") as stream:
        shape, fortran, dtype = parse_header(stream)
        values = read_values(stream, math.prod(shape), dtype).reshape(shape, order="F" if fortran else "C")
        if stream.read(1):
            raise ValueError("more bytes than the header says")
        return values
