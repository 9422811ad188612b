"""Image files, read by Pillow as arrays in [0, 1]: one file, or those of a folder, sorted by name.

A file is opened, its size read and refused if it is too large, and only then decoded: a few kilobytes can stand for
gigabytes of pixels. Formats that Pillow hands to other programs (EPS) or that hold more than an image are not
tried.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
MOST_PIXELS = 25_000_000

# Nothing that an image is turned into is longer than this on a side before it is made small: the black that is
# added to a line of 1 x 25,000,000 pixels would be a bomb of our own.
LONGEST_SIDE = 10_000

# What Pillow logs of a damaged file would be printed beside the one line that we say of it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


def read_image(file: Path, flag: str = "--images") -> NDArray[np.float32]:
    """The first frame of `file`, turned as its EXIF says: (1, h, w) if it is grey, else (3, h, w); what is
    transparent lies on black. UsageError naming the file if it is no image, damaged or too large.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Pillow's own, softer bound, and its complaints about odd metadata of images that it can read
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as opened:
                check_size(f"{flag} {file}", opened.width, opened.height)
                return _array(ImageOps.exif_transpose(opened), f"{flag} {file}")
    except Image.DecompressionBombError as error:
        raise UsageError(f"{flag} {file} has more than {MOST_PIXELS:,} pixels") from error
    except UsageError:
        raise
    except Exception as error:
        # Readers of damaged files raise what they like, from SyntaxError to struct.error.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no image, or damaged"
        raise UsageError(f"{flag} {file} cannot be read: {reason}") from error


def check_size(place: str, width: int, height: int) -> None:
    """UsageError if an image is too large to be decoded."""
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise UsageError(
            f"{place}: an image may have {MOST_PIXELS:,} pixels and a side of {LONGEST_SIDE:,} at most; "
            f"this one is {width} x {height}"
        )


def _array(image: object, place: str) -> NDArray[np.float32]:
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode.startswith(("I", "F")):
        # 16 bits of grey: Pillow's own conversion to 8 would cut them off at 255.
        deep = np.asarray(image, dtype=np.float64)
        most = 1.0 if image.mode == "F" else 65535.0
        if not (np.isfinite(deep).all() and deep.min() >= 0 and deep.max() <= most):
            raise UsageError(
                f"{place}: numbers of an image must be 0 to {most:g}; they are {deep.min():g} to {deep.max():g}"
            )
        return (deep / most).astype(np.float32)[None]
    grey = image.mode in ("1", "L", "LA")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / np.float32(255)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
