"""Turns: which signs a speaker proposes at once.

A turn updates blocks of signs B given the listener's remaining signs w_-B:

    the speaker draws w'_B with probability proportional to p(w'_B, w_-B) L_Sp(w'_B, w_-B)
    the listener accepts with min(1, L_Li(w'_B, w_-B) / L_Li(w_B, w_-B))

Detailed balance holds for every block, in every order of blocks that does not depend on w. Blocks of different objects
of a plate are independent given the rest, so they are updated side by side.

    each(plate)           all signs of an object in one block
    stretch(T, plate)     T consecutive signs; with a plate, of every object at once
    words(plate)          sign by sign, of every object at once
    whole()               all signs in one block

A list of turns is played one after the other: `turn=[turns.words("objects"), turns.each("objects")]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference.programs.sites import Site

# Most values of a block: the speaker enumerates them.
MOST_VALUES = 4096


class Step(NamedTuple):
    """Blocks that are updated side by side: G blocks of B signs with V joint values."""

    coordinates: Tensor  # (G, B) places in the vector of all signs
    values: Tensor  # (V, B) joint values of a block; (0, B) for continuous signs
    plate: str | None  # the plate whose objects are the blocks; None: one block

    def indices(self, signs: Tensor) -> Tensor:
        """The joint value that each block has now: signs (..., D) -> (..., G)."""
        sizes = (self.values.amax(0) + 1).tolist()
        radix = torch.tensor([math.prod(sizes[place + 1 :]) for place in range(len(sizes))])
        return (signs[..., self.coordinates] * radix).sum(-1)

    def write(self, signs: Tensor, index: Tensor) -> Tensor:
        """Signs (..., D) with the joint values `index` (..., G) in the blocks."""
        signs = signs.clone()
        signs[..., self.coordinates] = self.values[index]
        return signs


@dataclass(frozen=True)
class Turn:
    """A partition of the signs into blocks.

    Args:
        size: signs in a block; None: all.
        plate: the plate whose objects are updated side by side; None: one block at a time.
    """

    size: int | None = None
    plate: str | None = None

    def __str__(self) -> str:
        plate = repr(self.plate)
        if self.size is None:
            return "turns.whole()" if self.plate is None else f"turns.each({plate})"
        return f"turns.stretch({self.size})" if self.plate is None else f"turns.stretch({self.size}, {plate})"

    def steps(self, signs: Sequence[Site]) -> list[Step]:
        """The steps of this turn for the signs of a game.

        Raises:
            ValueError: a sign is outside the plate, or a block has too many values.
        """
        coordinates, sizes = self._coordinates(signs)
        if not all(sizes):  # continuous
            if self.size is not None:
                raise ValueError(f"{self} requires discrete signs; use turns.each(plate) or turns.whole()")
            return [Step(coordinates, torch.empty(0, coordinates.shape[1]), self.plate)]
        steps = []
        for start in range(0, coordinates.shape[1], self.size or coordinates.shape[1]):
            stop = start + (self.size or coordinates.shape[1])
            counts = sizes[start:stop]
            if math.prod(counts) > MOST_VALUES:
                raise ValueError(
                    f"a block of {self} has {math.prod(counts)} values; at most {MOST_VALUES}; "
                    "use turns.stretch with a smaller T"
                )
            values = torch.cartesian_prod(*[torch.arange(K) for K in counts]).view(-1, len(counts))
            steps.append(Step(coordinates[:, start:stop], values, self.plate))
        return steps

    def _coordinates(self, signs: Sequence[Site]) -> tuple[Tensor, list[int]]:
        """Places (G, B) of the signs of every object, and the number of values of each of the B."""
        parts, sizes, start = [], [], 0
        for site in signs:
            places = start + torch.arange(site.size).view(site.shape + site.event)
            start += site.size
            if self.plate is None:
                places = places.reshape(1, -1)
            else:
                dims = [plate.dim for plate in site.plates if plate.name == self.plate]
                if not dims:
                    around = ", ".join(repr(plate.name) for plate in site.plates)
                    raise ValueError(
                        f"site {site.name!r} is not in plate {self.plate!r} of {self}; "
                        + (f"its plates are {around}" if around else "it is in no plate, so use turns.stretch(T)")
                    )
                places = places.movedim(dims[0] - len(site.event), 0).reshape(site.shape[dims[0]], -1)
            parts.append(places)
            sizes += [0 if site.support is None else site.K] * places.shape[1]
        return torch.cat(parts, dim=1), sizes


def each(plate: str) -> Turn:
    """All signs of an object in one block, all objects of the plate side by side."""
    return Turn(None, plate)


def stretch(T: int, plate: str | None = None) -> Turn:
    """T consecutive signs in a block; with a plate, of every object side by side."""
    if T < 1:
        raise ValueError(f"turns.stretch needs T of 1 or more; it is {T}")
    return Turn(T, plate)


def words(plate: str) -> Turn:
    """Sign by sign, of every object side by side."""
    return Turn(1, plate)


def whole() -> Turn:
    """All signs in one block."""
    return Turn()
