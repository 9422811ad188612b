"""Images of one's own in folders: the objects are the files, and the folders that they lie in are their labels.

    DIR/cat/1.png, DIR/dog/2.png    a folder for each class, as torchvision's ImageFolder has them; deeper ones belong
                                    to the class too
    DIR/1.png, DIR/2.png            no classes, so no labels
    A, B                            a folder for each agent: files of equal relative names, but for the suffix, are
                                    the same object
    A1&A2, B                        two folders for the first agent, of which an object may be missing in either

Files are sorted by the bytes of their relative names, so that their order is the same on every machine. Files and
folders whose names begin with a dot are passed over, and so are files of other suffixes than those of images; a file
with such a suffix that is no image is refused. Links are followed, but a folder that contains itself is refused.

All images are made `channels` x `size` x `size` by the rule of `mhng.experiment.data.resize`: black is added until
they are
square, and they are scaled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.custom.base import CustomData
from mhng.experiment.data.images import SUFFIXES, read_image
from mhng.experiment.data.labels import printable
from mhng.experiment.errors import UsageError
from mhng.experiment.util.memory import check_fits


def read(
    folders: Sequence[Path], size: int, channels: int, groups: Sequence[int] = (), *, flag: str = "--data"
) -> CustomData:
    """The objects in `folders`. UsageError naming the folder or file that is unfit.

    groups: how many folders, in their order, each agent has; a file may be missing in one of several. flag: by which
    the folders were given.
    """
    groups = groups or [1] * len(folders)
    listings = [_listed(folder, flag) for folder in folders]
    ends = list(accumulate(groups))
    own = [slice(end - count, end) for end, count in zip(ends, groups, strict=True)]
    called = ["&".join(map(str, folders[part])) for part in own]
    unions = [_together(listings[part]) for part in own]
    first = unions[0]
    for name, union in zip(called[1:], unions[1:], strict=True):
        _check_same(called[0], first, name, union, flag)
    check_fits(f"{flag} {','.join(called)}", 4 * len(folders) * len(first) * channels * size**2)
    arrays = tuple(
        _read([folder / listing[stem] if stem in listing else None for stem in first], size, channels, flag)
        for folder, listing in zip(folders, listings, strict=True)
    )
    labels, class_names = class_labels(f"{flag} {called[0]}", list(first.values()))
    return CustomData(arrays, labels, class_names, tuple(first.values()))


def _together(listings: Sequence[dict[str, str]]) -> dict[str, str]:
    """What is in any of the listings, sorted as each of them is; a name is that in the first that has it."""
    union: dict[str, str] = {}
    for listing in listings:
        union = listing | union
    return dict(sorted(union.items(), key=lambda item: os.fsencode(item[0])))


def _listed(folder: Path, flag: str) -> dict[str, str]:
    """Of each image, by its relative name without suffix: its relative name. Sorted by the bytes of the former."""
    found: dict[str, str] = {}
    for name in sorted(list_images(folder, flag), key=os.fsencode):
        stem = name[: name.rindex(".")]
        if stem in found:
            raise UsageError(f"{flag} {folder}: {found[stem]} and {name} have one name, so they would be one object")
        found[stem] = name
    if not found:
        raise UsageError(f"{flag} {folder}: the folder holds no image ({', '.join(SUFFIXES)})")
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0])))


def list_images(folder: Path, flag: str, inside: str = "", above: tuple[tuple[int, int], ...] = ()) -> list[str]:
    """Relative names of the images in and below `folder / inside`; above: the folders that this one lies in."""
    here = folder / inside
    try:
        status = here.stat()
        identity = (status.st_dev, status.st_ino)
        entries = list(os.scandir(here))
        folders = {entry.name for entry in entries if entry.is_dir()}
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag} {here} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if identity in above:
        raise UsageError(f"{flag} {folder}: {inside.rstrip('/')} is a link to a folder that it lies in")
    found = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name in folders:
            found += list_images(folder, flag, f"{inside}{entry.name}/", (*above, identity))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            if not entry.is_file():
                raise UsageError(f"{flag} {here / entry.name} is no file, or a link to none")
            found.append(inside + entry.name)
    return found


def _check_same(first: str, one: dict[str, str], folder: str, other: dict[str, str], flag: str) -> None:
    for there, absent, own, theirs in ((first, folder, one, other), (folder, first, other, one)):
        names = own.keys() - theirs.keys()
        if names:
            shown = own[min(names, key=os.fsencode)]
            more = f", nor are {len(names) - 1} others" if len(names) > 1 else ""
            raise UsageError(
                f"{flag}: {shown} of {there} is not in {absent}{more}; the files of all agents must have equal names"
            )


def _read(files: list[Path | None], size: int, channels: int, flag: str) -> NDArray[np.float32]:
    """(N, channels, size, size); NaN where there is no file."""
    import torch

    from mhng.experiment.data.resize import resize_images

    images = np.full((len(files), channels, size, size), np.nan, dtype=np.float32)
    for n, file in enumerate(files):
        if file is None:
            continue
        image = torch.from_numpy(read_image(file, flag)[None])
        images[n] = resize_images(image, (channels, size, size))[0].numpy()
    return images


def class_labels(place: str, names: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Labels and class names: the first folder on the way to each file, or none where there is none.

    place: what begins a complaint.
    """
    inside = ["/" in name for name in names]
    if not any(inside):
        return None, ()
    if not all(inside):
        raise UsageError(
            f"{place}: {names[inside.index(False)]} lies in no folder of a class, and "
            f"{names[inside.index(True)]} does; give folders of classes alone, or files alone"
        )
    classes = [name.split("/", 1)[0] for name in names]
    class_names = _in_order(set(classes))
    labels = np.array([class_names.index(one) for one in classes], dtype=np.int64)
    return labels, tuple(map(printable, class_names))


def _in_order(classes: set[str]) -> tuple[str, ...]:
    """Numbers by size, 2 before 10, else by the bytes of the names."""
    if all(one.isdecimal() and one.isascii() for one in classes):
        return tuple(sorted(classes, key=lambda one: (int(one), one)))
    return tuple(sorted(classes, key=os.fsencode))
