"""Read image files with Pillow as arrays in [0, 1].

The image size is checked before decoding, because a few kilobytes can decode to gigabytes. Formats that Pillow passes
to other programs (EPS), or that hold more than an image, are not tried.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.util.paths import check_regular

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
MAX_PIXELS = 25_000_000

# Limits the black padding that `resize` adds: a line of 1 x 25,000,000 pixels would become a huge square.
LONGEST_SIDE = 10_000

_PHOTOMETRIC = 262  # TIFF tag; 0: white is zero
_DEEPEST = 65535
# Rounding error of pixels in [0, 1]
_TOLERANCE = 1e-5
# Largest difference between the channels of a grey pixel
_GREY_TOLERANCE = 0.1
# Grey levels between neighbours, by Pillow's raw mode
_GREY_STEPS = {"L;2": 85, "L;4": 17}

# Suppresses Pillow's log of a damaged file; the error message is enough.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


def read_image(file: Path, flag: str = "--images", many: list[Path] | None = None) -> NDArray[np.float32]:
    """Read the first frame of `file`: (1, h, w) if it is grey, else (3, h, w).

    The EXIF orientation is applied, and transparent pixels become black. many: receives the file if it has more
    frames. Raises UsageError that names the file: not an image, damaged or too large.
    """
    from PIL import Image, ImageOps

    check_regular(file, f"{flag} {file}")
    try:
        with warnings.catch_warnings():
            # Pillow warns at a lower size limit, and about odd metadata in readable images.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as opened:
                check_size(f"{flag} {file}", opened.width, opened.height)
                white_is_zero = opened.format == "TIFF" and opened.getexif().get(_PHOTOMETRIC) == 0
                if "transparency" in opened.info:
                    opened.info["transparency"] = _as_decoded(opened.info["transparency"], opened.tile)
                array = _array(ImageOps.exif_transpose(opened), f"{flag} {file}", white_is_zero=white_is_zero)
                if many is not None and _has_more_frames(opened):
                    many.append(file)
                return array
    except Image.DecompressionBombError as error:
        raise UsageError(f"{flag} {file} has more than {MAX_PIXELS:,} pixels") from error
    except UsageError:
        raise
    except Exception as error:
        # For damaged files, Pillow raises many types, from SyntaxError to struct.error.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an image, or damaged"
        raise UsageError(f"{flag} {file} cannot be read: {reason}") from error


def longest_side(file: Path, flag: str = "--images") -> int:
    """The longer side of the image in `file`, in pixels, from its header. Raises UsageError that names the file."""
    from PIL import Image

    check_regular(file, f"{flag} {file}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=_FORMATS) as opened:
                return max(opened.size)
    except Exception:  # `read_image` says what is wrong
        return max(read_image(file, flag).shape[1:])


def has_colour(image: NDArray[np.float32]) -> bool:
    """Whether an image (C, h, w) has a pixel that is not grey; JPEG files of grey images deviate a little."""
    return len(image) == 3 and bool((image.max(0) - image.min(0)).max() > _GREY_TOLERANCE)


def check_size(place: str, width: int, height: int) -> None:
    """Raise UsageError if an image is too large to decode."""
    if width * height > MAX_PIXELS or max(width, height) > LONGEST_SIDE:
        raise UsageError(
            f"{place}: the image is {width} x {height}; expected at most {MAX_PIXELS:,} pixels and "
            f"{LONGEST_SIDE:,} on a side"
        )


def _has_more_frames(image: Any) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _as_decoded(transparency: Any, tile: Sequence[Any]) -> Any:
    """The transparent grey or colour of a PNG as Pillow decodes the pixels; tRNS holds it in the depth of the file."""
    raw = tile[0][3] if tile else None
    if raw in _GREY_STEPS and isinstance(transparency, int):
        return transparency * _GREY_STEPS[raw]
    if raw == "RGB;16B" and isinstance(transparency, tuple):
        return tuple(value >> 8 for value in transparency)
    return transparency


def clip_to_unit(place: str, values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Values in [0, 1] as float32; a value up to 1e-5 outside is a rounding error and is clipped.

    Raises UsageError with `place`, the first other value, and the range.
    """
    wrong = ~((values >= -_TOLERANCE) & (values <= 1 + _TOLERANCE))  # NaN is in no interval
    if wrong.any():
        value, finite = values[wrong][0], values[np.isfinite(values)]
        extent = f"; the finite values lie between {finite.min()} and {finite.max()}" if finite.size else ""
        hint = "; uint8 may go to 255" if value > 1 else ""
        raise UsageError(f"{place} has {value}{extent}; floats must lie in [0, 1]{hint}")
    return np.clip(values.astype(np.float32), 0, 1)


def _array(image: object, place: str, *, white_is_zero: bool) -> NDArray[np.float32]:
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode.startswith(("I", "F")):
        # 16-bit grey: Pillow's conversion to 8 bits would clip at 255, and ignore the transparent grey. Pillow inverts
        # images with white as 0 only up to 8 bits.
        deep = np.asarray(image, dtype=np.float64)
        if image.mode == "F":
            grey_levels = clip_to_unit(f"{place}: the image", deep)
        elif deep.min() >= 0 and deep.max() <= _DEEPEST:
            grey_levels = (deep / _DEEPEST).astype(np.float32)
        else:
            raise UsageError(
                f"{place}: pixel values are {deep.min():.9g} to {deep.max():.9g}; expected 0 to {_DEEPEST}"
            )
        if white_is_zero:
            grey_levels = 1 - grey_levels
        return np.where(deep == image.info.get("transparency"), np.float32(0), grey_levels)[None]
    grey = image.mode in ("1", "L", "LA")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    array = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float32) / np.float32(255)
    return array[None] if grey else np.ascontiguousarray(array.transpose(2, 0, 1))
