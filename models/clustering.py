"""k-means clusters of latents: initial signs, and initial categories of a mixture."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def kmeans(points: Tensor, K: int, seed: int, far: Tensor | None = None, tries: int = 1) -> Tensor:
    """Cluster points (N, L) into at most K clusters: (N,), values 0..K-1.

    far: mask (N,) of points that do not shape the clusters; each joins the nearest cluster. None: no such points.
    tries: number of runs; the best is kept.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    ordinary = (points if far is None else points[~far]).cpu().numpy()
    # scikit-learn would use all cores, and its OpenMP is not that of torch.
    with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
        # Fewer distinct points than clusters are allowed: some clusters are then empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(min(K, len(ordinary)), n_init=tries, random_state=seed).fit(ordinary)
    labels = fitted.labels_ if far is None else fitted.predict(points.cpu().numpy())
    return torch.as_tensor(labels, dtype=torch.int64, device=points.device)
