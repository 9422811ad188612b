"""Turntable pictures: for an object that rotates in front of a camera, the picture J places further on.

    Training/Apple Braeburn 1/0_100.jpg, 1_100.jpg, ..., 327_100.jpg     a folder per object, a file per picture
    Training/Apple Braeburn 1/r_0_100.jpg, r2_0_100.jpg, ...             the same object, rotated about other axes

This is the layout of Fruits 360. Pictures in one folder with the same prefix (r_, r2_, ... or none) form a circle.
They are ordered by the numbers in their names, 2 before 10, and the first follows the last. Absent pictures are
skipped: Fruits 360 keeps about every fourth for Test/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError

_AXIS = re.compile(r"r[0-9]*_(?=[0-9])")
_NUMBERS = re.compile(r"([0-9]+)")


def indices_ahead(files: Sequence[str], places: int, source: str) -> NDArray[np.int64]:
    """For every file, the index of the file `places` further on in its circle: (N,).

    files: relative names with suffix, / between folders. Raises UsageError that names `source` if every index is that
    of the file itself.
    """
    circles: dict[tuple[str, str], list[int]] = {}
    for n, file in enumerate(files):
        folder, _, name = file.rpartition("/")
        axis = _AXIS.match(name)
        circles.setdefault((folder, axis.group() if axis else ""), []).append(n)
    indices = np.empty(len(files), dtype=np.int64)
    for circle in circles.values():
        circle.sort(key=lambda n: _natural_key(files[n]))
        indices[circle] = np.roll(circle, -places)
    if (indices == np.arange(len(files))).all():
        longest = max(map(len, circles.values()))
        raise UsageError(
            f"--views ahead:{places} maps every picture of {source} to itself; its longest circle has {longest}"
        )
    return indices


def _natural_key(file: str) -> tuple[list[int | bytes], bytes]:
    """Sort key: numbers by value. Ties, such as 1 and 01, by bytes."""
    stem = file.rpartition("/")[2].rpartition(".")[0]
    # `split` alternates text and numbers and begins with text, so a number is never compared with text.
    parts = [int(part) if odd % 2 else os.fsencode(part) for odd, part in enumerate(_NUMBERS.split(stem))]
    return parts, os.fsencode(file)
