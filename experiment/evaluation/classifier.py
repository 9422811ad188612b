"""A classifier of decoded images, used to score them.

It is trained on an agent's own view of the run's objects and their labels. Agents never use it. A fifth of the objects
is held out, and its accuracy there says how far its scores can be trusted. Decoded images are smoother than real ones,
so it can be wrong about images that a person would recognise.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.models.rng import random_integer

# More training objects cost time and add little accuracy.
_MAX_OBJECTS = 10_000
# Fewer objects cannot be divided into training and held-out objects.
MIN_OBJECTS = 10
_HELD_OUT = 0.2
_BATCH = 200
_MIN_STEPS = 500


@dataclass(frozen=True)
class Classifier:
    """A trained classifier. held_out: accuracy on held-out objects."""

    model: Any
    held_out: float

    def predict(self, images: Tensor) -> NDArray[np.int64]:
        """The class of each image (B, C, H, W), as an index of the class names: (B,)."""
        classes: NDArray[np.int64] = self.model.predict(images.flatten(1).numpy())
        return classes


def train_classifier(view: Tensor, labels: NDArray[np.int64], generator: torch.Generator) -> Classifier | None:
    """Train a network with one hidden layer of 128 units on images (N, C, H, W) and labels (N,).

    Returns None for fewer than `MIN_OBJECTS` objects or a single class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    N = len(labels)
    order = torch.randperm(N, generator=generator).numpy()
    held = max(1, int(_HELD_OUT * N))
    test, train = order[:held][:_MAX_OBJECTS], order[held:][:_MAX_OBJECTS]
    if N < MIN_OBJECTS or len(np.unique(labels[train])) < 2:
        return None
    steps = -(-len(train) // _BATCH)  # per epoch
    epochs = max(30, _MIN_STEPS // steps)
    model = MLPClassifier(
        (128,), batch_size=min(_BATCH, len(train)), max_iter=epochs, random_state=random_integer(generator)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
        model.fit(view[train].flatten(1).numpy(), labels[train])
    classifier = Classifier(model, 0.0)
    return Classifier(model, float((classifier.predict(view[test]) == labels[test]).mean()))
