"""Pictures of things that turn in front of a camera, as Fruits 360 has them: which picture comes so many further on.

    Training/Apple Braeburn 1/0_100.jpg, 1_100.jpg, ..., 327_100.jpg     a folder for each thing, a file for a picture
    Training/Apple Braeburn 1/r_0_100.jpg, r2_0_100.jpg, ...             the same thing, turned about other axes

The pictures in one folder whose names begin alike, with r_, r2_, ... or none of these, are a circle: they are put in
order by the numbers in their names, 2 before 10, and the first follows the last. Pictures that a folder does not have
(Fruits 360 keeps each fourth or so for Test/) are not counted: what comes next is the next that is there.
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
    """For each file the index of the one that stands so many `places` further on in its circle: (N,).

    files: relative names, with / between folders and with their suffixes. UsageError naming their `source` if all
    agents would see the same.
    """
    circles: dict[tuple[str, str], list[int]] = {}
    for n, file in enumerate(files):
        folder, _, name = file.rpartition("/")
        axis = _AXIS.match(name)
        circles.setdefault((folder, axis.group() if axis else ""), []).append(n)
    found = np.empty(len(files), dtype=np.int64)
    for circle in circles.values():
        circle.sort(key=lambda n: _natural(files[n]))
        found[circle] = np.roll(circle, -places)
    if (found == np.arange(len(files))).all():
        longest = max(map(len, circles.values()))
        raise UsageError(
            f"--views: ahead:{places} leads every picture of {source} around to itself; its longest "
            f"circle has {longest}"
        )
    return found


def _natural(file: str) -> tuple[list[int | bytes], bytes]:
    """Sorts as people count. Of 1 and 01, which are one number, the bytes decide."""
    stem = file.rpartition("/")[2].rpartition(".")[0]
    # Text and numbers take turns, and the first is text, so that no number is ever compared with a text.
    parts = [int(part) if odd % 2 else os.fsencode(part) for odd, part in enumerate(_NUMBERS.split(stem))]
    return parts, os.fsencode(file)
