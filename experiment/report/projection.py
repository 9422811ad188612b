"""A plane for percepts of many dimensions: principal components, or t-SNE.

    z (N, L)  ->  points (N, 2)

Principal components are a view along straight lines: distances in it are real, if not all. t-SNE keeps neighbours
together and says nothing about distances; it is scikit-learn's, from principal components, with the seed of the run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAPS = ("pca", "tsne")

# More points than these hide each other; t-SNE of more would take minutes.
MOST = {"pca": 5_000, "tsne": 2_000}
_LEAST_FOR_TSNE = 5
_PERPLEXITY = 30.0


class Plane(NamedTuple):
    """points (n, 2) of the objects `shown` (n,); how their axes are called; what the plane is, in words."""

    points: Floats
    shown: NDArray[np.intp]
    axes: tuple[str, str]
    words: str


def plane(z: Floats, kind: str, seed: int) -> Plane:
    """Percepts z (N, L) in the plane; of many objects, `MOST` taken evenly."""
    N = len(z)
    shown = np.unique(np.linspace(0, N - 1, min(N, MOST[kind])).round().astype(np.intp))
    if kind == "tsne" and len(shown) >= _LEAST_FOR_TSNE and np.ptp(z[shown], axis=0).any():
        return Plane(_tsne(z[shown], seed), shown, ("t-SNE 1", "t-SNE 2"), "by t-SNE")
    centred = z - z.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    share = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    points = np.zeros((N, 2))
    shares = np.zeros(2)
    held = min(2, len(axes))
    points[:, :held] = centred @ axes[:held].T
    shares[:held] = share[:held]
    # The sign of an axis is arbitrary: the largest entry is made positive, so that a map is the same everywhere.
    for axis in range(held):
        if axes[axis][np.abs(axes[axis]).argmax()] < 0:
            points[:, axis] *= -1
    names = tuple(f"component {axis + 1} ({shares[axis]:.0%} of variance)" for axis in range(2))
    words = f"on two principal components, which hold {shares.sum():.0%} of the variance"
    return Plane(points[shown], shown, (names[0], names[1]), words)


def _tsne(z: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(z) - 1) / 3)
    start = "pca" if z.shape[1] >= 2 else "random"
    model = TSNE(2, perplexity=perplexity, init=start, random_state=seed % 2**32)
    found: Floats = np.asarray(model.fit_transform(z.astype(np.float64)), dtype=np.float64)
    return found
