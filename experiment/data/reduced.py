"""Features made fewer: principal components, found by each agent in its own features alone.

Whitened, that is, each component has variance 1: the mixture's prior expects percepts around zero, and of no
direction that it is wider than another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mhng.experiment.data.scaled import Change
from mhng.experiment.errors import UsageError


def reducing(features: Tensor, dimensions: int) -> tuple[Tensor, Change]:
    """Standardised features (N, D) as their `dimensions` first principal components (N, dimensions), whitened.

    And what makes others as few. Features that are no more than that are given back as they are. UsageError if there
    are too few objects.
    """
    N, D = features.shape
    if dimensions >= D:
        return features, lambda others: others
    if dimensions >= N:
        raise UsageError(f"--reduce must be less than the number of objects, {N}; it is {dimensions}")
    from sklearn.decomposition import PCA

    components = PCA(dimensions, whiten=True, svd_solver="full")
    found = components.fit_transform(features.double().numpy())
    return torch.from_numpy(found).float(), lambda others: torch.from_numpy(
        components.transform(others.double().numpy())
    ).float()
