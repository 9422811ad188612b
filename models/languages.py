"""Languages whose signs are sentences, and the names of their settings. torch is imported for computations only.

A sentence w_1 ... w_S of S words from a vocabulary of V is the sign with the number w_1 V^(S-1) + ... + w_S, its code.
So the K = V^S sentences are the signs of the game, and a word is a block of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MEANINGS = ("positions", "bag", "pairs", "holistic")
GRAMMARS = ("none", "markov")
TURNS = ("both", "sentence", "word")

# Most sentences in a table of all objects and sentences; with more, turns propose words.
MOST_TABLE = 4096


@dataclass(frozen=True)
class Sentences:
    """All sentences of `words` words from `vocabulary`."""

    words: int  # S
    vocabulary: int  # V

    @property
    def count(self) -> int:
        """K = V^S."""
        return self.vocabulary**self.words

    @property
    def fits_table(self) -> bool:
        """Whether a table of all objects and sentences is allowed."""
        return self.count <= MOST_TABLE

    @property
    def table_width(self) -> int:
        """The largest number of sentences that a turn compares for an object."""
        return self.count if self.fits_table else self.vocabulary

    def split(self, signs: Tensor) -> Tensor:
        """The words of sentences: (...) -> (..., S)."""
        import torch

        return torch.stack([self.word(signs, slot) for slot in range(self.words)], dim=-1)

    def digits(self, sign: int) -> list[int]:
        """The words of one sentence."""
        return [int(sign) // self._power(slot) % self.vocabulary for slot in range(self.words)]

    def join(self, words: Tensor) -> Tensor:
        """The codes of words (..., S): (...)."""
        import torch

        powers = [self._power(slot) for slot in range(self.words)]
        return (words * torch.tensor(powers, device=words.device)).sum(-1)

    def word(self, signs: Any, slot: int) -> Any:
        """The word of sentences (...), a tensor or an array, in a slot."""
        return signs // self._power(slot) % self.vocabulary

    def replace(self, signs: Tensor, slot: int, word: Tensor | int) -> Tensor:
        """Sentences (...) with another word in a slot."""
        return signs + (word - self.word(signs, slot)) * self._power(slot)

    def variants(self, signs: Tensor, slot: int) -> Tensor:
        """Sentences (...) with every word in a slot: (..., V)."""
        import torch

        return self.replace(signs.unsqueeze(-1), slot, torch.arange(self.vocabulary, device=signs.device))

    def _power(self, slot: int) -> int:
        return int(self.vocabulary ** (self.words - 1 - slot))
