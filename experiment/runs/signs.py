"""signs.npz, read and checked: the sign of every agent for every object at the end of a run.

Imports numpy but not torch, for commands that load no agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FinalSigns:
    """Signs of N objects, with their indices in the data set and their labels (indices of the class names).

    round: the round that ends with these signs; None in files of older versions.
    """

    index: Ints  # (N,)
    labels: Ints | None  # (N,)
    signs: dict[str, Ints]  # by agent: (N,), 0..K-1
    round: int | None = None


def read_signs(folder: RunFolder, names: Sequence[str], K: int) -> FinalSigns:
    """Read the final signs of the agents `names`. Raises UsageError if the file is missing or damaged."""
    file = folder.result(run_folder.SIGNS)
    arrays = folder.read_npz(run_folder.SIGNS)
    index = arrays.get("index")
    if index is None or index.ndim != 1 or index.dtype.kind not in "iu":
        raise UsageError(f"{file} is damaged: index must hold one integer per object")
    labels = arrays.get("label")
    if labels is not None and (labels.shape != index.shape or labels.dtype.kind not in "iu" or (labels < 0).any()):
        raise UsageError(f"{file} is damaged: label must hold one integer from 0 per object")
    signs = {name: _check_signs(arrays.get(f"signs_{name}"), name, len(index), K, str(file)) for name in names}
    round = arrays.get("round")
    if round is not None and (round.shape != () or round.dtype.kind not in "iu"):
        raise UsageError(f"{file} is damaged: round must be one integer")
    return FinalSigns(
        index.astype(np.int64),
        None if labels is None else labels.astype(np.int64),
        signs,
        None if round is None else int(round),
    )


def _check_signs(signs: NDArray[Any] | None, name: str, N: int, K: int, file: str) -> Ints:
    if signs is None or signs.shape != (N,) or signs.dtype.kind not in "iu" or not ((signs >= 0) & (signs < K)).all():
        raise UsageError(f"{file} is damaged: signs_{name} must hold {N} signs from 0 to {K - 1}")
    return signs.astype(np.int64)
