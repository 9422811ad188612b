"""The agent whose place a person takes: for bots, and for the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.people.design import Design
from mhng.experiment.people.partner import load_state

PERSON = "person.pt"


@dataclass(frozen=True, eq=False)
class PersonSide:
    """The agent that a person stands in for: features (N, D) or None, log pi and log L (N, K)."""

    features: NDArray[np.float64] | None
    log_prior: NDArray[np.float64]
    table: NDArray[np.float64]


def read_person(path: Path, design: Design) -> PersonSide:
    """Read person.pt. Raises UsageError."""
    file = path / PERSON
    state: dict[str, Any] = load_state(file)
    try:
        features = None if state["features"] is None else state["features"].double().numpy()
        prior, table = (state[name].double().numpy() for name in ("log_prior", "table"))
        shapes = {prior.shape, table.shape}
        if shapes != {(design.objects, design.signs)} or (features is not None and len(features) != design.objects):
            raise ValueError("shapes")
        if not np.isfinite(table).all():
            raise ValueError("values")
    except Exception as error:  # values may be missing, or of any type
        raise UsageError(f"{file} is damaged, or not that of this study") from error
    return PersonSide(features, prior, table)
