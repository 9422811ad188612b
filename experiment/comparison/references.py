"""Reference methods on the observations, without agents: baselines for the scores of a comparison.

k-means and a Gaussian mixture see the views of all agents at once, and no label. The classifier learns from labels, so
its score is an upper bound; each object is classified by a model that was trained on other objects (five folds). All
see at most 50 principal components (scikit-learn).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.comparison.statistics import spread
from mhng.experiment.data.objects import Objects
from mhng.experiment.metrics import partitions

CLASSIFIER = "classifier (sees labels)"
_COMPONENTS = 50
_FOLDS = 5


def evaluate(objects: Objects, signs: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of the reference methods: name, ARI and accuracy by seed, and their statistics; empty without labels."""
    labels = objects.labels
    if labels is None or len(np.unique(labels)) < 2:
        return []
    x = principal_components([view.flatten(1).double().numpy() for view in objects.views])
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, on convergence
        for name, method in (("k-means", _k_means), ("Gaussian mixture", _gaussian_mixture)):
            rows.append(_row(name, [method(x, min(signs, len(x)), seed) for seed in seeds], labels))
        if (predicted := _classify(x, labels)) is not None:
            rows.append(_row(CLASSIFIER, [predicted], labels))
    return rows


def principal_components(views: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The views (N, D) side by side, each scaled to one variance, missing numbers as the mean: (N, at most 50)."""
    from sklearn.decomposition import PCA

    scaled = []
    for view in views:
        centred = view - np.nan_to_num(np.nanmean(np.where(np.isfinite(view), view, np.nan), axis=0))
        centred = np.nan_to_num(centred)
        scaled.append(centred / max(float(centred.std()), 1e-12))
    x = np.concatenate(scaled, axis=1)
    count = min(_COMPONENTS, *x.shape)
    return x if count == x.shape[1] else PCA(count, random_state=0).fit_transform(x)


def _k_means(x: NDArray[np.float64], K: int, seed: int) -> NDArray[np.int64]:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(K, n_init=10, random_state=seed).fit_predict(x), dtype=np.int64)


def _gaussian_mixture(x: NDArray[np.float64], K: int, seed: int) -> NDArray[np.int64]:
    from sklearn.mixture import GaussianMixture

    scale = float(x.var(axis=0).max())
    mixture = GaussianMixture(K, reg_covar=1e-4 * scale + 1e-12, random_state=seed)
    return np.asarray(mixture.fit_predict(x), dtype=np.int64)


def _classify(x: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Classes predicted in cross-validation; None if a class has one object only."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = min(_FOLDS, int(np.unique(labels, return_counts=True)[1].min()))
    if folds < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    return np.asarray(cross_val_predict(model, x, labels, cv=split), dtype=np.int64)


def _row(name: str, found: Sequence[NDArray[np.int64]], labels: NDArray[np.int64]) -> dict[str, Any]:
    aris: list[float | None] = [partitions.ari(signs, labels) for signs in found]
    if name == CLASSIFIER:
        accuracies: list[float | None] = [float((found[0] == labels).mean())]
    else:
        accuracies = [partitions.accuracy(signs, labels) for signs in found]
    return {"row": name, "ari": aris, "statistics": {"ari": spread(aris), "accuracy": spread(accuracies)}}
