"""Objects that a run's agents have not learned from: image files, arrays, held-out objects, and other data files.

Images that all agents look at are read in chunks, so only one chunk is in memory at a time. Everything that can be
checked without reading all of them is checked first. Images are float32 (B, C, H, W) in [0, 1] and upright. They are
converted to the run's shape (`mhng.experiment.data.resize`), then seen through each agent's view.

Paired data (separate data for each agent) and features are read and scaled as the run's own objects were.
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

from mhng.experiment.data import combinations, turntable
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom.image_arrays import ImageArray, channels_first, check_uint8, to_unit_floats
from mhng.experiment.data.custom.image_folder import class_labels, list_images
from mhng.experiment.data.images import SUFFIXES, read_image
from mhng.experiment.data.labels import whole_number
from mhng.experiment.data.loading import held_out
from mhng.experiment.data.modalities import expand_views, pack_views
from mhng.experiment.data.notes import LOW_RANGE
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.resize import RULE, resize_images
from mhng.experiment.data.views import apply_views
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.parsing import parse_data
from mhng.experiment.training.prepare import files_of, load_held_out, load_others
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import print_note

_CHUNK = 1024

# Chunks of the images that are a number of places ahead on a turntable (`mhng.experiment.data.turntable`)
ImagesAhead = Callable[[int], Iterable[Tensor]]


@dataclass(frozen=True, eq=False)
class NewObjects:
    """N objects to name: names, labels if known, and batches of what each agent observes."""

    heading: str  # column of the names: "index" or "file"
    names: Sequence[int | str]
    labels: NDArray[np.int64] | None  # (N,), indices of class_names
    class_names: tuple[str, ...]  # the run's classes, then classes that the run does not have
    batches: Iterable[Sequence[Tensor]]  # one view per agent, (B, *shape); can be iterated once


# -- sources -----------------------------------------------------------------------------------------


def from_split(run: SavedRun, split: str, limit: int | None) -> NewObjects:
    """Objects of the run's data set that the run did not use: `data.loading.held_out`.

    split: test, rest, or unseen, the combinations of --hold-out.
    """
    config, used = run.config, run.objects.count
    if split == "unseen":
        held = load_held_out(config)
        if held is None:
            raise UsageError(f"--split unseen requires a run with --hold-out; {run.path} has none")
        return _from_objects(run, held, 0, limit, "--split unseen")
    if split == "rest" and config.dataset in custom_dataset.KINDS and not has_single_image(run):
        objects = load_others(config, files_of(config))
        if objects.count == used:
            raise UsageError(f"--split rest: the run used all {used} objects of {config.dataset}")
        return _from_objects(run, objects, used, limit, "--split rest")
    require_single_image(run, _cannot_name(run))
    source, indices = held_out(config.dataset, split, data_root=config.data_root, used=used, files=files_of(config))
    N = _count(limit, len(indices), f"--split {split}")
    images = source.images[:N]
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    # Bytes are scaled chunk by chunk: scaling all at once would take four times the memory.
    chunks = _resized((part.astype(np.float32) / scale for part in _chunks(images)), run)

    def images_ahead(places: int) -> Iterator[Tensor]:
        assert source.images_ahead is not None
        return _resized(_chunks(source.images_ahead(places)[:N]), run, quiet=True)

    labels = None if source.labels is None else source.labels[:N]
    return NewObjects("index", indices[:N].tolist(), labels, source.class_names, _observed(run, chunks, images_ahead))


def from_data(run: SavedRun, data: str, limit: int | None) -> NewObjects:
    """Objects in files with the layout of the run's own data. data: paths, as --data takes them."""
    config = run.config
    if config.dataset not in custom_dataset.KINDS:
        raise UsageError(
            f"--new requires a run with data of its own; {run.path} uses {config.dataset}; pass --images or --split"
        )
    files = files_of(config)._replace(data=parse_data(data, "--new"), flag="--new")
    return _from_objects(run, load_others(config, files), 0, limit, f"--new {data}")


def from_images(run: SavedRun, path: Path, limit: int | None) -> NewObjects:
    """An image file, a folder of images, a folder of class folders, or an .npz file."""
    require_single_image(run, _cannot_name(run))
    place = f"--images {path}"
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:  # the name is too long or holds a null byte
        raise UsageError(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not exists:
        raise UsageError(f"{place}: there is no such file or folder")
    if path.suffix.lower() == ".npz" and not is_folder:
        return _from_npz(run, path, limit)
    files = _image_names(path) if is_folder else [path.name]
    root = path if is_folder else path.parent
    selected = files[: _count(limit, len(files), place)]

    def read(names: Sequence[str], quiet: bool) -> Iterator[Tensor]:
        return _batched(_resized((read_image(root / name)[None] for name in names), run, quiet=quiet))

    def images_ahead(places: int) -> Iterator[Tensor]:
        order = turntable.indices_ahead(files, places, place)
        return read([files[n] for n in order[: len(selected)]], quiet=True)

    labels, class_names = class_labels(place, files)
    if labels is not None:
        labels, class_names = _run_labels(run, labels[: len(selected)], class_names, place)
    batches = _observed(run, read(selected, quiet=False), images_ahead if is_folder else _no_turntable(place))
    return NewObjects("file", selected, labels, class_names, batches)


def from_array(run: SavedRun, images: NDArray) -> NewObjects:
    """Images in memory, with a shape and type that an .npz file may have (`data.custom.image_arrays`)."""
    place = "run.name"
    first = channels_first(place, images.shape, images.dtype)
    if images.dtype == np.uint8:
        check_uint8(place, int(images.max()))
    chunks = (to_unit_floats(place, part, number * _CHUNK, first) for number, part in enumerate(_chunks(images)))
    batches = _observed(run, _resized(chunks, run), _no_turntable(place))
    return NewObjects("index", range(len(images)), None, (), batches)


def _from_npz(run: SavedRun, path: Path, limit: int | None) -> NewObjects:
    named = run.config.dataset in custom_dataset.KINDS
    array = ImageArray(path, None if named else len(run.objects.class_names))
    N = _count(limit, array.count, array.place)
    labels, class_names = None if array.labels is None else array.labels[:N], run.objects.class_names
    if labels is not None and named:
        labels, class_names = _run_labels(run, labels, array.class_names, array.place)
    batches = _observed(run, _resized(array.chunks(N), run), _no_turntable(array.place))
    return NewObjects("index", range(N), labels, class_names, batches)


def _from_objects(run: SavedRun, objects: Objects, first: int, limit: int | None, place: str) -> NewObjects:
    """The loaded objects from number `first` on."""
    part = slice(first, first + _count(limit, objects.count - first, place))
    labels, class_names = None, run.objects.class_names
    if objects.labels is not None:
        labels, class_names = _run_labels(run, objects.labels[part], objects.class_names, place)
    batches = zip(*(view[part].split(_CHUNK) for view in objects.views), strict=True)
    if objects.files is not None:
        return NewObjects("file", objects.files[part], labels, class_names, batches)
    return NewObjects("index", objects.indices[part].tolist(), labels, class_names, batches)


# -- checks ------------------------------------------------------------------------------------------


def has_single_image(run: SavedRun) -> bool:
    """Whether all agents look at the same image, through their views."""
    objects = run.objects
    return not objects.paired and all(len(sense.shape) == 3 for senses in objects.modalities for sense in senses)


def require_images(run: SavedRun, problem: str) -> None:
    """Raise UsageError, with the run and the `problem`, unless all observations are images."""
    for name, senses in zip(run.agents, run.objects.modalities, strict=True):
        for sense in senses:
            if len(sense.shape) != 3:
                modality = f", modality {sense.title!r}," if len(senses) > 1 else ""
                raise UsageError(
                    f"{run.path} {problem}: agent {name}{modality} observes feature vectors of {run.config.dataset} "
                    f"with {sense.shape[0]} numbers each"
                )


def require_single_image(run: SavedRun, problem: str) -> None:
    """Raise UsageError, with the run and the `problem`, unless each agent can see the same image.

    Agents with separate data of one shape can; a note says what their signs mean.
    """
    if has_single_image(run):
        return
    require_images(run, problem)
    shapes = {sense.shape for senses in run.objects.modalities for sense in senses}
    if len(shapes) == 1 and all(len(senses) == 1 for senses in run.objects.modalities):
        print_note(
            f"note: each agent of {run.path} has separate data; every agent names each image as if it were its own "
            "observation"
        )
        return
    for name, senses in zip(run.agents, run.objects.modalities, strict=True):
        if len(senses) > 1:
            titles = " & ".join(sense.title for sense in senses)
            raise UsageError(
                f"{run.path} {problem}: agent {name} has {len(senses)} modalities with separate data, {titles}; an "
                "image would be only one of them"
            )
    raise UsageError(
        f"{run.path} {problem}: each agent has separate data in {run.config.dataset}, of different shapes; an image "
        "would be data of one agent only"
    )


def _cannot_name(run: SavedRun) -> str:
    alternatives = " (use --new or --split rest)" if run.config.dataset in custom_dataset.KINDS else ""
    return f"cannot name images{alternatives}"


def _count(limit: int | None, available: int, place: str) -> int:
    """The number of objects to name. Raises UsageError if `limit` is out of range."""
    if limit is None:
        return available
    if limit < 1:
        raise UsageError(f"--limit is {limit}; expected 1 or more")
    if limit > available:
        raise UsageError(f"--limit is {limit}, but {place} has {available} objects")
    return limit


# -- labels ------------------------------------------------------------------------------------------


def _run_labels(
    run: SavedRun, labels: NDArray[np.int64], class_names: tuple[str, ...], place: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Convert labels to indices of the run's classes, followed by classes that the run does not have."""
    known = run.objects.class_names
    class_names = _run_classes(class_names, known)
    new = tuple(class_names[k] for k in np.unique(labels) if class_names[k] not in known)
    if known and new:
        listed = ", ".join(new[:5]) + (", ..." if len(new) > 5 else "")
        print_note(f"note: {place} has classes that the run does not have; their accuracy is 0: {listed}"[:400])
    combined = known + tuple(dict.fromkeys(new))
    return np.array([combined.index(name) if name in combined else -1 for name in class_names])[labels], combined


def _run_classes(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The run's class for each name: the same name or, for a number such as 01 or 1.0, the class with its value.

    A name without such a class stays as it is, and so do names that would become one class.
    """
    by_value: dict[int | None, list[str]] = {}
    for name in known:
        by_value.setdefault(_value(name), []).append(name)
    classes = [
        name if name in known or _value(name) is None or len(by_value.get(_value(name), ())) != 1
        else by_value[_value(name)][0]
        for name in names
    ]  # fmt: skip
    return tuple(name if classes.count(new) > 1 else new for name, new in zip(names, classes, strict=True))


def _value(name: str) -> int | None:
    return whole_number(name.lstrip("0") or "0") if name.isdecimal() else whole_number(name)


# -- images ------------------------------------------------------------------------------------------


def _image_names(folder: Path) -> list[str]:
    """Relative names of the images directly in a folder or, if there are none, in the folders below it."""
    names = list_images(folder, "--images")
    if not names:
        raise UsageError(f"--images {folder}: the folder holds no image ({', '.join(SUFFIXES)})")
    direct = sorted(name for name in names if "/" not in name)
    if direct and len(direct) < len(names):
        below = len(names) - len(direct)
        print_note(f"note: --images {folder}: only its {len(direct)} images are named, not the {below} in subfolders")
    return direct or sorted(names, key=os.fsencode)


def _observed(run: SavedRun, chunks: Iterable[Tensor], images_ahead: ImagesAhead) -> Iterator[Sequence[Tensor]]:
    """The views of images for each agent, with all modalities present."""
    config = run.config
    views, names, counts = expand_views(config.views, run.agents)
    steps = sorted({view.places_ahead for view in views} - {0})
    columns = combinations.columns(config.dataset)
    for chunk, *ahead in zip(chunks, *map(images_ahead, steps), strict=True):
        by_step = dict(zip(steps, ahead, strict=True))
        pictures = combinations.split_columns(chunk, columns)
        observed = apply_views(pictures, views, names=names, seed=config.seed, images_ahead=by_step.__getitem__)
        yield pack_views([combinations.join_columns(view, columns) for view in observed], counts)


def _no_turntable(place: str) -> ImagesAhead:
    def images_ahead(places: int) -> Iterable[Tensor]:
        raise UsageError(
            f"{place}: an agent's view is ahead:{places}, another picture of the same object; pass a folder with the "
            "pictures of one turning object"
        )

    return images_ahead


def _resized(parts: Iterable[NDArray], run: SavedRun, *, quiet: bool = False) -> Iterator[Tensor]:
    """The parts in the run's image shape. Prints notes, unless `quiet`: at a conversion, and on images near black."""
    shape = run.objects.modalities[0][0].shape
    most, converted = 0.0, False
    for part in parts:
        most = max(most, float(part.max()))
        if part.shape[1:] != shape and not (quiet or converted):
            given, expected = ("x".join(map(str, sizes)) for sizes in (part.shape[1:], shape))
            print_note(f"images (such as {given}) are converted to the run's shape {expected}: {RULE}")
            converted = True
        yield resize_images(torch.from_numpy(np.ascontiguousarray(part)), shape)
    if most < LOW_RANGE and not quiet:
        print_note(f"note: the images are near black: the largest pixel is {most:.3g}; expected 0 to 1")


def _chunks(images: NDArray) -> Iterator[NDArray]:
    return (images[first : first + _CHUNK] for first in range(0, len(images), _CHUNK))


def _batched(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Concatenate single images into chunks."""
    waiting: list[Tensor] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == _CHUNK:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)
