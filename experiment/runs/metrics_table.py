"""metrics.jsonl as tables: nested rows flattened to columns, for data frames and for scalars over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = dict[str, NDArray[Any]]


class History(NamedTuple):
    """Two tables, as arrays by column name for `pandas.DataFrame`. Missing values are NaN.

    Columns without any value are left out, such as `ari_A` without labels or `acceptance_A->B` without communication.
    """

    epochs: Table  # row per epoch and agent: round, agent, epoch (from 1), loss, reconstruction, kl (nats per object)
    sweeps: Table  # row per sweep: round, sweep (from 1), ari_A, kappa, acceptance_A->B, log_joint (nats) and more


def history_of(rows: Sequence[Mapping[str, Any]]) -> History:
    """Split the rows of `RunFolder.read_metrics` into tables of epochs and sweeps."""
    return History(*(_columns([row for row in rows if row.get("kind") == kind]) for kind in ("epoch", "sweep")))


def entries(row: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Entries of a row: quantity, source (an agent, a direction such as "A->B", or None), value."""
    for key, value in row.items():
        if key == "agents" and isinstance(value, Mapping):
            for agent, scores in value.items():
                if isinstance(scores, Mapping):
                    yield from ((quantity, agent, number) for quantity, number in scores.items())
        elif isinstance(value, Mapping):
            yield from ((key, source, number) for source, number in value.items())
        else:
            yield key, None, value


def _columns(rows: Sequence[Mapping[str, Any]]) -> Table:
    flat = [
        {key if source is None else f"{key}_{source}": value for key, source, value in entries(row) if key != "kind"}
        for row in rows
    ]
    names = dict.fromkeys(name for row in flat for name, value in row.items() if value is not None)
    return {name: _column([row.get(name) for row in flat]) for name in names}


def _column(values: Sequence[Any]) -> NDArray[Any]:
    return np.array([np.nan if value is None else value for value in values])
