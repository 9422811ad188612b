"""Initial sentences of one agent: words found by clustering what the words of other slots leave unexplained."""

from __future__ import annotations

import torch
from torch import Tensor

from mhng.models.clustering import kmeans
from mhng.models.mixtures.additive import Additive
from mhng.models.mixtures.base import Features

# Rounds of reassignment of all words and refits of the regression.
_CYCLES = 10


def word_clusters(mixture: Additive, features: Features, places: Tensor, seeds: list[int]) -> Tensor:
    """Sentences for latents `places` (N, L), once for each seed: (chains, N).

    Slot after slot, k-means clusters the residuals of a regression on the words so far. Then each word in turn becomes
    the most probable one given the others, and the regression is fitted again.
    """
    signs = torch.stack([_residual_clusters(mixture, places, seed, features.far) for seed in seeds])
    language = mixture.sentences
    for _ in range(_CYCLES):
        table = mixture.log_prob_table(features, mixture.best_parameters(features, signs))
        before = signs
        for slot in range(language.words):
            offered = language.variants(signs, slot)
            signs = language.replace(signs, slot, table.gather(-1, offered).argmax(-1))
        if torch.equal(signs, before):
            break
    return signs


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
