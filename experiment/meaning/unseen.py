"""Images that a run's agents have not learned from, a few at a time: files, arrays, or held-out objects.

Whatever their source, chunks are float32 (B, C, H, W) in [0, 1], upright, of the run's shape (`experiment.fitted`).
Only a chunk is in memory at once. What can be checked without reading all images is checked before the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiment.community import files_of
from experiment.data import own, turning
from experiment.data.fitted import RULE, fitted
from experiment.data.image_arrays import ImageArray, channels_first, in_unit_interval
from experiment.data.image_files import listed, read_image
from experiment.data.objects import held_out
from experiment.errors import UsageError
from experiment.meaning.trained import Trained

SPLITS = ("test", "rest")

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Unseen:
    """N images: how each is called (`names`, under the heading `title`), and its label, if it has one."""

    title: str
    names: Sequence[int | str]
    labels: NDArray[np.int64] | None  # (N,)
    chunks: Iterable[Tensor]  # (B, C, H, W); to be read once
    # The same chunks of the pictures that stand so many places further on (`experiment.data.turning`)
    further: Callable[[int], Iterable[Tensor]]


def of_split(trained: Trained, split: str, limit: int | None, note: Callable[[str], None]) -> Unseen:
    """Objects of the run's own data set that it did not use: `data.held_out`."""
    config = trained.config
    source, indices = held_out(
        config.dataset, split, data_root=config.data_root, used=trained.objects.count, files=files_of(config)
    )
    N = _within(limit, len(indices), f"--split {split}")
    images = source.images[:N]
    # Bytes become fractions by the chunk: all of them at once would take four times the memory.
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    chunks = _fitted((part.astype(np.float32) / scale for part in _cut(images)), trained.shape, note)

    def further(places: int) -> Iterator[Tensor]:
        assert source.further is not None
        return _fitted(_cut(source.further(places)[:N]), trained.shape, _quiet)

    return Unseen("index", indices[:N].tolist(), None if source.labels is None else source.labels[:N], chunks, further)


def of_path(trained: Trained, path: Path, limit: int | None, note: Callable[[str], None]) -> Unseen:
    """An image file, a folder of them, or an .npz file."""
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise UsageError(f"--images {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not is_there:
        raise UsageError(f"--images {path}: there is no such file or folder")
    if path.suffix.lower() == ".npz" and not is_folder:
        named = trained.objects.class_names if trained.config.dataset in own.KINDS else None
        array = ImageArray(path, trained.classes, named)
        N = _within(limit, array.count, f"--images {path}")
        labels = None if array.labels is None else array.labels[:N]
        chunks = _fitted(array.chunks(N), trained.shape, note)
        return Unseen("index", range(N), labels, chunks, _alone(f"--images {path}"))
    files = listed(path) if is_folder else [path]
    some = files[: _within(limit, len(files), f"--images {path}")]

    def looked_at(wanted: Sequence[Path], told: Callable[[str], None]) -> Iterator[Tensor]:
        return _gathered(_fitted((read_image(file)[None] for file in wanted), trained.shape, told))

    def further(places: int) -> Iterator[Tensor]:
        found = turning.further([file.name for file in files], places, f"--images {path}")
        return looked_at([files[n] for n in found[: len(some)]], _quiet)

    return Unseen(
        "file",
        [file.name for file in some],
        None,
        looked_at(some, note),
        further if is_folder else _alone(f"--images {path}"),
    )


def of_array(trained: Trained, images: NDArray, note: Callable[[str], None]) -> Unseen:
    """Images in memory, in the shapes and types that an .npz file may have (`experiment.data.image_arrays`)."""
    first = channels_first("run.name", images.shape, images.dtype)
    parts = (in_unit_interval("run.name", part, number * _CHUNK, first) for number, part in enumerate(_cut(images)))
    return Unseen("index", range(len(images)), None, _fitted(parts, trained.shape, note), _alone("run.name"))


def _alone(source: str) -> Callable[[int], Iterable[Tensor]]:
    def further(places: int) -> Iterable[Tensor]:
        raise UsageError(
            f"{source}: an agent of the run looks ahead:{places}, at another picture of the same thing; give a folder "
            "of the pictures of one thing that turns"
        )

    return further


def _quiet(text: str) -> None:
    """What is told of images is not told of them again."""


def _within(limit: int | None, there: int, place: str) -> int:
    """How many of the images to take."""
    if limit is None:
        return there
    if limit < 1:
        raise UsageError(f"--limit must be at least 1; it was {limit}")
    if limit > there:
        raise UsageError(f"--limit {limit}: {place} has {there} images; give at most {there}")
    return limit


def _cut(images: NDArray) -> Iterator[NDArray]:
    return (images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK))


def _fitted(parts: Iterable[NDArray], shape: tuple[int, ...], note: Callable[[str], None]) -> Iterator[Tensor]:
    """The parts in the run's shape; the first that had to be changed is told of."""
    told = False
    for part in parts:
        if part.shape[1:] != shape and not told:
            given, wanted = ("x".join(map(str, one)) for one in (part.shape[1:], shape))
            note(f"images of other shapes than the run's {wanted} (such as {given}) are changed: {RULE}")
            told = True
        yield fitted(torch.from_numpy(np.ascontiguousarray(part)), shape)


def _gathered(ones: Iterable[Tensor]) -> Iterator[Tensor]:
    """Single images put together, for the networks' sake."""
    waiting: list[Tensor] = []
    for one in ones:
        waiting.append(one)
        if len(waiting) == _CHUNK:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)
