"""What a reader of a data set gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# The parts of a data set that comes as files: what runs learn from, and what is held out.
TRAIN = "train"
TEST = "test"


class Source(NamedTuple):
    """All objects of a data set, in its own order.

    images: (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; labels: int64 (N,), indices into class_names, or None.
    further: of pictures of things that turn, those that stand so many places further on (`mhng.experiment.data.turning`).
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    further: Callable[[int], np.ndarray] | None = None
