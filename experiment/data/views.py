"""How agents see the same images differently: the small language of `--views`.

An entry is a step, or steps joined by `+` that follow each other: `45+blur:1`. Sizes do not change; what comes from
beyond an image is black; pixels stay in [0, 1].

    45              turned by so many degrees, counter-clockwise (nearest pixel)
    patch:R.C/G     only row R, column C (from 0) of a grid of G x G is seen, where it is; the rest is black
    crop:S          the middle, a share S of each side, enlarged to the whole size (bilinear)
    blur:S          a Gaussian blur with a standard deviation of S pixels
    noise:S         Gaussian noise of standard deviation S is added, clipped to [0, 1]; it is drawn once for each
                    object and agent, from the seed and the image, whatever other objects there are
    occlude:S       a black square of S times the shorter side, where the seed says, the same place for all objects
    grey            colours are gone: 0.299 R + 0.587 G + 0.114 B in all channels; grey images stay as they are
    invert          black is white
    ahead:J         of image files in folders (`--dataset folder`), each folder a thing that turns before a camera:
                    another picture of the thing, J places further on around the circle
                    (`mhng.experiment.data.turntable`);
                    wherever it stands among the steps, the others are done to that picture

The entry `patches:G` stands for all G * G entries patch:R.C/G, row by row. Entries joined by `&`, as in `0&90`, are
what one agent sees at once (`mhng.experiment.data.modalities`).

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

    Images = np.ndarray | torch.Tensor

View = float | str
LANGUAGE = "degrees, patch:R.C/G, crop:S, blur:S, noise:S, occlude:S, grey, invert, ahead:J, or these joined by +"

_MOST_PATCHES = 31
# Images that are turned at a time
_TURNED = 4096
# The largest S, and whether it may be 0
_MOST = {"crop": 1.0, "blur": 100.0, "noise": 10.0, "occlude": 1.0}
_MOST_PLACES = 999_999
_PATCH = re.compile(r"(\d{1,3})\.(\d{1,3})/(\d{1,3})", re.ASCII)


class Step(NamedTuple):
    """kind: turn, or a word of the language; values: its numbers."""

    kind: str
    values: tuple[float, ...]


def parse_views(text: str) -> tuple[View, ...]:
    """What `--views` is given as text, by agent: plain numbers as floats, all else as it is. ValueError naming what is
    wrong.
    """
    found: list[View] = []
    for number, part in enumerate((part.strip() for part in text.split(",")), 1):
        kind, _, size = part.partition(":")
        if "&" in part:
            found.append(_joined(part, number))
        elif kind == "patches":
            if not (size.isdecimal() and size.isascii() and 1 <= int(size) <= _MOST_PATCHES):
                raise ValueError(f"patches:G needs G from 1 to {_MOST_PATCHES}; it is {part!r}")
            G = int(size)
            found += [f"patch:{row}.{column}/{G}" for row in range(G) for column in range(G)]
        else:
            found.append(parse_view(part))
    return tuple(found)


def _joined(part: str, number: int) -> str:
    """An entry of several modalities, without blanks."""
    views = [one.strip() for one in part.split("&")]
    if "" in views:
        raise ValueError(f"modality {views.index('') + 1} of entry {number} is empty; the entry is {part!r}")
    return "&".join(format_view(parse_view(view)) for view in views)


def parse_view(view: float | str) -> View:
    """One entry, checked. ValueError naming what is wrong."""
    parsed = parse_steps(view)
    if len(parsed) == 1 and parsed[0].kind == "turn":
        return parsed[0].values[0]
    return str(view)


def parse_steps(view: View) -> tuple[Step, ...]:
    """What an entry does, step by step. ValueError naming what is wrong."""
    if not isinstance(view, str):
        if not math.isfinite(view):
            raise ValueError(f"degrees must be finite; one is {view}")
        return (Step("turn", (float(view),)),)
    return tuple(_step(part.strip(), view) for part in view.split("+"))


def places_ahead(view: View) -> int:
    """How many places further on the picture stands that an agent sees in the place of an object's own; 0: its own."""
    return sum(int(step.values[0]) for step in parse_steps(view) if step.kind == "ahead")


def format_view(view: View) -> str:
    """For a reader."""
    return view if isinstance(view, str) else f"{view:g}"


def _step(part: str, view: str) -> Step:
    kind, colon, size = part.partition(":")
    if part in ("grey", "invert"):
        return Step(kind, ())
    if kind == "patch" and (cell := _PATCH.fullmatch(size)):
        row, column, grid = map(int, cell.groups())
        if max(row, column) < grid <= _MOST_PATCHES:
            return Step(kind, (row, column, grid))
        raise ValueError(
            f"patch:R.C/G needs R and C from 0 to G - 1, and G of {_MOST_PATCHES} at most; it is {part!r}"
        )
    if kind == "ahead" and colon:
        if size.isdecimal() and size.isascii() and len(size) < 7 and int(size) > 0:
            return Step(kind, (int(size),))
        raise ValueError(f"ahead:J needs J, a whole number from 1 to {_MOST_PLACES}; it is {part[:60]!r}")
    if kind in _MOST and colon:
        value = _number(size)
        if value is not None and 0 < value <= _MOST[kind]:
            return Step(kind, (value,))
        raise ValueError(f"{kind}:S needs S above 0 and up to {_MOST[kind]:g}; it is {part!r}")
    degrees = _number(part)
    if degrees is None:
        raise ValueError(f"one is {view[:60]!r}; an entry is {LANGUAGE}")
    if not math.isfinite(degrees):
        raise ValueError(f"degrees must be finite; one is {part}")
    return Step("turn", (degrees,))


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


# -- images ----------------------------------------------------------------------------------------


def apply_views(
    images: Images,
    views: Sequence[View],
    *,
    names: Sequence[str],
    seed: int,
    further: Callable[[int], Images] | None = None,
) -> tuple[torch.Tensor, ...]:
    """The images (N, C, H, W), uint8 or in [0, 1], as each agent sees them: float32 (N, C, H, W) in [0, 1].

    names: of the agents; with `seed` they say where squares lie and what noise is. further: of each object the picture
    that stands so many places further on, for views with `ahead`. Agents with equal views share a tensor, unless these
    draw something.
    """
    upright = {0: _floats(images)}
    done: dict[object, torch.Tensor] = {}
    found = []
    for view, name in zip(views, names, strict=True):
        parsed = tuple(
            Step("turn", (step.values[0] % 360,)) if step.kind == "turn" else step for step in parse_steps(view)
        )
        draws = any(step.kind in ("noise", "occlude") for step in parsed)
        key = (parsed, name if draws else None)
        if key not in done:
            J = places_ahead(view)
            if J not in upright:
                assert further is not None, "views with `ahead` need to know what is further on"
                upright[J] = _floats(further(J))
            result = upright[J]
            for step in parsed:
                if step.kind != "ahead":
                    result = _seen(result, step, upright[J], name, seed)
            done[key] = result
        found.append(done[key])
    return tuple(found)


def _floats(images: Images) -> torch.Tensor:
    import torch

    if isinstance(images, np.ndarray):
        if images.dtype == np.uint8:
            images = images.astype(np.float32)
            images /= np.float32(255)  # in place: there may be gigabytes of them
        images = torch.from_numpy(images)
    return images


def _seen(images: torch.Tensor, step: Step, upright: torch.Tensor, name: str, seed: int) -> torch.Tensor:
    import torch
    from torch.nn import functional

    H, W = images.shape[2:]
    kind, values = step
    if kind == "turn":
        if values[0] == 0:
            return images
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        # A part at a time: for each pixel of what it is given it makes several numbers.
        turned = torch.empty_like(images)
        for part, given in zip(turned.split(_TURNED), images.split(_TURNED), strict=True):
            part[:] = transforms.rotate(given, values[0], InterpolationMode.NEAREST)
        return turned
    if kind == "patch":
        row, column, grid = map(int, values)
        kept = torch.zeros_like(images)
        rows, columns = (slice(at * size // grid, (at + 1) * size // grid) for at, size in ((row, H), (column, W)))
        kept[..., rows, columns] = images[..., rows, columns]
        return kept
    if kind == "crop":
        h, w = max(1, round(values[0] * H)), max(1, round(values[0] * W))
        top, left = (H - h) // 2, (W - w) // 2
        middle = images[..., top : top + h, left : left + w]
        return functional.interpolate(middle, (H, W), mode="bilinear", align_corners=False).clamp(0, 1)
    if kind == "blur":
        down, across = (_blur(size, values[0], images) for size in (H, W))
        return (down @ images @ across.mT).clamp(0, 1)
    if kind == "noise":
        return (images + values[0] * _noise(upright, name, seed)).clamp(0, 1)
    if kind == "occlude":
        return _occluded(images, values[0], name, seed)
    if kind == "grey":
        if images.shape[1] != 3:
            return images
        luma = images.new_tensor((0.299, 0.587, 0.114))[:, None, None]
        return (images * luma).sum(1, keepdim=True).clamp(0, 1).expand_as(images).contiguous()
    return 1 - images


def _blur(size: int, sigma: float, like: torch.Tensor) -> torch.Tensor:
    """What each pixel of an axis takes from each other one; what it would take from beyond the border is black."""
    import torch

    places = torch.arange(size, dtype=like.dtype)
    beyond = torch.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1, dtype=like.dtype)
    total = torch.exp(-(beyond**2) / (2 * sigma**2)).sum()
    return torch.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2)) / total


def _noise(upright: torch.Tensor, name: str, seed: int) -> torch.Tensor:
    """Standard normal, (N, C, H, W). Each object's is drawn from its own upright image: however many objects there
    are, and in whatever parts they are looked at, it is the same.
    """
    import torch

    noise = torch.empty_like(upright)
    for n, image in enumerate(upright):
        digest = hashlib.sha256(f"{seed}/{name}/noise/".encode() + image.numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        noise[n] = torch.randn(image.shape, generator=generator)
    return noise


def _occluded(images: torch.Tensor, share: float, name: str, seed: int) -> torch.Tensor:
    from mhng.models.rng import random_integer, stream

    H, W = images.shape[2:]
    side = max(1, round(share * min(H, W)))
    generator = stream(seed, f"{name}/views/occlude")
    top, left = random_integer(generator, H - side + 1), random_integer(generator, W - side + 1)
    found = images.clone()
    found[..., top : top + side, left : left + side] = 0
    return found
