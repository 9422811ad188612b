"""signs.npz, read and checked: every agent's sign for each object at the end of a run.

numpy alone is imported: what needs no agent need not wait for torch.
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
    """Of N objects: where each stands in its data set, its label (an index of the class names), its signs."""

    index: Ints  # (N,)
    labels: Ints | None  # (N,)
    signs: dict[str, Ints]  # of each agent: (N,), 0..K-1


def read_signs(folder: RunFolder, names: Sequence[str], K: int) -> FinalSigns:
    """The final signs of the run's agents; a `UsageError` names the file if it is not there yet or damaged."""
    file = folder.result(run_folder.SIGNS)
    arrays = folder.read_npz(run_folder.SIGNS)
    index = arrays.get("index")
    if index is None or index.ndim != 1 or index.dtype.kind not in "iu":
        raise UsageError(f"{file} is damaged: index must be one whole number an object")
    labels = arrays.get("label")
    if labels is not None and (labels.shape != index.shape or labels.dtype.kind not in "iu" or (labels < 0).any()):
        raise UsageError(f"{file} is damaged: label must be one whole number from 0 an object")
    signs = {name: _checked(arrays.get(f"signs_{name}"), name, len(index), K, str(file)) for name in names}
    return FinalSigns(index.astype(np.int64), None if labels is None else labels.astype(np.int64), signs)


def _checked(own: NDArray[Any] | None, name: str, N: int, K: int, file: str) -> Ints:
    if own is None or own.shape != (N,) or own.dtype.kind not in "iu" or not ((own >= 0) & (own < K)).all():
        raise UsageError(f"{file} is damaged: signs_{name} must be {N} signs from 0 to {K - 1}")
    return own.astype(np.int64)
