"""Latents as images: by the decoder of an agent or, for features that are pixels, by linear regression.

Agents with --likelihood identity have no decoder. Where the features of a data set are pixels, as in `numbers`, the
pixels of the run's own objects are regressed on the latents; without --reduce this is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.combinations import pixel_shape
from mhng.experiment.training.prepare import load_unscaled
from mhng.experiment.training.saved_run import SavedRun

Images = NDArray[np.float32]


def to_pixels(images: Tensor) -> Images:
    """(B, C, H, W) -> (B, H, W), or (B, H, W, 3) in colour, in [0, 1].

    The mean of a Gaussian decoder can lie outside.
    """
    pixels = images.movedim(1, -1) if images.shape[1] == 3 else images.mean(1)
    result: Images = pixels.clamp(0, 1).numpy()
    return result


def picture_latents(run: SavedRun, m: int) -> Callable[[Tensor], Images] | None:
    """A function from latents (B, L) of agent number m to images (B, H, W[, 3]) in [0, 1]; None without images.

    An agent with several modalities shows the first one that is an image.
    """
    agent = run.models[run.agents[m]]
    for number, sense in enumerate(run.objects.modalities[m]):
        if len(sense.shape) == 3:
            return lambda z: to_pixels(agent.split(agent.decode(z))[number])
    shape = pixel_shape(run.config.dataset)
    if shape is None or len(run.objects.modalities[m]) > 1:
        return None
    z = agent.perceive(run.objects.views[m], None).z
    pixels = load_unscaled(run.config).views[m].double()
    weights: Any = np.linalg.lstsq(_with_one(z), pixels.numpy(), rcond=None)[0]
    low, high = float(pixels.min()), float(pixels.max())
    return lambda z: to_pixels(
        ((torch.from_numpy(_with_one(z) @ weights) - low) / (high - low)).float().view(-1, 1, *shape)
    )


def _with_one(z: Tensor) -> NDArray[np.float64]:
    return np.concatenate([z.double().numpy(), np.ones((len(z), 1))], axis=1)
