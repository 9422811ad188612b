"""Arrays of numbers in a MATLAB file of version 5, and nothing else that such a file may hold.

SciPy's reader, which is for all of the format, ends the process where one byte of a file names a kind of number that
there is not; here every byte is looked at before it is believed, and sizes are read before there is memory for what
they tell of. The format (MathWorks, "MAT-File Format", chapter 1): 128 bytes of header, then elements, each a kind, a
number of bytes and those bytes; an array is an element of elements (flags, sizes, name, values), mostly inside one
that is packed by zlib.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import IO, NamedTuple

import numpy as np

_HEADER, _LITTLE_ENDIAN = 128, b"\x00\x01IM"
_ARRAY, _PACKED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_COMPLEX = 0x0800

# What values are stored as, by the kind of their element: MATLAB stores small whole numbers in few bytes.
_STORED = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
# What they are in MATLAB, by the class of the array.
_NUMBERS = {
    6: "double", 7: "single", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32",
    14: "int64", 15: "uint64",
}  # fmt: skip
_OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse"}

# Bytes of sizes and of a name; those of data have a few.
_MOST = 256
_CHUNK = 1 << 16


class Variable(NamedTuple):
    """An array in a file: where its element stands, its shape, and MATLAB's word for what it holds."""

    start: int
    size: int
    packed: bool
    shape: tuple[int, ...]
    kind: str


def variables(stream: IO[bytes]) -> dict[str, Variable]:
    """The arrays in a file, by name, of which none is read. ValueError if it is no such file, or damaged."""
    length = stream.seek(0, 2)
    stream.seek(0)
    if stream.read(_HEADER)[-4:] != _LITTLE_ENDIAN or length < _HEADER:
        raise ValueError("no header of version 5")
    found: dict[str, Variable] = {}
    at = _HEADER
    while at < length:
        stream.seek(at)
        kind, size = struct.unpack("<II", _exactly(stream.read(8), 8))
        start, at = at + 8, at + 8 + size
        if at > length:
            raise ValueError("an element is cut")
        if kind in (_ARRAY, _PACKED):
            element = Variable(start, size, kind == _PACKED, (), "")
            name, shape, what = _told(_Part(stream, element))
            if name in found:
                raise ValueError("a name twice")
            found[name] = element._replace(shape=shape, kind=what)
    return found


def read(stream: IO[bytes], variable: Variable) -> np.ndarray:
    """The values of an array of real numbers. ValueError if it is none, or damaged."""
    part = _Part(stream, variable)
    _, shape, what = _told(part)
    if what not in _NUMBERS.values():
        raise ValueError(f"an array of {what}")
    kind, size, small = part.tag()
    stored = np.dtype(_STORED.get(kind, "V1"))
    if stored.kind == "V" or size != math.prod(shape) * stored.itemsize:
        raise ValueError("values that do not fit the sizes")
    values = np.frombuffer(part.take(size) if small is None else small, stored)
    part.check_end()
    named = {"double": "float64", "single": "float32"}.get(what, what)
    with np.errstate(invalid="ignore"):
        return values.astype(named, copy=False).reshape(shape, order="F")


def _told(part: _Part) -> tuple[str, tuple[int, ...], str]:
    """Name, shape and kind of an array, after which its values follow."""
    if part.packed and part.tag()[0] != _ARRAY:
        raise ValueError("no array")
    flags = part.small(_UINT32)
    sizes = part.small(_INT32)
    name = part.small(_INT8)
    (first,) = struct.unpack("<I", _exactly(flags[:4], 4))
    shape = struct.unpack(f"<{len(sizes) // 4}i", _exactly(sizes, len(sizes) // 4 * 4))
    if len(shape) < 2 or min(shape) < 0:
        raise ValueError("sizes that are none")
    kind = first & 0xFF
    what = "complex" if first & _COMPLEX else _NUMBERS.get(kind) or _OTHERS.get(kind, f"class {kind}")
    return name.decode("latin-1"), shape, what


class _Part:
    """The bytes of an array's element one after the other, unpacked where they are; never more than asked for."""

    def __init__(self, stream: IO[bytes], element: Variable) -> None:
        stream.seek(element.start)
        self.packed = element.packed
        self._stream, self._left = stream, element.size
        self._unpack, self._waiting = zlib.decompressobj(), b""

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many."""
        if not self.packed:
            return _exactly(self._raw(count), count)
        found = bytearray()
        while len(found) < count:
            piece = self._unpacked(count - len(found))
            if not piece:
                raise ValueError("cut")
            found += piece
        return bytes(found)

    def tag(self) -> tuple[int, int, bytes | None]:
        """Kind and size of the next element, and what is in it where both lie in four bytes."""
        (first,) = struct.unpack("<I", self.take(4))
        second = self.take(4)
        if first >> 16:
            return first & 0xFFFF, first >> 16, _exactly(second[: first >> 16], first >> 16)
        return first, struct.unpack("<I", second)[0], None

    def small(self, wanted: int) -> bytes:
        """The bytes of an element of that kind, which are few, and the padding after them gone."""
        kind, size, inside = self.tag()
        if kind != wanted or size > _MOST:
            raise ValueError("an element that does not belong there")
        return self.take(size + -size % 8)[:size] if inside is None else inside

    def check_end(self) -> None:
        """ValueError if the checksum that zlib keeps at the end is not that of what was read."""
        if self.packed:
            self._unpacked(_MOST)  # padding
            if not self._unpack.eof:
                raise ValueError("cut, or not at its end")

    def _unpacked(self, most: int) -> bytes:
        """Some bytes, `most` at the most; none at the end."""
        try:
            while True:
                piece = self._unpack.decompress(self._waiting, most)
                self._waiting = self._unpack.unconsumed_tail
                if piece or self._unpack.eof:
                    return piece
                if not self._waiting:
                    self._waiting = self._raw(_CHUNK)
                    if not self._waiting:
                        return b""
        except zlib.error as error:
            raise ValueError("not packed by zlib") from error

    def _raw(self, count: int) -> bytes:
        found = self._stream.read(min(count, self._left))
        self._left -= len(found)
        return found


def _exactly(data: bytes, count: int) -> bytes:
    if len(data) != count:
        raise ValueError("cut")
    return data
