"""Image files of every depth: white as 0, transparent greys and colours, and numbers beside [0, 1]."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhng.experiment.data.custom.image_arrays import to_unit_floats
from mhng.experiment.data.images import read_image
from mhng.experiment.errors import UsageError

GREY = np.array([[0, 50, 255]], np.uint8)


def tiff(file: Path, pixels: np.ndarray, photometric: int) -> Path:
    """An uncompressed grey TIFF of one strip, written by hand: Pillow writes white as 0 for no deep image."""
    bits, kind = 8 * pixels.itemsize, 3 if pixels.dtype.kind == "f" else 1
    entries = [
        (256, 3, pixels.shape[1]), (257, 3, pixels.shape[0]), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, pixels.shape[0]), (279, 4, pixels.nbytes), (339, 3, kind),
    ]  # fmt: skip
    table = b"".join(
        struct.pack("<HHI", tag, form, 1) + struct.pack("<H2x" if form == 3 else "<I", value)
        for tag, form, value in entries
    )
    head = struct.pack("<2sHI", b"II", 42, 8 + pixels.nbytes)
    little = pixels.astype(pixels.dtype.newbyteorder("<"))
    file.write_bytes(head + little.tobytes() + struct.pack("<H", len(entries)) + table + bytes(4))
    return file


def png(file: Path, depth: int, colour: int, row: bytes, width: int, transparent: bytes) -> Path:
    """A PNG of one row with a tRNS chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return file


@pytest.mark.parametrize(
    ("pixels", "most"), [(GREY, 255), (GREY.astype(np.uint16) * 257, 65535), ((GREY / 255).astype(np.float32), 1)]
)
def test_white_as_zero_is_inverted_at_every_depth(pixels: np.ndarray, most: int, tmp_path: Path) -> None:
    black_is_zero = read_image(tiff(tmp_path / "b.tif", pixels, 1))
    white_is_zero = read_image(tiff(tmp_path / "w.tif", pixels, 0))
    np.testing.assert_allclose(black_is_zero, pixels[None] / most, atol=1e-6)
    np.testing.assert_allclose(white_is_zero, 1 - black_is_zero, atol=1e-6)


@pytest.mark.parametrize(
    ("depth", "colour", "row", "transparent"),
    [
        (1, 0, b"\x80", b"\0\1"),
        (2, 0, b"\xc0", b"\0\3"),
        (4, 0, b"\xf0", b"\0\x0f"),
        (8, 0, b"\xff\0", b"\0\xff"),
        (16, 0, b"\xff\xff\0\0", b"\xff\xff"),
        (8, 2, b"\xff\xff\xff\0\0\0", b"\0\xff" * 3),
        (16, 2, b"\x12\x34" * 3 + bytes(6), b"\x12\x34" * 3),
    ],
)
def test_a_transparent_colour_is_black_at_every_depth(
    depth: int, colour: int, row: bytes, transparent: bytes, tmp_path: Path
) -> None:
    assert not read_image(png(tmp_path / "a.png", depth, colour, row, 2, transparent)).any()
    other = bytes([transparent[0], transparent[1] - 1])
    opaque = png(tmp_path / "b.png", depth, colour, row, 2, other * (len(transparent) // 2))
    assert (depth == 16 and colour == 2) or read_image(opaque)[:, 0, 0].min() == 1


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_beside_the_unit_interval_by_rounding_are_clipped(dtype: str) -> None:
    images = np.full((2, 1, 2, 2), 0.5, dtype)
    images[1, 0, 0] = np.array([1 + 1e-6, -1e-6], dtype)
    result = to_unit_floats("here", images, 0, True)
    assert result.dtype == np.float32 and (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.0001, r"images\[8\] has 1.0001; the finite values lie between 0.5 and 1.0001; floats must .*uint8"),
        (
            -0.001,
            r"images\[8\] has -0.001; the finite values lie between -0.001 and 0.5; floats must lie in \[0, 1\]$",
        ),
        (np.nan, r"images\[8\] has nan; the finite values lie between 0.5 and 0.5"),
    ],
)
def test_other_floats_are_refused_with_their_digits(value: float, said: str, tmp_path: Path) -> None:
    images = np.full((2, 1, 2, 2), 0.5)
    images[1, 0, 1, 1] = value
    with pytest.raises(UsageError, match=f"^here: {said}"):
        to_unit_floats("here", images, 7, True)
    file = tmp_path / "own.tif"
    Image.fromarray(images[1, 0].astype(np.float32)).save(file)
    with pytest.raises(UsageError, match=r"own\.tif: the image has "):
        read_image(file)


def test_an_image_of_rounded_floats_is_read(tmp_path: Path) -> None:
    pixels: Any = np.array([[0, 1.000001]], np.float32)
    assert read_image(tiff(tmp_path / "own.tif", pixels, 1)).max() == 1
