"""Images in an .npz file, read a few at a time: `images`, and `labels` if it has them.

`images` is (N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1 or 3, uint8 or floats in [0, 1]. If a shape fits both
orders, channels come first. `labels` is (N,): indices of the run's classes or, for a run on data of the user, their
names.

Headers are read first, and the bytes are streamed. So a large file does not fill the memory, and neither does a small
file that unpacks to a large one. No pickle is executed.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.images import check_size, clip_to_unit
from mhng.experiment.data.labels import encode_labels, labels_key, read_labels
from mhng.experiment.errors import UsageError
from mhng.experiment.util import npz

_CHANNELS = (1, 3)
# Largest size in bytes of an array in an order that does not allow streaming, and of labels
_MOST_WHOLE = 2**30
# Size of a chunk in bytes
_CHUNK = 2**26


def channels_first(place: str, shape: tuple[int, ...], dtype: np.dtype, name: str = "images") -> bool:
    """Whether channels come first in images of this shape. Raises UsageError naming `place` and `name`."""
    if dtype != np.uint8 and dtype.kind != "f":
        raise UsageError(f"{place}: {name} must be uint8, or floats in [0, 1]; their dtype is {dtype}")
    kinds = {3: True, 4: len(shape) == 4 and shape[1] in _CHANNELS}
    last = len(shape) == 4 and shape[3] in _CHANNELS
    if len(shape) not in kinds or not (kinds[len(shape)] or last):
        raise UsageError(
            f"{place}: {name} must be (N, H, W), (N, C, H, W) or (N, H, W, C) with C = 1 or 3; their shape is {shape}"
        )
    if min(shape) < 1:
        raise UsageError(f"{place}: {name} is empty; its shape is {shape}")
    first = kinds[len(shape)]
    height, width = shape[-2:] if first else shape[1:3]
    check_size(place, width, height)
    return first


def to_unit_floats(
    place: str, part: NDArray, first: int, channels_first: bool, name: str = "images"
) -> NDArray[np.float32]:
    """Convert images (B, ...) to float32 (B, C, H, W) in [0, 1].

    first: index of the first image. Raises UsageError naming the index of an image with values outside [0, 1].
    """
    if part.ndim == 3:
        part = part[:, None]
    elif not channels_first:
        part = part.transpose(0, 3, 1, 2)
    if part.dtype == np.uint8:
        return part.astype(np.float32) / np.float32(255)
    outside = ~((part >= 0) & (part <= 1)).reshape(len(part), -1).all(1)
    for n in np.flatnonzero(outside):
        clip_to_unit(f"{place}: {name}[{first + n}]", part[n])
    return np.clip(part.astype(np.float32), 0, 1) if outside.any() else part.astype(np.float32)


def check_uint8(place: str, most: int, name: str = "images") -> None:
    """Raise UsageError for uint8 images whose largest value is 1: they are probably meant as floats in [0, 1]."""
    if most == 1:
        raise UsageError(
            f"{place}: {name} is uint8, where 255 is white, but no value is above 1; pass 0 and 255, or floats"
        )


class ImageArray:
    """Images of an .npz file. Opening it checks the header of the images, and the labels.

    classes: number of the run's classes, if labels are their indices; None if labels are class names. count: N.
    labels: int64 (N,), or None. class_names: the names of the labels if `classes` is None, else empty.
    """

    def __init__(self, file: Path, classes: int | None) -> None:
        self.file = file
        self.place = f"--images {file}"
        with npz.open_archive(self.file, self.place) as archive:
            self.header = npz.read_header(archive, "images", self.place)
            self.channels_first = self._check_images()
            self.count = self.header.shape[0]
            self.labels = None
            self.class_names: tuple[str, ...] = ()
            name = labels_key(archive)
            if name is not None:
                if classes is None:
                    found = read_labels(archive, name, self.count, self.place)
                    self.labels, self.class_names = encode_labels(f"{self.place}: {name}", found)
                else:
                    self.labels = self._labels(archive, name, classes)

    def chunks(self, limit: int) -> Iterator[NDArray[np.float32]]:
        """Yield the first `limit` images, (B, C, H, W) in [0, 1]. Raises UsageError with the index of a bad image."""
        shape, fortran, dtype = self.header
        size = math.prod(shape[1:])
        step = max(1, _CHUNK // max(size * 8, 1))
        with npz.open_archive(self.file, self.place) as archive, archive.open("images.npy") as stream:
            npz.parse_header(stream)
            if fortran:
                whole = npz.read_values(stream, math.prod(shape), dtype).reshape(shape, order="F")
            most = 0
            for first in range(0, limit, step):
                B = min(step, limit - first)
                part = (
                    whole[first : first + B]
                    if fortran
                    else npz.read_values(stream, B * size, dtype).reshape(B, *shape[1:])
                )
                yield to_unit_floats(self.place, part, first, self.channels_first)
                most = max(most, int(part.max())) if dtype == np.uint8 else 0
            check_uint8(self.place, most)

    # -- checks --------------------------------------------------------------------------------------

    def _check_images(self) -> bool:
        """Whether channels come first."""
        shape, fortran, dtype = self.header
        first = channels_first(self.place, shape, dtype)
        if fortran and math.prod(shape) * dtype.itemsize > _MOST_WHOLE:
            raise UsageError(
                f"{self.place}: images is in Fortran order and larger than 1 GiB; save numpy.ascontiguousarray(images)"
            )
        return first

    def _labels(self, archive: zipfile.ZipFile, name: str, classes: int) -> NDArray[np.int64]:
        shape, _, dtype = npz.read_header(archive, name, self.place)
        if dtype.kind not in "iu" or shape != (self.count,):
            raise UsageError(
                f"{self.place}: {name} must be {self.count} whole numbers, one per image; their dtype is {dtype} "
                f"and their shape {shape}"
            )
        if self.count * dtype.itemsize > _MOST_WHOLE:
            raise UsageError(f"{self.place}: {name} is larger than 1 GiB")
        with archive.open(f"{name}.npy") as stream:
            npz.parse_header(stream)
            labels = npz.read_values(stream, self.count, dtype)
        foreign = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(foreign):
            raise UsageError(
                f"{self.place}: {name} must be 0 to {classes - 1}, indices of the run's classes; "
                f"{name}[{foreign[0]}] is {labels[foreign[0]]}"
            )
        return labels.astype(np.int64)
