"""A game's trace, made up: what the tests of traces, files, diagnoses and pictures share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhng.experiment.runs.trace import RoundTrace


def trace(C: int = 3, T: int = 40, M: int = 2, N: int = 12, K: int = 4, seed: int = 0, **changes: Any) -> RoundTrace:
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "signs": rng.integers(0, K, (C, T, M, N)),
        "accepted": rng.integers(0, N + 1, (C, T, M)),
        "log_joint": -100 + rng.normal(size=(C, T)),
        "log_evidence": -90 + rng.normal(size=(C, T)),
        "log_p_z": -50 + np.random.default_rng(seed + 1).normal(size=(C, T, M)),
        "log_p_phi": -5 + np.random.default_rng(seed + 2).normal(size=(C, T, M)),
        "agent_names": tuple("ABCDEFGH"[:M]),
        "signs_count": K,
        "means": rng.normal(size=(C, T, M, K, 3)),
        "mode": "com",
    }
    return RoundTrace(**fields | changes)


def assert_rows_agree(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Two `summary`s of the same numbers, up to rounding."""
    assert one["quantities"].keys() == other["quantities"].keys()
    for name, row in one["quantities"].items():
        for key, value in row.items():
            found = other["quantities"][name][key]
            assert found == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), (name, key)
