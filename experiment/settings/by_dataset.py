"""Defaults of single data sets, where they differ from those of the schema. docs/notes.md has the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mhng.experiment.data.views import parse_view
from mhng.experiment.settings.schema import SETTINGS, Config

# A noise of 0.5 gives latents a KL of 22 nats, about that of digits; a learned one is smaller, with 44 nats.
_FRUITS: dict[str, Any] = {
    "views": (parse_view(0.0), parse_view(25.0)), "likelihood": "gaussian-fixed", "noise": 0.5, "batch_size": 64,
    "epochs": 30, "rounds": 5,
}  # fmt: skip
BY_DATASET: Mapping[str, Mapping[str, Any]] = {
    "mnist5k": {"rounds": 60}, "fruits360": _FRUITS, "fruits360-20": _FRUITS | {"signs": 20},
}  # fmt: skip


def defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the data set in `values`, for settings that are not in `values`; none for a game of programs."""
    if values.get("program") is not None:
        return {}
    dataset = values.get("dataset", SETTINGS["dataset"].default)
    chosen = {name: value for name, value in BY_DATASET.get(dataset, {}).items() if name not in values}
    if values.get("agents", 2) != 2:
        chosen.pop("views", None)
    if "likelihood" in values:
        chosen.pop("noise", None)
    return chosen


def defaults_of(config: Config) -> dict[str, Any]:
    """The defaults of the data set of `config`, for its settings that are flags."""
    values = {"dataset": config.dataset, "agents": config.agents, "program": config.program}
    result = defaults(values)
    return (
        result
        if config.likelihood == result.get("likelihood")
        else defaults(values | {"likelihood": config.likelihood})
    )
