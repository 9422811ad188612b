"""MATLAB files: numbers come back as SciPy wrote them; a byte that names no kind is refused, not followed."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from mhng.experiment.data.builtin import mat5

KINDS = {
    "double": "f8", "single": "f4", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4",
    "uint32": "u4", "int64": "i8", "uint64": "u8",
}  # fmt: skip
RNG = np.random.default_rng(0)


def written(packed: bool, **arrays: Any) -> io.BytesIO:
    out = io.BytesIO()
    savemat(out, arrays, do_compression=packed)
    return out


def test_every_kind_is_one_that_the_reader_knows() -> None:
    assert set(KINDS) == set(mat5._NUMBERS.values())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_kind_come_back(kind: str, packed: bool) -> None:
    arrays = {
        f"of_{'_'.join(map(str, shape))}": (100 * RNG.random(shape)).astype(KINDS[kind])
        for shape in [(1, 1), (2, 3), (3, 1), (2, 3, 4), (200, 300), (0, 5), (3, 4, 5, 2)]
    }
    stream = written(packed, **arrays)
    found = mat5.variables(stream)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert (found[name].shape, found[name].kind) == (array.shape, kind)
        read = mat5.read(stream, found[name])
        assert read.dtype == array.dtype
        np.testing.assert_array_equal(read, array)


def test_numbers_stored_in_fewer_bytes_are_what_they_are() -> None:
    """As MATLAB does with whole numbers."""
    data = bytearray(written(False, y=np.array([[10.0], [2.0]])).getvalue())
    assert data[-24:-16] == bytes((9, 0, 0, 0, 16, 0, 0, 0))  # the tag of 16 bytes of doubles
    small = bytes(data[:-24]) + bytes((2, 0, 2, 0, 10, 2, 0, 0))
    small = small[:132] + (len(small) - 136).to_bytes(4, "little") + small[136:]
    stream = io.BytesIO(small)
    read = mat5.read(stream, mat5.variables(stream)["y"])
    assert read.dtype == np.float64 and read.tolist() == [[10.0], [2.0]]


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_that_names_no_kind_of_number_is_refused(packed: bool) -> None:
    """Where SciPy ends the process: every value of every byte before the numbers."""
    data = written(False, X=np.arange(40, dtype=np.uint8).reshape(5, 8)).getvalue()
    head, element = data[:128], data[128:]
    refused = 0
    for place in range(56):
        for value in range(256):
            wrong = element[:place] + bytes((value,)) + element[place + 1 :]
            if packed:
                squeezed = zlib.compress(wrong, 1)
                wrong = (15).to_bytes(4, "little") + len(squeezed).to_bytes(4, "little") + squeezed
            stream = io.BytesIO(head + wrong)
            try:
                found = mat5.variables(stream)
                for one in found.values():
                    mat5.read(stream, one)
            except ValueError:
                refused += 1
    assert 5_000 < refused < 56 * 256


@pytest.mark.parametrize(
    ("other", "kind"),
    [("text", "char"), (1j, "complex"), ({"a": 1}, "struct"), (np.array([["a", 1]], dtype=object), "cell")],
    ids=str,
)
def test_what_is_no_array_of_numbers_is_told_and_not_read(other: Any, kind: str) -> None:
    stream = written(True, other=other)
    (found,) = mat5.variables(stream).values()
    assert found.kind == kind
    with pytest.raises(ValueError, match=f"an array of {kind}"):
        mat5.read(stream, found)


def test_a_checksum_of_packed_numbers_is_looked_at() -> None:
    data = bytearray(written(True, X=RNG.integers(0, 256, (50, 50), dtype=np.uint8)).getvalue())
    data[-1] ^= 1
    stream = io.BytesIO(data)
    with pytest.raises(ValueError, match="zlib"):
        mat5.read(stream, mat5.variables(stream)["X"])
