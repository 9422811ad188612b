"""Modalities: several views or data files per agent, joined by `&` in `--views` and `--data`.

A modality is a tensor (N, C, H, W) or (N, D). An object without it has NaN in its whole row. Modalities are
standardised, reduced and checked separately. `pack_views` then puts an agent's modalities side by side, as
`mhng.models.multimodal` expects them.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mhng.experiment.data.views import View
from mhng.experiment.errors import UsageError

if TYPE_CHECKING:
    import torch

SEPARATOR = "&"


class Modality(NamedTuple):
    """A modality of an agent. title: its view or file; shape: of an observation; missing: objects without it."""

    title: str
    shape: tuple[int, ...]
    missing: int = 0


def expand_views(views: Sequence[View], names: Sequence[str]) -> tuple[list[View], list[str], list[int]]:
    """Flatten entries of `--views`: the view and the stream name of every modality, and the count per agent.

    The name of a single modality is that of its agent, and A/1, A/2, ... otherwise. Random views depend on the name.
    """
    split = [view.modalities for view in views]
    stream_names = [
        f"{name}/{number}" if len(parts) > 1 else name
        for name, parts in zip(names, split, strict=True)
        for number in range(1, len(parts) + 1)
    ]
    return [view for parts in split for view in parts], stream_names, [len(parts) for parts in split]


def number_titles(titles: Sequence[str]) -> list[str]:
    """Append 1, 2, ... to equal titles of one agent's modalities."""
    return [
        f"{title} {1 + titles[:number].count(title)}" if titles.count(title) > 1 else title
        for number, title in enumerate(titles)
    ]


def is_present(view: torch.Tensor) -> torch.Tensor:
    """Mask (N,) bool of the objects that have the modality."""
    return ~view.flatten(1).isnan().all(1)


def drop_modalities(
    views: Sequence[torch.Tensor], counts: Sequence[int], names: Sequence[str], share: float | None, seed: int
) -> tuple[torch.Tensor, ...]:
    """Mask a `share` of the modalities, at random per object, for agents with several.

    An object keeps at least one modality, the one with the largest draw. What it loses does not depend on the number
    of objects. share: None drops nothing and accepts a modality that no object has. Raises UsageError that names an
    object without modalities, or a modality without objects.
    """
    import torch

    from mhng.models.rng import stream

    result = list(views)
    first = 0
    for name, count in zip(names, counts, strict=True):
        group = slice(first, first + count)
        first += count
        if count == 1:
            continue
        present = torch.stack([is_present(view) for view in views[group]], dim=1)
        _check_present(present, name, everywhere=share is not None)
        if not share:
            continue
        draws = torch.rand(present.shape, generator=stream(seed, f"{name}/missing")).where(present, -1.0)
        kept = (draws >= share) | (draws == draws.amax(1, keepdim=True))
        for number, view in enumerate(views[group]):
            lost = present[:, number] & ~kept[:, number]
            if lost.any():
                result[group.start + number] = view.masked_fill(lost.view(-1, *[1] * (view.dim() - 1)), torch.nan)
        _check_present(present & kept, name, everywhere=True)
    return tuple(result)


def _check_present(present: torch.Tensor, name: str, *, everywhere: bool) -> None:
    """Raise UsageError for an object without modalities or, if `everywhere`, a modality without objects."""
    bare = (~present.any(1)).nonzero()
    if len(bare):
        raise UsageError(
            f"object {int(bare[0])} has none of the {present.shape[1]} modalities of agent {name}; it needs one"
        )
    empty = (~present.any(0)).nonzero()
    if everywhere and len(empty):
        raise UsageError(f"no object has modality {int(empty[0]) + 1} of agent {name}; leave it out")


def pack_views(views: Sequence[torch.Tensor], counts: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """One tensor per agent: its only modality, or several flattened side by side, (N, D)."""
    import torch

    result, first = [], 0
    for count in counts:
        group = views[first : first + count]
        first += count
        result.append(group[0] if count == 1 else torch.cat([view.flatten(1) for view in group], dim=1))
    return tuple(result)


def describe_modalities(modalities: Sequence[Modality], objects: int) -> str:
    """One agent's modalities as text: "0 (1x8x8, 31 of 120 missing) & 90 (1x8x8)"."""
    parts = []
    for modality in modalities:
        missing = f", {modality.missing} of {objects} missing" if modality.missing else ""
        parts.append(f"{modality.title} ({'x'.join(map(str, modality.shape))}{missing})")
    return f" {SEPARATOR} ".join(parts)
