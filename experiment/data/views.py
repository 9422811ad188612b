"""Views of images: the small language of `--views`.

An entry is a step, or steps joined by `+` and applied in order: `45+blur:1`. The image size stays; pixels from outside
the image are black; pixel values stay in [0, 1].

    45              rotation in degrees, counter-clockwise (nearest pixel); multiples of 360 change nothing
    patch:R.C/G     row R, column C (from 0) of a grid of G x G, in place; the rest is black
    crop:S          the centre, a share S of each side, enlarged to full size (bilinear)
    blur:S          Gaussian blur with a standard deviation of S pixels
    noise:S         Gaussian noise with standard deviation S, clipped to [0, 1]; fixed by seed, agent and image
    occlude:S       black square, S times the shorter side; its position is fixed by seed and agent
    grey            0.299 R + 0.587 G + 0.114 B in all channels; grey images are unchanged
    invert          1 minus the pixel value
    ahead:J         for folders of a rotating object (`--dataset folder`): the picture J places further on
                    (`mhng.experiment.data.turntable`); applied before all other steps

The entry `patches:G` stands for all G * G entries patch:R.C/G, row by row. Entries joined by `&`, as in `0&90`, are
modalities of one agent (`mhng.experiment.data.modalities`).

Importing this module does not import torch.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mhng.experiment.util.text import suggestion

if TYPE_CHECKING:
    import torch

    Images = np.ndarray | torch.Tensor

LANGUAGE = "degrees, patch:R.C/G, crop:S, blur:S, noise:S, occlude:S, grey, invert, ahead:J, or these joined by +"

_WORDS = re.findall("[a-z]{4,}", LANGUAGE.partition(",")[2].partition(", or")[0])
_MAX_GRID = 31
# Images rotated at a time
_ROTATION_BATCH = 4096
# The largest S of a step
_MAX_SIZE = {"crop": 1.0, "blur": 100.0, "noise": 10.0, "occlude": 1.0}
_MAX_PLACES = 999_999
_PATCH = re.compile(r"(\d{1,3})\.(\d{1,3})/(\d{1,3})", re.ASCII)


class Step(NamedTuple):
    """One step of a view. kind: turn, or the step's word; values: its numbers."""

    kind: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class View:
    """One entry of `--views`, parsed.

    text: the entry as written; degrees are a number. steps: the steps in order. joined: the views of several
    modalities (`&`); `steps` is then empty.
    """

    text: float | str
    steps: tuple[Step, ...] = ()
    joined: tuple[View, ...] = ()

    def __str__(self) -> str:
        return self.text if isinstance(self.text, str) else f"{self.text:g}"

    @property
    def modalities(self) -> tuple[View, ...]:
        """One view for each modality of the agent."""
        return self.joined or (self,)

    @property
    def is_upright(self) -> bool:
        """Whether the view leaves images unchanged."""
        return not self.joined and all(step.kind == "turn" and not step.values[0] % 360 for step in self.steps)

    @property
    def places_ahead(self) -> int:
        """The total J of the `ahead` steps, or 0."""
        return sum(int(step.values[0]) for step in self.steps if step.kind == "ahead")


def parse_views(text: str) -> tuple[View, ...]:
    """Parse `--views`: one entry per agent; plain numbers become floats. Raises ValueError."""
    views: list[View] = []
    for number, part in enumerate((part.strip() for part in text.split(",")), 1):
        kind, _, size = part.partition(":")
        if "&" in part:
            views.append(_parse_joined(part, number))
        elif kind == "patches":
            if not (size.isdecimal() and size.isascii() and 1 <= int(size) <= _MAX_GRID):
                raise ValueError(f"{part!r}: expected patches:G with G from 1 to {_MAX_GRID}")
            G = int(size)
            views += [parse_view(f"patch:{row}.{column}/{G}") for row in range(G) for column in range(G)]
        else:
            views.append(parse_view(part))
    return tuple(views)


def _parse_joined(entry: str, number: int = 1) -> View:
    """Parse an entry with several modalities; the text of the result has no blanks."""
    parts = [part.strip() for part in entry.split("&")]
    if "" in parts:
        raise ValueError(f"entry {number} is {entry!r}; modality {parts.index('') + 1} is empty")
    views = tuple(map(parse_view, parts))
    return View("&".join(map(str, views)), joined=views)


def parse_view(entry: float | str | View) -> View:
    """Parse one entry of `--views`; a `View` is returned unchanged. Raises ValueError."""
    if isinstance(entry, View):
        return entry
    if not isinstance(entry, str):
        if not math.isfinite(entry):
            raise ValueError(f"{entry} is no finite number of degrees")
        return View(float(entry), (Step("turn", (float(entry),)),))
    if "&" in entry:
        return _parse_joined(entry)
    steps = tuple(_parse_step(part.strip(), entry) for part in entry.split("+"))
    return View(steps[0].values[0] if len(steps) == 1 and steps[0].kind == "turn" else entry, steps)


def _parse_step(part: str, view: str) -> Step:
    kind, colon, size = part.partition(":")
    if part in ("grey", "invert"):
        return Step(kind, ())
    if kind == "patch" and (cell := _PATCH.fullmatch(size)):
        row, column, grid = map(int, cell.groups())
        if max(row, column) < grid <= _MAX_GRID:
            return Step(kind, (row, column, grid))
        raise ValueError(f"{part!r}: expected patch:R.C/G with R and C from 0 to G - 1 and G up to {_MAX_GRID}")
    if kind == "ahead" and colon:
        if size.isdecimal() and size.isascii() and len(size) < 7 and int(size) > 0:
            return Step(kind, (int(size),))
        raise ValueError(f"{part[:60]!r}: expected ahead:J with a whole number J from 1 to {_MAX_PLACES}")
    if kind in _MAX_SIZE and colon:
        value = _number(size)
        if value is not None and 0 < value <= _MAX_SIZE[kind]:
            return Step(kind, (value,))
        raise ValueError(f"{part!r}: expected {kind}:S with S above 0 and up to {_MAX_SIZE[kind]:g}")
    degrees = _number(part)
    if degrees is None:
        raise ValueError(f"{view[:60]!r} is no view; expected {LANGUAGE}{suggestion(part.partition(':')[0], _WORDS)}")
    if not math.isfinite(degrees):
        raise ValueError(f"{part} is no finite number of degrees")
    return Step("turn", (degrees,))


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


# -- images ------------------------------------------------------------------------------------------


def apply_views(
    images: Images,
    views: Sequence[View | float | str],
    *,
    names: Sequence[str],
    seed: int,
    images_ahead: Callable[[int], Images] | None = None,
) -> tuple[torch.Tensor, ...]:
    """Apply one view per agent to images (N, C, H, W), uint8 or in [0, 1]: float32 (N, C, H, W) in [0, 1].

    names: names of the agents; with `seed` they fix noise and occlusion. images_ahead: for J, the images J places
    further on; required by views with `ahead`. Agents with equal views share a tensor, unless the view is random.
    """
    upright = {0: _to_floats(images)}
    cache: dict[object, torch.Tensor] = {}
    observed = []
    for view, name in zip(map(parse_view, views), names, strict=True):
        steps = tuple(Step("turn", (step.values[0] % 360,)) if step.kind == "turn" else step for step in view.steps)
        is_random = any(step.kind in ("noise", "occlude") for step in steps)
        key = (steps, name if is_random else None)
        if key not in cache:
            J = view.places_ahead
            if J not in upright:
                assert images_ahead is not None, "views with `ahead` require images_ahead"
                upright[J] = _to_floats(images_ahead(J))
            result = upright[J]
            for step in steps:
                if step.kind != "ahead":
                    result = _apply_step(result, step, upright[J], name, seed)
            cache[key] = result
        observed.append(cache[key])
    return tuple(observed)


def _to_floats(images: Images) -> torch.Tensor:
    import torch

    if isinstance(images, np.ndarray):
        if images.dtype == np.uint8:
            images = images.astype(np.float32)
            images /= np.float32(255)  # in place: the images may take gigabytes
        images = torch.from_numpy(images)
    return images


def _apply_step(images: torch.Tensor, step: Step, upright: torch.Tensor, name: str, seed: int) -> torch.Tensor:
    import torch
    from torch.nn import functional

    H, W = images.shape[2:]
    kind, values = step
    if kind == "turn":
        if values[0] == 0:
            return images
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        # In batches: rotation allocates several numbers per pixel.
        rotated = torch.empty_like(images)
        for target, batch in zip(rotated.split(_ROTATION_BATCH), images.split(_ROTATION_BATCH), strict=True):
            target[:] = transforms.rotate(batch, values[0], InterpolationMode.NEAREST)
        return rotated
    if kind == "patch":
        row, column, grid = map(int, values)
        patch = torch.zeros_like(images)
        rows, columns = (slice(at * size // grid, (at + 1) * size // grid) for at, size in ((row, H), (column, W)))
        patch[..., rows, columns] = images[..., rows, columns]
        return patch
    if kind == "crop":
        h, w = max(1, round(values[0] * H)), max(1, round(values[0] * W))
        top, left = (H - h) // 2, (W - w) // 2
        centre = images[..., top : top + h, left : left + w]
        return functional.interpolate(centre, (H, W), mode="bilinear", align_corners=False).clamp(0, 1)
    if kind == "blur":
        down, across = (_blur_matrix(size, values[0], images) for size in (H, W))
        return (down @ images @ across.mT).clamp(0, 1)
    if kind == "noise":
        return (images + values[0] * _noise(upright, name, seed)).clamp(0, 1)
    if kind == "occlude":
        return _occlude(images, values[0], name, seed)
    if kind == "grey":
        if images.shape[1] != 3:
            return images
        luma = images.new_tensor((0.299, 0.587, 0.114))[:, None, None]
        return (images * luma).sum(1, keepdim=True).clamp(0, 1).expand_as(images).contiguous()
    return 1 - images


def _blur_matrix(size: int, sigma: float, like: torch.Tensor) -> torch.Tensor:
    """Weights (size, size) of a Gaussian blur along one axis. Pixels beyond the border count as black."""
    import torch

    positions = torch.arange(size, dtype=like.dtype)
    offsets = torch.arange(-math.ceil(4 * sigma), math.ceil(4 * sigma) + 1, dtype=like.dtype)
    total = torch.exp(-(offsets**2) / (2 * sigma**2)).sum()
    return torch.exp(-((positions[:, None] - positions) ** 2) / (2 * sigma**2)) / total


def _noise(upright: torch.Tensor, name: str, seed: int) -> torch.Tensor:
    """Standard normal noise (N, C, H, W).

    The generator of an object is seeded by its upright image, so the noise depends neither on other objects nor on
    batches.
    """
    import torch

    noise = torch.empty_like(upright)
    for n, image in enumerate(upright):
        digest = hashlib.sha256(f"{seed}/{name}/noise/".encode() + image.numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        noise[n] = torch.randn(image.shape, generator=generator)
    return noise


def _occlude(images: torch.Tensor, share: float, name: str, seed: int) -> torch.Tensor:
    from mhng.models.rng import random_integer, stream

    H, W = images.shape[2:]
    side = max(1, round(share * min(H, W)))
    generator = stream(seed, f"{name}/views/occlude")
    top, left = random_integer(generator, H - side + 1), random_integer(generator, W - side + 1)
    occluded = images.clone()
    occluded[..., top : top + side, left : left + side] = 0
    return occluded
