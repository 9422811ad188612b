"""Features of the meanings of sentences, one row for each sentence.

positions   S V one-hots: which word stands in which slot
bag         V counts: the order of the words does not matter
pairs       positions, and a one-hot of V^2 for each pair of slots
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from mhng.models.languages import Sentences


@cache
def meaning_features(sentences: Sentences, meaning: str) -> Tensor:
    """Features of all sentences: (K, F). Raises ValueError for a meaning without features."""
    S, V = sentences.words, sentences.vocabulary
    words = sentences.split(torch.arange(sentences.count))
    onehot = torch.nn.functional.one_hot(words, V).double()  # (K, S, V)
    if meaning == "bag":
        return onehot.sum(1)
    features = [onehot.flatten(1)]
    if meaning == "pairs":
        pairs = [words[:, a] * V + words[:, b] for a, b in combinations(range(S), 2)]
        features += [torch.nn.functional.one_hot(pair, V * V).double() for pair in pairs]
    elif meaning != "positions":
        raise ValueError(f"meaning is {meaning!r}; expected positions, bag or pairs")
    return torch.cat(features, dim=1)
