"""Defaults of single data sets, where they differ from those of the schema. docs/notes.md has the comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mhng.experiment.data.views import parse_view
from mhng.experiment.settings.schema import SETTINGS, Config, Prior

# A noise of 0.5 gives latents a KL of 22 nats, about that of digits; a learned one is smaller, with 44 nats.
_FRUITS: dict[str, Any] = {
    "views": (parse_view(0.0), parse_view(25.0)), "likelihood": "gaussian-fixed", "noise": 0.5, "batch_size": 64,
    "epochs": 30, "rounds": 5,
}  # fmt: skip
# The latents of a linear network add up where pixels do. Seven components of sprites are sums over attributes; more
# latents show what is not a sum, and a wide prior covariance hides small differences between words.
_SPRITES: dict[str, Any] = {
    "limit": 2_000, "views": (parse_view(0.0), parse_view(20.0)), "likelihood": "gaussian-fixed", "noise": 0.2,
    "network": "linear", "latent_dim": 7, "jitter": 0.0, "batch_size": 64, "lr": 0.006, "epochs": 200, "rounds": 5,
    "prior": Prior("W=10", {"W": 10.0}), "starts": 12,
}  # fmt: skip
# Each digit has the same network and half of the latents, and each word its own covariance in the starts
# (docs/sentences.md).
_MNIST_NUMBERS: dict[str, Any] = {
    "limit": 3_000, "network": "patches", "latent_dim": 24, "epochs": 60, "rounds": 30, "start": "slots",
}  # fmt: skip
# Standardised pixels that hardly vary count as much as others; 24 whitened components are the strokes of two digits.
BY_DATASET: Mapping[str, Mapping[str, Any]] = {
    "fruits360": _FRUITS, "fruits360-20": _FRUITS | {"signs": 20},
    "numbers": {"limit": 3_000, "standardise": "no", "reduce": 24}, "sprites": _SPRITES,
    "mnist-numbers": _MNIST_NUMBERS,
}  # fmt: skip


def defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the data set in `values`, for settings that are not in `values`; none for a game of programs."""
    if values.get("program") is not None:
        return {}
    dataset = values.get("dataset", SETTINGS["dataset"].default)
    chosen = {name: value for name, value in BY_DATASET.get(dataset, {}).items() if name not in values}
    if values.get("agents", 2) != 2:
        chosen.pop("views", None)
    if "mixture" in values:
        chosen.pop("prior", None)
    if values.get("words", 1) == 1:
        chosen.pop("start", None)  # `slots` is for sentences
    if "likelihood" in values:
        chosen.pop("noise", None)
        if values["likelihood"] not in (None, "identity"):
            chosen.pop("reduce", None)  # a VAE learns from all pixels
    return chosen


def defaults_of(config: Config) -> dict[str, Any]:
    """The defaults of the data set of `config`, for its settings that are flags."""
    values = {"dataset": config.dataset, "agents": config.agents, "program": config.program, "words": config.words}
    result = defaults(values)
    return (
        result
        if config.likelihood == result.get("likelihood")
        else defaults(values | {"likelihood": config.likelihood})
    )


def reasons(config: Config) -> dict[str, str]:
    """Why settings of `config` have the values of `defaults_of`, by field name."""
    return {
        name: f"default of {config.dataset}"
        for name, value in defaults_of(config).items()
        if getattr(config, name) == value
    }
