"""Agents that see an object in several ways at once, joined by `&` in `--views` and `--data`; some may be missing.

A modality is a tensor (N, C, H, W) or (N, D) of an agent's own. An object that lacks it has NaN in all of its row,
which no number of a modality may be otherwise. Up to `packed` each modality stands alone, because each is
standardised, reduced and checked alone; then those of an agent lie flattened side by side, as `mhng.models.multimodal`
wants them.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mhng.experiment.data.views import View, parse_view
from mhng.experiment.errors import UsageError

if TYPE_CHECKING:
    import torch

SEPARATOR = "&"


class Modality(NamedTuple):
    """A modality of an agent: what the user calls it, the shape of an observation, how many objects lack it."""

    title: str
    shape: tuple[int, ...]
    missing: int = 0


def split_view(view: View) -> tuple[View, ...]:
    """The views that an entry of `--views` joins; of most there is one."""
    return tuple(map(parse_view, view.split(SEPARATOR))) if isinstance(view, str) and SEPARATOR in view else (view,)


def expand_views(views: Sequence[View], names: Sequence[str]) -> tuple[list[View], list[str], list[int]]:
    """The view and the name of every modality, agent by agent, and how many each agent has.

    A modality's name is that of its agent where there is one, so that what is drawn by it is what it always was.
    """
    joined = [split_view(view) for view in views]
    called = [
        f"{name}/{number}" if len(own) > 1 else name
        for name, own in zip(names, joined, strict=True)
        for number in range(1, len(own) + 1)
    ]
    return [view for own in joined for view in own], called, [len(own) for own in joined]


def number_titles(titles: Sequence[str]) -> list[str]:
    """Titles of one agent's modalities, numbered where two are equal."""
    return [
        f"{title} {1 + titles[:number].count(title)}" if titles.count(title) > 1 else title
        for number, title in enumerate(titles)
    ]


def is_present(view: torch.Tensor) -> torch.Tensor:
    """Which objects have the modality: (N,) bool."""
    return ~view.flatten(1).isnan().all(1)


def drop_modalities(
    views: Sequence[torch.Tensor], counts: Sequence[int], names: Sequence[str], share: float | None, seed: int
) -> tuple[torch.Tensor, ...]:
    """The modalities with a `share` of them missing, at random by object, of agents that have several.

    Of an object that would lose all, the one with the largest draw stays; each is as likely to. What an object loses
    does not depend on how many others there are. `UsageError` naming an object that has none, or a modality that no
    object has, unless `share` is None: then nothing is dropped, and that is as it may be.
    """
    import torch

    from mhng.models.rng import stream

    found = list(views)
    first = 0
    for name, count in zip(names, counts, strict=True):
        own = slice(first, first + count)
        first += count
        if count == 1:
            continue
        there = torch.stack([is_present(view) for view in views[own]], dim=1)
        _check_some(there, name, everywhere=share is not None)
        if not share:
            continue
        draws = torch.rand(there.shape, generator=stream(seed, f"{name}/missing")).where(there, -1.0)
        kept = (draws >= share) | (draws == draws.amax(1, keepdim=True))
        for number, view in enumerate(views[own]):
            lost = there[:, number] & ~kept[:, number]
            if lost.any():
                found[own.start + number] = view.masked_fill(lost.view(-1, *[1] * (view.dim() - 1)), torch.nan)
        _check_some(there & kept, name, everywhere=True)
    return tuple(found)


def _check_some(there: torch.Tensor, name: str, *, everywhere: bool) -> None:
    nothing = (~there.any(1)).nonzero()
    if len(nothing):
        raise UsageError(
            f"object {int(nothing[0])} has none of the {there.shape[1]} modalities of agent {name}; each needs one at "
            "least"
        )
    nowhere = (~there.any(0)).nonzero()
    if everywhere and len(nowhere):
        raise UsageError(f"no object has modality {int(nowhere[0]) + 1} of agent {name}; leave it out")


def pack_views(views: Sequence[torch.Tensor], counts: Sequence[int]) -> tuple[torch.Tensor, ...]:
    """One tensor an agent: its modality, or its modalities flattened and side by side, (N, D)."""
    import torch

    found, first = [], 0
    for count in counts:
        own = views[first : first + count]
        first += count
        found.append(own[0] if count == 1 else torch.cat([view.flatten(1) for view in own], dim=1))
    return tuple(found)


def describe_modalities(senses: Sequence[Modality], objects: int) -> str:
    """An agent's modalities for a reader: "0 (1x8x8, 31 of 120 missing) & 90 (1x8x8)"."""
    words = []
    for sense in senses:
        lacking = f", {sense.missing} of {objects} missing" if sense.missing else ""
        words.append(f"{sense.title} ({'x'.join(map(str, sense.shape))}{lacking})")
    return f" {SEPARATOR} ".join(words)
