"""Initial sentences of one agent: words found by clustering.

The words of different slots are independent, so their contributions to a latent are independent too. Independent
component analysis finds directions of the whitened latents. Directions whose squares are correlated belong to one
slot, and k-means clusters each slot's directions (independent subspace analysis; Hyvarinen and Hoyer 2000). Few
directions are grouped by their clusters instead (`models/direction_groups.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.models.clustering import kmeans
from mhng.models.direction_groups import MOST_DIRECTIONS, Floats, best_groups
from mhng.models.mixtures.additive import Additive
from mhng.models.mixtures.base import Features
from mhng.models.word_belief import WordBelief, climb

# Steps of the independent component analysis; more change little, because the words are improved afterwards.
_ICA_STEPS = 200
# Runs of k-means in each of few directions: one run often misses a word.
_TRIES = 10
# Smallest variance of a direction, as a share of the largest.
_LEAST_VARIANCE = 1e-8

# Largest similarity of two directions, as a multiple of the median.
_LARGEST_SIMILARITY = 4

# Repairs of each slot, or as many as there are words; and rounds of reassignment after one.
_REPAIRS = 10
_REPAIR_CYCLES = 3
# An object is badly explained if its squared distance exceeds this multiple of the median.
_OUTLIER = 5
# Rounds of reassignment of all words and refits of the regression.
_CYCLES = 10


def word_clusters(mixture: Additive, features: Features, places: Tensor, seeds: list[int]) -> Tensor:
    """Sentences for latents `places` (N, L), once for each seed: (chains, N).

    Three of four starts cluster independent subspaces. In the second of four, slot after slot, k-means clusters the
    residuals of a regression on the words so far. Then each word in turn becomes the most probable one given the
    others, and the regression is fitted again. Then the sentences are repaired.
    """
    make = (_subspace_clusters, _residual_clusters, _subspace_clusters, _subspace_clusters)
    signs = torch.stack([make[n % 4](mixture, places, seed, features.far, n // 8) for n, seed in enumerate(seeds)])
    return repair(mixture, features, _settled(mixture, features, signs, _CYCLES))


def repair(mixture: Additive, features: Features, signs: Tensor) -> Tensor:
    """Repair sentences (C, N) by `reassign_outliers` and `reseed`, while that raises the evidence of a chain.

    A chain ends when no repair raises its evidence, or after as many repairs of each slot as there are words: a start
    may miss most words, and a repair finds one.
    """
    K, S = mixture.sentences.count, mixture.sentences.words
    repairs: list[Callable[[Additive, Features, Tensor], Tensor]] = [
        reassign_outliers,
        *(partial(reseed, slot=slot) for slot in range(S)),
    ]
    signs, evidence = signs.clone(), mixture.log_evidence(features, signs, K)
    failed, left = torch.zeros_like(evidence), torch.arange(len(signs), device=signs.device)
    for number in range(max(_REPAIRS, mixture.sentences.vocabulary) * len(repairs)):
        repaired = repairs[number % len(repairs)](mixture, features, signs[left])
        repaired = _settled(mixture, features, repaired, _REPAIR_CYCLES)
        raised = mixture.log_evidence(features, repaired, K)
        better = raised > evidence[left]
        signs[left] = torch.where(better.unsqueeze(1), repaired, signs[left])
        evidence[left] = torch.where(better, raised, evidence[left])
        failed[left] = torch.where(better, 0, failed[left] + 1)
        left = left[failed[left] < len(repairs)]
        if not len(left):
            break
    return signs


def _settled(mixture: Additive, features: Features, signs: Tensor, cycles: int) -> Tensor:
    for _ in range(cycles):
        before, signs = signs, _best_words(mixture, features, signs)
        if torch.equal(signs, before):
            break
    return signs


def reassign_outliers(mixture: Additive, features: Features, signs: Tensor) -> Tensor:
    """Give badly explained objects new sentences, by a regression on the other objects: signs (C, N).

    A word that only such objects have then has the prior mean, so it is free for what they have in common.
    """
    result = signs.clone()
    for chain in range(len(signs)):
        belief = _belief(mixture, features, signs[chain : chain + 1])
        if belief is None:
            return signs
        distance = belief.unexplained(signs[chain : chain + 1]).square().sum(-1)[0]
        outliers = distance > _OUTLIER * distance.median()
        if not outliers.any() or outliers.all():
            continue
        others = Features(features.values[~outliers], features.centre)
        phi = mixture.best_parameters(others, signs[chain : chain + 1, ~outliers])
        parts = mixture.whitened_parts(Features(features.values[outliers], features.centre), phi)
        assert parts is not None
        result[chain, outliers] = climb(
            mixture.sentences, [WordBelief(mixture.sentences, *parts, phi, parts[2], parts[2])]
        )
    return result


def reseed(mixture: Additive, features: Features, signs: Tensor, slot: int) -> Tensor:
    """Split the word of a slot that leaves most unexplained, with the least useful word: signs (C, N).

    The least useful word is unused, or the one whose merger with another word adds least to the squared distances.
    """
    language, chain = mixture.sentences, torch.arange(len(signs), device=signs.device)
    belief = _belief(mixture, features, signs)
    if belief is None:
        return signs
    word, u = language.word(signs, slot), belief.parts[:, slot]
    ones = torch.ones(word.shape, dtype=u.dtype, device=u.device)
    count = torch.zeros(u.shape[:2], dtype=u.dtype, device=u.device).scatter_add_(1, word, ones)
    weight = count.unsqueeze(1) * count.unsqueeze(2) / (count.unsqueeze(1) + count.unsqueeze(2)).clamp_min(1)
    cost = weight * torch.cdist(u, u).square()
    cost.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    pair = cost.flatten(1).argmin(1)
    first, second = pair // language.vocabulary, pair % language.vocabulary
    fewer = count[chain, first] <= count[chain, second]
    free, kept = torch.where(fewer, first, second).unsqueeze(1), torch.where(fewer, second, first).unsqueeze(1)
    word = torch.where(word == free, kept, word)
    rest = unexplained(mixture, features, signs).square().sum(-1)
    group = word == torch.zeros_like(count).scatter_add_(1, word, rest).argmax(1, keepdim=True)
    sides = divide(mixture, features, signs, group)
    return language.replace(signs, slot, torch.where(group & sides, free, word))


def unexplained(mixture: Additive, features: Features, signs: Tensor) -> Tensor:
    """Latents minus the mean of their sentences, at the posterior mean: (C, N, L)."""
    mean = mixture.posterior(features, signs).mean
    rest: Tensor = features.values + features.centre - mixture.sums(mean, signs)
    return rest


def divide(mixture: Additive, features: Features, signs: Tensor, group: Tensor) -> Tensor:
    """Split the objects of `group` (C, N) by what their sentences (C, N) leave unexplained: (C, N) bool.

    The sides lie apart on the first principal component of the group's residuals.
    """
    members = group.unsqueeze(-1).to(features.values.dtype)
    rest = unexplained(mixture, features, signs)
    count = members.sum(1, keepdim=True).clamp_min(1)
    rest = (rest - (members * rest).sum(1, keepdim=True) / count) * members
    direction = torch.linalg.eigh(rest.mT @ rest).eigenvectors[..., -1:]
    return (rest @ direction).squeeze(-1) > 0


def _belief(mixture: Additive, features: Features, signs: Tensor) -> WordBelief | None:
    """The belief with the best parameters given sentences (C, N); None if words do not add up."""
    phi = mixture.best_parameters(features, signs)
    parts = mixture.whitened_parts(features, phi)
    return None if parts is None else WordBelief(mixture.sentences, *parts, phi, parts[2], parts[2])


def _best_words(mixture: Additive, features: Features, signs: Tensor) -> Tensor:
    """Each word in turn becomes the most probable one given the others, under the regression on `signs`."""
    language = mixture.sentences
    if (belief := _belief(mixture, features, signs)) is not None:
        return climb(language, [belief], signs, rounds=1)
    table = mixture.log_prob_table(features, mixture.best_parameters(features, signs))
    for slot in range(language.words):
        offered = language.variants(signs, slot)
        signs = language.replace(signs, slot, table.gather(-1, offered).argmax(-1))
    return signs


def _subspace_clusters(mixture: Additive, places: Tensor, seed: int, far: Tensor | None, rank: int) -> Tensor:
    language = mixture.sentences
    group = partial(best_groups, count=language.words, clusters=language.vocabulary, rank=rank, seed=seed)
    slots = independent_subspaces(places, language.words, seed, far, group)
    if slots is None:
        return _residual_clusters(mixture, places, seed, far, rank)
    tries = _TRIES if places.shape[1] <= MOST_DIRECTIONS else 1
    words = [kmeans(part, language.vocabulary, seed + slot, far, tries) for slot, part in enumerate(slots)]
    return language.join(torch.stack(words, dim=-1))


def independent_subspaces(
    places: Tensor,
    count: int,
    seed: int,
    far: Tensor | None = None,
    group: Callable[[Floats], NDArray[np.int64]] | None = None,
) -> list[Tensor] | None:
    """Project latents `places` (N, L) on independent subspaces: `count` tensors (N, part of L), whitened.

    None if the latents vary in fewer directions. far: objects (N,) that do not shape the directions. group: a function
    that groups few components (N, D); None, or more components: by correlations of their squares.
    """
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
        if group is not None and components.shape[1] <= MOST_DIRECTIONS:
            groups = group(components)
        else:
            groups = correlated_groups(components, count, seed)
    if len(np.unique(groups)) < count:
        return None
    directions = whitening @ torch.as_tensor(analysis.components_.T, dtype=places.dtype, device=places.device)
    everything = (places - ordinary.mean(0)) @ directions
    return [everything[:, torch.as_tensor(groups == group, device=places.device)] for group in range(count)]


def correlated_groups(components: Floats, count: int, seed: int) -> NDArray[np.int64]:
    """The group (D,), 0 to count - 1, of each of the components (N, D), by correlations of their squares.

    Directions that single out a few objects are far more correlated with each other than with any slot. A limit keeps
    them from being cut off as a group; the mean is added to all similarities for the same reason (Amini et al. 2013).
    """
    from sklearn.cluster import SpectralClustering

    similarity = np.abs(np.corrcoef(components.T**2))
    others = ~np.eye(len(similarity), dtype=bool)
    similarity = np.minimum(similarity, _LARGEST_SIMILARITY * np.median(similarity[others])) * others
    similarity += similarity[others].mean()
    groups: NDArray[np.int64] = SpectralClustering(count, affinity="precomputed", random_state=seed).fit_predict(
        similarity
    )
    return groups


def _residual_clusters(mixture: Additive, places: Tensor, seed: int, far: Tensor | None, rank: int) -> Tensor:
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
