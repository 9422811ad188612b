"""A classifier that looks at what an agent imagines, and says of which class it is.

It is trained on the agent's own view of the run's objects, with their labels, which no agent ever got: it scores and
does nothing else. A fifth of the objects is kept from it, and what it gets right there says how far it is to be
trusted. An imagined image is smoother than any real one, so it may be wrong about images that a person would know.
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

# More objects than these teach it nothing that is worth the wait.
_MOST = 10_000
_HELD_OUT = 0.2
_BATCH = 200
_LEAST_STEPS = 500
# Fewer cannot be divided into what it learns and what it is tested on.
LEAST = 10


@dataclass(frozen=True)
class Judge:
    """held_out: the share of unseen views that it is right about."""

    model: Any
    held_out: float

    def classes(self, images: Tensor) -> NDArray[np.int64]:
        """The class of each image (B, C, H, W), as an index of the class names: (B,)."""
        found: NDArray[np.int64] = self.model.predict(images.flatten(1).numpy())
        return found


def train_judge(view: Tensor, labels: NDArray[np.int64], generator: torch.Generator) -> Judge | None:
    """A judge of images like `view` (N, C, H, W), labels (N,): one hidden layer of 128. None from too few objects."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    N = len(labels)
    order = torch.randperm(N, generator=generator).numpy()
    held = max(1, int(_HELD_OUT * N))
    test, train = order[:held][:_MOST], order[held:][:_MOST]
    if N < LEAST or len(np.unique(labels[train])) < 2:
        return None
    steps = -(-len(train) // _BATCH)  # an epoch
    epochs = max(30, _LEAST_STEPS // steps)
    model = MLPClassifier(
        (128,), batch_size=min(_BATCH, len(train)), max_iter=epochs, random_state=random_integer(generator)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are what it gets
        model.fit(view[train].flatten(1).numpy(), labels[train])
    judge = Judge(model, 0.0)
    return Judge(model, float((judge.classes(view[test]) == labels[test]).mean()))
