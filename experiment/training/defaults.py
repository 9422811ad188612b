"""Defaults that follow the data: settings that are not given are chosen once, from the objects.

    likelihood      features: identity; gaussian with a setting of the VAE, several modalities, or many features
                    (but attributes:AxV)
                    grey images: bernoulli if most pixels are near 0 or 1, else gaussian
                    colour images: gaussian
    network         mlp
    latent-dim      12; the number of features with identity
    image-size      image folders: the longest side, at most 32
    channels        image folders: 3 if any image has colour, else 1
    batch-size      a power of two near N / 40, from 16 to 128
    epochs          at least 3,200 steps, or 1,000 for colour images; from 80 to 250
    round-epochs    at least 40 steps

The choice becomes part of the settings of the run, so config.toml holds plain values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from mhng.experiment.data import combinations
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom import image_folder
from mhng.experiment.data.modalities import is_present
from mhng.experiment.data.objects import Objects
from mhng.experiment.settings.parsing import plain_value
from mhng.experiment.settings.schema import SETTINGS, WITHOUT_EFFECT, Config, flag
from mhng.models.plugins import is_plugin
from mhng.models.registry import resolve

# Most features that are used as latents (identity). The cost of covariances is quadratic in their number.
MOST_OBSERVED = 64
# An image is nearly binary if this share of its pixels is within 0.1 of 0 or 1.
BINARY_SHARE = 0.75
# The largest image size that is chosen for a folder of larger images
LARGEST_IMAGE = 32
LATENT_DIM = 12
STEPS, ROUND_STEPS = 3_200, 40
# Longer learning of few colour images shrinks the learned noise. Latents then spread over details that do not separate
# classes (docs/notes.md).
COLOUR_STEPS = 1_000
LEAST_EPOCHS, MOST_EPOCHS = 80, 250
LEAST_BATCH, MOST_BATCH = 16, 128
# Pixels of at most this many objects decide the likelihood.
_SAMPLE = 2_000

Reasons = dict[str, str]


def choose_images(config: Config) -> tuple[Config, Reasons]:
    """Choose size and channels of the images of a folder, where they are not given. Raises UsageError."""
    if config.dataset != "folder" or None not in (config.image_size, config.channels):
        return config, {}
    folders = [path for entry in config.data or () for path in custom_dataset.paths(entry)]
    found = image_folder.look(folders)
    chosen: dict[str, Any] = {}
    reasons = {}
    if config.image_size is None:
        limits = SETTINGS["image_size"].limits
        assert limits.least is not None
        chosen["image_size"] = max(int(limits.least), min(LARGEST_IMAGE, found.side))
        reasons["image_size"] = f"the longest side is {found.side} pixels"
    if config.channels is None:
        chosen["channels"] = 3 if found.colour else 1
        reasons["channels"] = "colour images" if found.colour else "grey images"
    return replace(config, **chosen), reasons


def choose(config: Config, objects: Objects) -> tuple[Config, Reasons]:
    """Choose the settings that are not given, from unscaled objects. Returns the settings, and the reasons by field.

    Settings without effect get the value of `WITHOUT_EFFECT`, without a reason.
    """
    chosen: dict[str, Any] = {name: value for name, value in WITHOUT_EFFECT.items() if getattr(config, name) is None}
    config, reasons = _with_likelihoods(config, objects)
    learns = any(settings.likelihood != "identity" for settings in config.per_agent.values())
    if config.latent_dim is None:
        chosen["latent_dim"] = LATENT_DIM
    if config.batch_size is None:
        chosen["batch_size"] = batch_size(objects.count)
    size = config.batch_size or chosen["batch_size"]
    steps = math.ceil(objects.count / size)
    least = COLOUR_STEPS if any(view.dim() == 4 and view.shape[1] > 1 for view in objects.views) else STEPS
    lengths = {
        "epochs": min(max(LEAST_EPOCHS, math.ceil(least / steps)), MOST_EPOCHS),
        "round_epochs": math.ceil(ROUND_STEPS / steps),
    }
    chosen |= {name: value for name, value in lengths.items() if getattr(config, name) is None}
    if learns:
        why = f"{objects.count:,} objects, {steps:,} step{'s' if steps > 1 else ''} per epoch"
        reasons |= {name: why for name in ("batch_size", *lengths) if getattr(config, name) is None}
    return replace(config, **chosen), reasons


def batch_size(count: int) -> int:
    """The power of two nearest to N / 40 on a logarithmic scale, from 16 to 128."""
    return min(max(LEAST_BATCH, 2 ** max(0, round(math.log2(count / 40)))), MOST_BATCH)


def _with_likelihoods(config: Config, objects: Objects) -> tuple[Config, Reasons]:
    """Choose the likelihood of each agent without one. Agents unlike the first get a setting of their own."""
    pixels = _binary_share(objects)
    picks = {
        name: _likelihood(config, settings, [
            view for agent, view in zip(objects.view_agents, objects.views, strict=True) if agent == m
        ], pixels)
        for m, (name, settings) in enumerate(config.per_agent.items())
        if settings.likelihood is None
    }  # fmt: skip
    if not picks:
        if config.likelihood is None:  # every agent has a setting of its own
            first = next(iter(config.per_agent.values()))
            return replace(config, likelihood=first.likelihood), {}
        return config, {}
    likelihood = next(iter(picks.values()))[0]
    overrides = dict(config.agent)
    for name, (pick, _) in picks.items():
        if pick != likelihood:
            overrides[name] = tuple(sorted((*overrides.get(name, ()), ("likelihood", pick))))
    why = dict(picks.values())
    text = why.pop(likelihood)
    for pick, reason in why.items():
        others = [name for name, (other, _) in picks.items() if other == pick]
        text += f"; {pick} for agent{'s' if len(others) > 1 else ''} {', '.join(others)}: {reason}"
    return replace(config, likelihood=likelihood, agent=tuple(sorted(overrides.items()))), {"likelihood": text}


def _likelihood(config: Config, settings: Config, views: list[torch.Tensor], pixels: float | None) -> tuple[str, str]:
    """The likelihood of an agent with these views, one per modality, and the reason."""
    if not is_plugin(settings.mixture) and resolve("mixture", settings.mixture).input_support != "real":
        return "identity", f"required by {flag('mixture')} {settings.mixture}"
    images = [view.dim() == 4 for view in views]
    if all(images):
        if any(view.shape[1] > 1 for view in views):
            return "gaussian", "colour images"
        assert pixels is not None
        share = f"{pixels:.0%} of the pixels are near 0 or 1"
        return ("bernoulli" if pixels >= BINARY_SHARE else "gaussian"), share
    if any(images):
        return "gaussian", "images and features"
    if len(views) > 1:
        return "gaussian", "several modalities"
    for name in ("network", "latent_dim", "guide", "percept"):
        if getattr(settings, name) != SETTINGS[name].default:
            return "gaussian", f"features, with {flag(name)}"
    D = views[0].shape[1] if config.reduce is None else min(config.reduce, views[0].shape[1])
    if D > MOST_OBSERVED and combinations.ATTRIBUTES.fullmatch(config.dataset) is None:  # one-hots are sums already
        return "gaussian", f"{D} features, more than {MOST_OBSERVED}"
    return "identity", f"{D} feature{'s' if D > 1 else ''}"


def _binary_share(objects: Objects) -> float | None:
    """The share of pixels within 0.1 of 0 or 1, in the images of all agents; None without images."""
    near = total = 0
    for view in {id(view): view for view in objects.views if view.dim() == 4}.values():
        sample = view[:: math.ceil(len(view) / _SAMPLE)]
        sample = sample[is_present(sample)]
        near += int(((sample < 0.1) | (sample > 0.9)).sum())
        total += sample.numel()
    return near / total if total else None


def describe(config: Config, reasons: Mapping[str, str]) -> list[str]:
    """One line for each reason: the settings that it decided, with their values."""
    lines = []
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name in reasons if reasons[name] == reason]
        values = ", ".join(f"{name.replace('_', ' ')} {_text(plain_value(getattr(config, name)))}" for name in names)
        lines.append(f"Chosen: {values} ({reason})")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
