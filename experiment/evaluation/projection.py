"""Projection of latents to two dimensions: principal components or t-SNE.

    z (N, L)  ->  points (N, 2)

Principal components are a linear projection. t-SNE preserves neighbourhoods, not distances. It is scikit-learn's,
initialised with principal components and seeded with the seed of the run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MAPS = ("pca", "tsne")

# More points hide each other, and t-SNE would take minutes.
MAX_POINTS = {"pca": 5_000, "tsne": 2_000}
_MIN_POINTS_FOR_TSNE = 5
_PERPLEXITY = 30.0


class Projection(NamedTuple):
    """points (n, 2) of the objects with index `shown` (n,); names of the axes; name of the method."""

    points: Floats
    shown: NDArray[np.intp]
    axes: tuple[str, str]
    method: str


def project(z: Floats, kind: str, seed: int) -> Projection:
    """Project latents z (N, L). kind: an entry of MAPS. Larger data are thinned evenly to `MAX_POINTS` objects."""
    N = len(z)
    shown = np.unique(np.linspace(0, N - 1, min(N, MAX_POINTS[kind])).round().astype(np.intp))
    if kind == "tsne" and len(shown) >= _MIN_POINTS_FOR_TSNE and np.ptp(z[shown], axis=0).any():
        return Projection(_tsne(z[shown], seed), shown, ("t-SNE 1", "t-SNE 2"), "t-SNE")
    centred = z - z.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    explained = sizes**2 / max(float((sizes**2).sum()), np.finfo(float).tiny)
    points = np.zeros((N, 2))
    shares = np.zeros(2)
    kept = min(2, len(axes))
    points[:, :kept] = centred @ axes[:kept].T
    shares[:kept] = explained[:kept]
    # The sign of an axis is arbitrary. Making the largest entry positive gives the same map on all machines.
    for axis in range(kept):
        if axes[axis][np.abs(axes[axis]).argmax()] < 0:
            points[:, axis] *= -1
    names = tuple(f"component {axis + 1} ({shares[axis]:.0%} of variance)" for axis in range(2))
    method = f"two principal components with {shares.sum():.0%} of the variance"
    return Projection(points[shown], shown, (names[0], names[1]), method)


def _tsne(z: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(z) - 1) / 3)
    start = "pca" if z.shape[1] >= 2 else "random"
    model = TSNE(2, perplexity=perplexity, init=start, random_state=seed % 2**32)
    points: Floats = np.asarray(model.fit_transform(z.astype(np.float64)), dtype=np.float64)
    return points
