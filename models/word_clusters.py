"""Initial sentences of one agent: words found by clustering.

The words of different slots are independent, so their contributions to a latent are independent too. Independent
component analysis finds directions of the whitened latents. Directions whose squares are correlated belong to one
slot, and k-means clusters each slot's directions (independent subspace analysis; Hyvarinen and Hoyer 2000).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from mhng.models.clustering import kmeans
from mhng.models.mixtures.additive import Additive
from mhng.models.mixtures.base import Features
from mhng.models.word_belief import WordBelief, climb

# Steps of the independent component analysis; more change little, because the words are improved afterwards.
_ICA_STEPS = 200
# Smallest variance of a direction, as a share of the largest.
_LEAST_VARIANCE = 1e-8

# Rounds of reassignment of all words and refits of the regression.
_CYCLES = 10


def word_clusters(mixture: Additive, features: Features, places: Tensor, seeds: list[int]) -> Tensor:
    """Sentences for latents `places` (N, L), once for each seed: (chains, N).

    The starts with even numbers cluster independent subspaces. In the others, slot after slot, k-means clusters the
    residuals of a regression on the words so far. Then each word in turn becomes the most probable one given the
    others, and the regression is fitted again.
    """
    make = (_subspace_clusters, _residual_clusters)
    signs = torch.stack([make[n % 2](mixture, places, seed, features.far) for n, seed in enumerate(seeds)])
    for _ in range(_CYCLES):
        before, signs = signs, _best_words(mixture, features, signs)
        if torch.equal(signs, before):
            break
    return signs


def _best_words(mixture: Additive, features: Features, signs: Tensor) -> Tensor:
    """Each word in turn becomes the most probable one given the others, under the regression on `signs`."""
    phi, language = mixture.best_parameters(features, signs), mixture.sentences
    if (parts := mixture.whitened_parts(features, phi)) is not None:
        none = signs.new_zeros(len(signs))
        return climb(language, [WordBelief(language, *parts, phi, none, none)], signs, rounds=1)
    table = mixture.log_prob_table(features, phi)
    for slot in range(language.words):
        offered = language.variants(signs, slot)
        signs = language.replace(signs, slot, table.gather(-1, offered).argmax(-1))
    return signs


def _subspace_clusters(mixture: Additive, places: Tensor, seed: int, far: Tensor | None) -> Tensor:
    language = mixture.sentences
    slots = independent_subspaces(places, language.words, seed, far)
    if slots is None:
        return _residual_clusters(mixture, places, seed, far)
    words = [kmeans(part, language.vocabulary, seed + slot, far) for slot, part in enumerate(slots)]
    return language.join(torch.stack(words, dim=-1))


def independent_subspaces(places: Tensor, count: int, seed: int, far: Tensor | None = None) -> list[Tensor] | None:
    """Project latents `places` (N, L) on independent subspaces: `count` tensors (N, part of L), whitened.

    None if the latents vary in fewer directions. far: objects (N,) that do not shape the directions.
    """
    from sklearn.cluster import SpectralClustering
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    ordinary = places if far is None else places[~far]
    centred = ordinary - ordinary.mean(0)
    variances, axes = torch.linalg.eigh(centred.mT @ centred / len(centred))
    kept = variances > _LEAST_VARIANCE * variances[-1]
    if int(kept.sum()) <= count:
        return None
    whitening = axes[:, kept] / variances[kept].sqrt()
    white = (centred @ whitening).cpu().numpy()
    analysis = FastICA(whiten=False, max_iter=_ICA_STEPS, tol=1e-3, random_state=seed)
    with warnings.catch_warnings(), threadpool_limits(torch.get_num_threads()):
        warnings.simplefilter("ignore", ConvergenceWarning)
        analysis.fit(white)
        components = analysis.transform(white)
        similarity = np.abs(np.corrcoef(components.T**2))
        groups = SpectralClustering(count, affinity="precomputed", random_state=seed).fit_predict(similarity)
    if len(np.unique(groups)) < count:
        return None
    directions = whitening @ torch.as_tensor(analysis.components_.T, dtype=places.dtype, device=places.device)
    everything = (places - ordinary.mean(0)) @ directions
    return [everything[:, torch.as_tensor(groups == group, device=places.device)] for group in range(count)]


def _residual_clusters(mixture: Additive, places: Tensor, seed: int, far: Tensor | None) -> Tensor:
    language = mixture.sentences
    words: list[Tensor] = []
    for slot in range(language.words):
        onehot = [torch.nn.functional.one_hot(word, language.vocabulary) for word in words]
        onehot.append(torch.ones(len(places), 1, dtype=torch.int64, device=places.device))
        f = torch.cat(onehot, dim=1).to(places.dtype)
        ridge = 1e-6 * torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
        residual = places - f @ torch.linalg.solve(f.mT @ f + ridge, f.mT @ places)
        words.append(kmeans(residual, language.vocabulary, seed + slot, far))
    return language.join(torch.stack(words, dim=-1))
