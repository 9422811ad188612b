"""metrics.jsonl as columns: the nested rows of a run made flat, for tables and for scalars over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = dict[str, NDArray[Any]]


class History(NamedTuple):
    """Columns by name, all of one length, as `pandas.DataFrame` takes them. What is unknown in a row is NaN.

    A column that no row has a value for is left out (`ari_A` without labels, `acceptance_A->B` where nobody speaks).
    """

    epochs: Table  # a row an epoch and agent: round, agent, epoch (from 1), loss, reconstruction, kl (nats an object)
    sweeps: Table  # a row a sweep: round, sweep (from 1), ari_A, kappa, acceptance_A->B, log_joint (nats) and more


def history_of(rows: Sequence[Mapping[str, Any]]) -> History:
    """The rows of `RunFolder.read_metrics` by kind."""
    return History(*(_columns([row for row in rows if row.get("kind") == kind]) for kind in ("epoch", "sweep")))


def entries(row: Mapping[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """What a row says: quantity, of whom (an agent, a direction such as "A->B", or None), value."""
    for key, value in row.items():
        if key == "agents" and isinstance(value, Mapping):
            for who, own in value.items():
                if isinstance(own, Mapping):
                    yield from ((quantity, who, number) for quantity, number in own.items())
        elif isinstance(value, Mapping):
            yield from ((key, who, number) for who, number in value.items())
        else:
            yield key, None, value


def _columns(rows: Sequence[Mapping[str, Any]]) -> Table:
    flat = [
        {key if who is None else f"{key}_{who}": value for key, who, value in entries(row) if key != "kind"}
        for row in rows
    ]
    names = dict.fromkeys(name for row in flat for name, value in row.items() if value is not None)
    return {name: _column([row.get(name) for row in flat]) for name in names}


def _column(values: Sequence[Any]) -> NDArray[Any]:
    return np.array([np.nan if value is None else value for value in values])
