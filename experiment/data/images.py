"""Read image files with Pillow as arrays in [0, 1].

The image size is checked before decoding, because a few kilobytes can decode to gigabytes. Formats that Pillow passes
to other programs (EPS), or that hold more than an image, are not tried.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
MAX_PIXELS = 25_000_000

# Limits the black padding that `resize` adds: a line of 1 x 25,000,000 pixels would become a huge square.
LONGEST_SIDE = 10_000

# Suppresses Pillow's log of a damaged file; the error message is enough.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


def read_image(file: Path, flag: str = "--images") -> NDArray[np.float32]:
    """Read the first frame of `file`: (1, h, w) if it is grey, else (3, h, w).

    The EXIF orientation is applied, and transparent pixels become black. Raises UsageError that names the file: not an
    image, damaged or too large.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Pillow warns at a lower size limit, and about odd metadata in readable images.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as opened:
                check_size(f"{flag} {file}", opened.width, opened.height)
                return _array(ImageOps.exif_transpose(opened), f"{flag} {file}")
    except Image.DecompressionBombError as error:
        raise UsageError(f"{flag} {file} has more than {MAX_PIXELS:,} pixels") from error
    except UsageError:
        raise
    except Exception as error:
        # For damaged files, Pillow raises many types, from SyntaxError to struct.error.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an image, or damaged"
        raise UsageError(f"{flag} {file} cannot be read: {reason}") from error


def check_size(place: str, width: int, height: int) -> None:
    """Raise UsageError if an image is too large to decode."""
    if width * height > MAX_PIXELS or max(width, height) > LONGEST_SIDE:
        raise UsageError(
            f"{place}: the image is {width} x {height}; expected at most {MAX_PIXELS:,} pixels and "
            f"{LONGEST_SIDE:,} on a side"
        )


def _array(image: object, place: str) -> NDArray[np.float32]:
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode.startswith(("I", "F")):
        # 16-bit grey: Pillow's conversion to 8 bits would clip at 255.
        deep = np.asarray(image, dtype=np.float64)
        most = 1.0 if image.mode == "F" else 65535.0
        if not (np.isfinite(deep).all() and deep.min() >= 0 and deep.max() <= most):
            raise UsageError(f"{place}: pixel values are {deep.min():g} to {deep.max():g}; expected 0 to {most:g}")
        return (deep / most).astype(np.float32)[None]
    grey = image.mode in ("1", "L", "LA")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / np.float32(255)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
