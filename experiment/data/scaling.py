"""Scaling of features: standardisation, and principal components of each agent's features.

Components are whitened (variance 1), because the mixture's prior is isotropic around zero.

Features may be float64 before they are standardised. A feature with a large mean and a small spread (a time, a
coordinate) would lose its spread in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mhng.experiment.data.modalities import is_present
from mhng.experiment.errors import UsageError

# Changes features (B, D) of any objects.
Transform = Callable[[Tensor], Tensor]
# Fits a change to features (N, D): the changed features, and the change for other objects.
Fit = Callable[[Tensor], tuple[Tensor, Transform]]

# Errors of float32 features and of their float32 statistics, as shares of the standard deviation, that need float64
_ROUNDING_LOSS = 1e-6
_STATISTICS_ERROR = 1e-5
_BLOCK = 2**22  # numbers
# Range of a column, in units of the machine epsilon, up to which only rounding makes it vary
_ROUNDINGS = 4
# Smallest singular value, as a share of the largest; the features are rounded to float32.
_LEAST_COMPONENT = 1e-5


def fit_standardisation(features: Tensor) -> tuple[Tensor, Transform]:
    """Features (N, D), float32 or float64, with mean 0 and standard deviation 1, as float32.

    The statistics are float32 where that is precise enough. Columns without variation (`varies`) become 0.
    """
    exact = _statistics(features)
    varying = varies(features)
    rounded = features.float()
    mean = rounded.mean(0)
    spread = (rounded - mean).std(0, correction=0)
    error = torch.maximum((mean.double() - exact.mean).abs(), (spread.double() - exact.spread).abs())
    is_precise = (error <= _STATISTICS_ERROR * exact.spread) & (exact.rounding <= _ROUNDING_LOSS * exact.spread)
    if (varying & ~is_precise).any():
        mean, spread = exact.mean, exact.spread
    varying = varying & (spread > 0)
    divisor = torch.where(varying, spread, 1.0)

    def change(others: Tensor) -> Tensor:
        return torch.where(varying, (others.to(mean.dtype) - mean) / divisor, 0.0).float()

    return change(features), change


def varies(features: Tensor) -> Tensor:
    """Mask (D,) of the columns of features (N, D) that vary by more than rounding errors."""
    least, most = features.amin(0), features.amax(0)
    size = torch.maximum(least.abs(), most.abs()).double()
    return most.double() - least.double() > _ROUNDINGS * torch.finfo(features.dtype).eps * size


def is_binary(features: Tensor) -> bool:
    """Whether all features (N, D) are 0 or 1; missing rows are NaN."""
    return bool(((features == 0) | (features == 1) | features.isnan()).all())


def rounding_loss(features: Tensor) -> Tensor:
    """Largest rounding error of float32 in each column, as a share of its standard deviation: (D,), 0 if constant."""
    exact = _statistics(features)
    return torch.where(varies(features), exact.rounding / exact.spread, 0.0)


class _Statistics(NamedTuple):
    """For each column (D,), in float64: mean, standard deviation, and largest rounding error of float32."""

    mean: Tensor
    spread: Tensor
    rounding: Tensor


def _statistics(features: Tensor) -> _Statistics:
    """Statistics of features (N, D), a few columns at a time, because float64 copies of all would take much memory."""
    width = max(1, _BLOCK // len(features))
    blocks = [_block_statistics(block.double()) for block in features.split(width, dim=1)]
    return _Statistics(*map(torch.cat, zip(*blocks, strict=True)))


def _block_statistics(exact: Tensor) -> _Statistics:
    mean = exact.mean(0)
    centred = exact - mean
    size = centred.abs().amax(0)
    # Scaled, because squares may overflow or underflow
    spread = size * (centred / torch.where(size > 0, size, 1.0)).std(0, correction=0)
    return _Statistics(mean, spread, (exact - exact.float().double()).abs().amax(0))


def fit_pca(features: Tensor, dimensions: int) -> tuple[Tensor, Transform]:
    """The first `dimensions` whitened principal components of standardised features (N, D), and the map to them.

    Components without variance beyond rounding errors are left out. Features with at most `dimensions` columns stay as
    they are. Raises UsageError for too few objects.
    """
    N, D = features.shape
    if dimensions >= D:
        return features, lambda others: others
    if dimensions >= N:
        raise UsageError(f"--reduce must be less than the number of objects, {N}; it is {dimensions}")
    if not features.any():
        return features[:, :1], lambda others: others[:, :1]
    from sklearn.decomposition import PCA

    components = PCA(dimensions, whiten=True, svd_solver="full")
    result = components.fit_transform(features.double().numpy())
    kept = int((components.singular_values_ > _LEAST_COMPONENT * components.singular_values_[0]).sum())
    if kept < dimensions:
        return fit_pca(features, kept)
    return torch.from_numpy(result).float(), lambda others: torch.from_numpy(
        components.transform(others.double().numpy())
    ).float()


def transform_features(
    fit: Fit, views: Sequence[Tensor], unscaled: Sequence[bool]
) -> tuple[tuple[Tensor, ...], list[Transform | None]]:
    """Fit a change to the features of every view. Returns the changed views, as float32, and the changes.

    unscaled: for each view, whether its features keep their values. Images stay as they are, with the change None.
    Missing rows stay NaN. Agents that share a view, and keep its values or not, share the result.
    """
    results: dict[tuple[int, bool], tuple[Tensor, Transform]] = {}
    changed: list[Tensor] = []
    changes: list[Transform | None] = []
    for view, keeps in zip(views, unscaled, strict=True):
        if view.dim() != 2:
            changed.append(view)
            changes.append(None)
            continue
        key = id(view), keeps
        if key not in results:
            results[key] = (view.float(), Tensor.float) if keeps else _fit_present(fit, view)
        changed.append(results[key][0])
        changes.append(results[key][1])
    return tuple(changed), changes


def apply_transforms(changes: Sequence[Transform | None], views: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Apply fitted changes to the views of other objects."""
    changed = []
    for change, view in zip(changes, views, strict=True):
        if change is not None:
            lacking = ~is_present(view).unsqueeze(1)
            view = change(view.masked_fill(lacking, 0.0)).masked_fill(lacking, torch.nan)
        changed.append(view)
    return tuple(changed)


def _fit_present(fit: Fit, view: Tensor) -> tuple[Tensor, Transform]:
    """Fit a change to the rows that are not missing."""
    present = is_present(view)
    if present.all():
        return fit(view)
    some, change = fit(view[present])
    result = some.new_full((len(present), some.shape[1]), torch.nan)
    result[present] = some
    return result, change
