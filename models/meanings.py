"""Features of the meanings of sentences.

positions   S V one-hots: which word stands in which slot
bag         V counts: the order of the words does not matter
pairs       positions, and a one-hot of V^2 for each pair of slots
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from mhng.models.languages import Sentences


def feature_count(sentences: Sentences, meaning: str) -> int:
    """F. Raises ValueError for a meaning without features."""
    S, V = sentences.words, sentences.vocabulary
    counts = {"positions": S * V, "bag": V, "pairs": S * V + S * (S - 1) // 2 * V**2}
    if meaning not in counts:
        raise ValueError(f"meaning is {meaning!r}; expected positions, bag or pairs")
    return counts[meaning]


def active_features(sentences: Sentences, meaning: str, signs: Tensor) -> Tensor:
    """The numbers of the features that sentences (...) have, once for each time: (..., A)."""
    S, V = sentences.words, sentences.vocabulary
    words = sentences.split(signs)
    if meaning == "bag":
        return words
    active = words + V * torch.arange(S, device=signs.device)
    if meaning == "pairs":
        numbers = enumerate(combinations(range(S), 2))
        pairs = [S * V + n * V**2 + words[..., a] * V + words[..., b] for n, (a, b) in numbers]
        active = torch.cat([active, torch.stack(pairs, dim=-1)], dim=-1) if pairs else active
    return active


def meaning_features(sentences: Sentences, meaning: str, signs: Tensor) -> Tensor:
    """Features of sentences: (...) -> (..., F). Raises ValueError for a meaning without features."""
    F, active = feature_count(sentences, meaning), active_features(sentences, meaning, signs)
    ones = torch.ones(active.shape, dtype=torch.float64, device=signs.device)
    return torch.zeros(*signs.shape, F, dtype=torch.float64, device=signs.device).scatter_add_(-1, active, ones)


def mean_features(sentences: Sentences, meaning: str) -> Tensor:
    """The mean features of all sentences: (F,)."""
    S, V = sentences.words, sentences.vocabulary
    if meaning == "bag":
        return torch.full((V,), S / V, dtype=torch.float64)
    mean = torch.full((feature_count(sentences, meaning),), 1 / V, dtype=torch.float64)
    mean[S * V :] = 1 / V**2
    return mean
