"""Objects that a run's agents have not learned from: image files, arrays, held-out ones, others laid out as its own.

Images that all agents look at are read a few at a time, so that only a chunk is in memory at once; what can be checked
without reading all of them is checked before the first. They are float32 (B, C, H, W) in [0, 1], upright, and made of
the run's shape (`mhng.experiment.data.resize`) before each agent looks at them by its own view.

Objects of which each agent perceives something else, and features, are read as those of the run were.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data import turntable
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom.image_arrays import ImageArray, channels_first, check_bytes, in_unit_interval
from mhng.experiment.data.custom.image_folder import classes_of, walked
from mhng.experiment.data.images import SUFFIXES, read_image
from mhng.experiment.data.loading import held_out
from mhng.experiment.data.modalities import eyes, packed
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.resize import RULE, fitted
from mhng.experiment.data.views import places, seen
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.parsing import entries_of
from mhng.experiment.training.prepare import files_of, load_others
from mhng.experiment.training.restore import Trained

SPLITS = ("test", "rest")

# Is told what the user is to know
Note = Callable[[str], None]

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Unseen:
    """N objects: how each is called (`names`, under the heading `title`), and its label, if it has one."""

    title: str
    names: Sequence[int | str]
    labels: NDArray[np.int64] | None  # (N,), indices of class_names
    class_names: tuple[str, ...]  # those of the run, then those that it does not know
    looks: Iterable[Sequence[Tensor]]  # what each agent perceives of B objects, (B, *shape); to be read once


def of_split(trained: Trained, split: str, limit: int | None, note: Note) -> Unseen:
    """Objects of the run's own data set that it did not use: `data.held_out`."""
    config = trained.config
    used = trained.objects.count
    if split == "rest" and config.dataset in custom_dataset.KINDS and not trained.sees_one_image:
        others = load_others(config, files_of(config))
        if others.count == used:
            raise UsageError(f"--split rest: the run used all {used} objects of {config.dataset}, so none are left")
        return _of_objects(trained, others, used, limit, "--split rest", note)
    trained.check_one_image(_fault(trained))
    source, indices = held_out(config.dataset, split, data_root=config.data_root, used=used, files=files_of(config))
    N = _within(limit, len(indices), f"--split {split}")
    images = source.images[:N]
    # Bytes become fractions by the chunk: all of them at once would take four times the memory.
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    chunks = _fitted((part.astype(np.float32) / scale for part in _cut(images)), trained.shape, note)

    def further(places: int) -> Iterator[Tensor]:
        assert source.further is not None
        return _fitted(_cut(source.further(places)[:N]), trained.shape, _quiet)

    labels = None if source.labels is None else source.labels[:N]
    return Unseen("index", indices[:N].tolist(), labels, source.class_names, _looked(trained, chunks, further))


def of_others(trained: Trained, typed: str, limit: int | None, note: Note) -> Unseen:
    """Objects in other files, laid out as the run's own data and typed as --data is."""
    config = trained.config
    if config.dataset not in custom_dataset.KINDS:
        raise UsageError(
            f"--new is for runs with data of their own, and that in {trained.folder.path} is of {config.dataset}; "
            "give --images or --split"
        )
    files = files_of(config)._replace(data=entries_of("data", typed, "--new"), flag="--new")
    return _of_objects(trained, load_others(config, files), 0, limit, f"--new {typed}", note)


def _of_objects(trained: Trained, others: Objects, used: int, limit: int | None, place: str, note: Note) -> Unseen:
    """The objects after the first that are `used`."""
    N = _within(limit, others.count - used, place)
    part = slice(used, used + N)
    labels, class_names = None, trained.objects.class_names
    if others.labels is not None:
        labels, class_names = _as_the_run_has_them(trained, others.labels[part], others.class_names, place, note)
    looks = zip(*(view[part].split(_CHUNK) for view in others.views), strict=True)
    if others.files is not None:
        return Unseen("file", others.files[part], labels, class_names, looks)
    return Unseen("index", others.indices[part].tolist(), labels, class_names, looks)


def of_path(trained: Trained, path: Path, limit: int | None, note: Note) -> Unseen:
    """An image file, a folder of them, folders of classes in a folder, or an .npz file."""
    trained.check_one_image(_fault(trained))
    place = f"--images {path}"
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a null byte
        raise UsageError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not is_there:
        raise UsageError(f"{place}: there is no such file or folder")
    if path.suffix.lower() == ".npz" and not is_folder:
        return _of_array_file(trained, path, limit, note)
    files = _files(path, note) if is_folder else [path.name]
    root = path if is_folder else path.parent
    some = files[: _within(limit, len(files), place)]

    def read(wanted: Sequence[str], told: Note) -> Iterator[Tensor]:
        return _gathered(_fitted((read_image(root / file)[None] for file in wanted), trained.shape, told))

    def further(places: int) -> Iterator[Tensor]:
        found = turntable.further(files, places, place)
        return read([files[n] for n in found[: len(some)]], _quiet)

    labels, class_names = classes_of(place, files)
    if labels is not None:
        labels, class_names = _as_the_run_has_them(trained, labels[: len(some)], class_names, place, note)
    looks = _looked(trained, read(some, note), further if is_folder else _alone(place))
    return Unseen("file", some, labels, class_names, looks)


def _fault(trained: Trained) -> str:
    instead = " (but --new and --split rest)" if trained.config.dataset in custom_dataset.KINDS else ""
    return f"cannot name images{instead}"


def _files(folder: Path, note: Note) -> list[str]:
    """Relative names of the images in a folder or, if it holds none itself, in and below the folders in it."""
    found = walked(folder, "--images")
    if not found:
        raise UsageError(f"--images {folder}: the folder holds no image ({', '.join(SUFFIXES)})")
    here = sorted(name for name in found if "/" not in name)
    if here and len(here) < len(found):
        below = len(found) - len(here)
        note(f"note: --images {folder}: the {len(here)} images in it are named, and the {below} below are not")
    return here or sorted(found, key=os.fsencode)


def _of_array_file(trained: Trained, path: Path, limit: int | None, note: Note) -> Unseen:
    named = trained.config.dataset in custom_dataset.KINDS
    array = ImageArray(path, None if named else trained.classes)
    N = _within(limit, array.count, array.place)
    labels, class_names = None if array.labels is None else array.labels[:N], trained.objects.class_names
    if labels is not None and named:
        labels, class_names = _as_the_run_has_them(trained, labels, array.class_names, array.place, note)
    looks = _looked(trained, _fitted(array.chunks(N), trained.shape, note), _alone(array.place))
    return Unseen("index", range(N), labels, class_names, looks)


def of_array(trained: Trained, images: NDArray, note: Note) -> Unseen:
    """Images in memory, in the shapes and types that an .npz file may have
    (`mhng.experiment.data.custom.image_arrays`)."""
    first = channels_first("run.name", images.shape, images.dtype)
    if images.dtype == np.uint8:
        check_bytes("run.name", int(images.max()))
    parts = (in_unit_interval("run.name", part, number * _CHUNK, first) for number, part in enumerate(_cut(images)))
    looks = _looked(trained, _fitted(parts, trained.shape, note), _alone("run.name"))
    return Unseen("index", range(len(images)), None, (), looks)


def _as_the_run_has_them(
    trained: Trained, labels: NDArray[np.int64], class_names: tuple[str, ...], place: str, note: Note
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as indices of the run's classes and, after these, of those that it does not know."""
    known = trained.objects.class_names
    class_names = tuple(_as_known(name, known) for name in class_names)
    new = tuple(class_names[k] for k in np.unique(labels) if class_names[k] not in known)
    if known and new:
        shown = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
        note(f"note: {place} has classes that the run has not, for which no sign can be right: {shown}"[:400])
    together = known + tuple(dict.fromkeys(new))
    return np.array([together.index(name) if name in together else -1 for name in class_names])[labels], together


def _as_known(name: str, known: Sequence[str]) -> str:
    """A number that is written otherwise than in the run, where it is the name of one class: 1 and 01."""
    if name in known:
        return name
    same = [one for one in known if (value := _number(one)) is not None and value == _number(name)]
    return same[0] if len(same) == 1 else name


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None


def _looked(
    trained: Trained, chunks: Iterable[Tensor], further: Callable[[int], Iterable[Tensor]]
) -> Iterator[Sequence[Tensor]]:
    """What each agent sees of images, by its own views, of which none is missing.

    further: the same chunks of the pictures that stand so many places further on (`mhng.experiment.data.turntable`).
    """
    config = trained.config
    views, names, counts = eyes(config.views, list(trained.agents))
    ahead = sorted({places(view) for view in views} - {0})
    others = [further(J) for J in ahead]
    for chunk, *after in zip(chunks, *others, strict=True):
        theirs = dict(zip(ahead, after, strict=True))
        yield packed(seen(chunk, views, names=names, seed=config.seed, further=theirs.__getitem__), counts)


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
        raise UsageError(f"--limit {limit}: {place} has {there} objects; give at most {there}")
    return limit


def _cut(images: NDArray) -> Iterator[NDArray]:
    return (images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK))


def _fitted(parts: Iterable[NDArray], shape: tuple[int, ...], note: Note) -> Iterator[Tensor]:
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
