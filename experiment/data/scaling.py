"""Features made fewer: principal components, found by each agent in its own features alone.

Whitened, that is, each component has variance 1: the mixture's prior expects percepts around zero, and of no
direction that it is wider than another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mhng.experiment.data.modalities import is_present
from mhng.experiment.errors import UsageError


def fit_pca(features: Tensor, dimensions: int) -> tuple[Tensor, Transform]:
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


# What is done to features (B, D) of any objects.
Transform = Callable[[Tensor], Tensor]
# Finds a change in features (N, D): these as they are after it, and the change for others.
Fit = Callable[[Tensor], tuple[Tensor, Transform]]


def fit_standardisation(features: Tensor) -> tuple[Tensor, Transform]:
    """Features (N, D) with mean 0 and spread 1; one that never varies is 0, whatever its size."""
    mean = features.mean(0)
    spread = (features - mean).std(0, correction=0)
    if not spread.isfinite().all() and features.dtype != torch.float64:  # sums of numbers near the largest overflow
        found, exactly = fit_standardisation(features.double())
        return found.float(), lambda others: exactly(others.double()).float()
    # Not by the spread: of equal numbers the mean is not always that number, and what is left would be their size.
    varies = (features.amax(0) > features.amin(0)) & (spread > 0)
    divisor = torch.where(varies, spread, 1.0)

    def change(others: Tensor) -> Tensor:
        return torch.where(varies, (others - mean) / divisor, 0.0)

    return change(features), change


def transform_features(
    find: Fit, views: Sequence[Tensor], keep: Sequence[bool]
) -> tuple[tuple[Tensor, ...], list[Transform | None]]:
    """The views with features changed, but for those to keep, and each one's change; agents that see the same go on
    sharing it. What is missing is no feature of the others, and stays missing.
    """
    found: dict[int, tuple[Tensor, Transform]] = {}
    views_then: list[Tensor] = []
    changes: list[Transform | None] = []
    for view, stays in zip(views, keep, strict=True):
        if view.dim() != 2 or stays:
            views_then.append(view)
            changes.append(None)
            continue
        if id(view) not in found:
            there = is_present(view)
            some, change = find(view if there.all() else view[there])
            found[id(view)] = _back(some, there), change
        views_then.append(found[id(view)][0])
        changes.append(found[id(view)][1])
    return tuple(views_then), changes


def apply_transforms(changes: Sequence[Transform | None], views: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of other objects, changed as those were in which the changes were found."""
    found = []
    for change, view in zip(changes, views, strict=True):
        if change is not None:
            lacking = ~is_present(view).unsqueeze(1)
            view = change(view.masked_fill(lacking, 0.0)).masked_fill(lacking, torch.nan)
        found.append(view)
    return tuple(found)


def _back(some: Tensor, there: Tensor) -> Tensor:
    """The rows of those objects that are there, among NaN."""
    if there.all():
        return some
    found = some.new_full((len(there), some.shape[1]), torch.nan)
    found[there] = some
    return found
