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
from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.custom.base import CustomData
from mhng.experiment.data.images import SUFFIXES, has_colour, longest_side, read_image
from mhng.experiment.data.labels import check_names, printable
from mhng.experiment.errors import UsageError
from mhng.experiment.util.memory import check_fits

# Files that desktops leave in folders
_DESKTOP = ("thumbs.db", "desktop.ini")


def read(
    folders: Sequence[Path], size: int, channels: int, groups: Sequence[int] = (), *, flag: str = "--data"
) -> CustomData:
    """The objects in `folders`. UsageError naming the folder or file that is unfit.

    groups: how many folders, in their order, each agent has; a file may be missing in one of several. flag: by which
    the folders were given.
    """
    groups = groups or [1] * len(folders)
    notes: list[str] = []
    listings = [_listed(folder, flag, notes) for folder in folders]
    ends = list(accumulate(groups))
    own = [slice(end - count, end) for end, count in zip(ends, groups, strict=True)]
    called = ["&".join(map(str, folders[part])) for part in own]
    unions = [_together(listings[part]) for part in own]
    first = unions[0]
    for name, union in zip(called[1:], unions[1:], strict=True):
        _check_same(called[0], first, name, union, flag)
    check_fits(f"{flag} {','.join(called)}", 4 * len(folders) * len(first) * channels * size**2)
    many: list[Path] = []
    arrays = tuple(
        _read([folder / listing[stem] if stem in listing else None for stem in first], size, channels, flag, many)
        for folder, listing in zip(folders, listings, strict=True)
    )
    if many:
        notes.append(
            f"{flag} {','.join(called)}: {len(many)} file{'s' if len(many) > 1 else ''} with several frames; only the "
            f"first is read, such as in {printable(str(many[0]))}"
        )
    labels, class_names = class_labels(f"{flag} {called[0]}", list(first.values()))
    return CustomData(arrays, labels, class_names, tuple(first.values()), notes=tuple(notes))


class Look(NamedTuple):
    """The longest side of images in pixels, and whether any has colour."""

    side: int
    colour: bool


def look(folders: Sequence[Path], *, flag: str = "--data") -> Look:
    """Look at all images in `folders`. Raises UsageError naming the folder or file that is unfit."""
    side, colour = 1, False
    for folder in folders:
        for name in list_images(folder, flag):
            side = max(side, longest_side(folder / name, flag))
            colour = colour or has_colour(read_image(folder / name, flag))  # decodes up to the first in colour
    return Look(side, colour)


def _together(listings: Sequence[dict[str, str]]) -> dict[str, str]:
    """What is in any of the listings, sorted as each of them is; a name is that in the first that has it."""
    union: dict[str, str] = {}
    for listing in listings:
        union = listing | union
    return dict(sorted(union.items(), key=lambda item: os.fsencode(item[0])))


def _listed(folder: Path, flag: str, notes: list[str]) -> dict[str, str]:
    """The relative name of each image by the same name without suffix, sorted by the bytes of the latter."""
    found: dict[str, str] = {}
    others: list[str] = []
    for name in sorted(list_images(folder, flag, others), key=os.fsencode):
        stem = name[: name.rindex(".")]
        if stem in found:
            raise UsageError(f"{flag} {folder}: {found[stem]} and {name} have one name, so they would be one object")
        found[stem] = name
    if not found:
        raise UsageError(f"{flag} {folder}: the folder holds no image ({', '.join(SUFFIXES)})")
    notes += _left_out(f"{flag} {folder}", found.values(), others)
    return dict(sorted(found.items(), key=lambda item: os.fsencode(item[0])))


def _left_out(place: str, images: Collection[str], others: Sequence[str]) -> list[str]:
    """Notes on subfolders without images, and on files with other suffixes."""
    notes = []
    classes = {name.split("/", 1)[0] for name in images}
    empty = [name for name in others if name.endswith("/") and name.split("/", 1)[0] not in classes]
    if empty:
        shown = ", ".join(printable(name.rstrip("/")) for name in sorted(empty)[:5])
        notes.append(f"{place}: folders without images are no classes: {shown}" + ", ..." * (len(empty) > 5))
    files = [name for name in others if not name.endswith("/") and name.rsplit("/", 1)[-1].lower() not in _DESKTOP]
    if files:
        kinds = sorted({printable(os.path.splitext(name)[1].lower()) or "no suffix" for name in files})
        notes.append(
            f"{place}: {len(files)} file{'s' if len(files) > 1 else ''} with other suffixes left out "
            f"({', '.join(kinds)[:100]}), such as {printable(files[0])}"
        )
    return notes


def list_images(
    folder: Path,
    flag: str,
    others: list[str] | None = None,
    inside: str = "",
    above: tuple[tuple[int, int], ...] = (),
) -> list[str]:
    """Relative names of the images in and below `folder / inside`.

    others: receives the names of files that are no images, and of folders, with a slash, that hold neither images nor
    folders. above: the folders that this one lies in. Raises UsageError for a link that leads nowhere or back.
    """
    here = folder / inside
    try:
        status = here.stat()
        identity = (status.st_dev, status.st_ino)
        entries = list(os.scandir(here))
        folders = {entry.name for entry in entries if os.path.isdir(entry.path)}
    except (OSError, ValueError) as error:
        raise UsageError(f"{flag} {here} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if identity in above:
        raise UsageError(f"{flag} {folder}: {inside.rstrip('/')} is a link to a folder that it lies in")
    found = []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name in folders:
            found += list_images(folder, flag, others, f"{inside}{entry.name}/", (*above, identity))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            if not os.path.isfile(entry.path):
                raise UsageError(f"{flag} {here / entry.name} is not a file, or a link to a missing file")
            found.append(inside + entry.name)
        elif entry.is_symlink() and not os.path.isfile(entry.path):
            raise UsageError(f"{flag} {here / entry.name} is a link to a missing file or folder")
        elif others is not None:
            others.append(inside + entry.name)
    if inside and not found and not folders and others is not None:
        others.append(inside)
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


def _read(files: list[Path | None], size: int, channels: int, flag: str, many: list[Path]) -> NDArray[np.float32]:
    """(N, channels, size, size); NaN where there is no file. many: receives the files with several frames."""
    import torch

    from mhng.experiment.data.resize import resize_images

    images = np.full((len(files), channels, size, size), np.nan, dtype=np.float32)
    for n, file in enumerate(files):
        if file is None:
            continue
        image = torch.from_numpy(read_image(file, flag, many)[None])
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
    check_names(dict.fromkeys(class_names, place))
    labels = np.array([class_names.index(one) for one in classes], dtype=np.int64)
    return labels, tuple(map(printable, class_names))


def _in_order(classes: set[str]) -> tuple[str, ...]:
    """Numbers by size, 2 before 10, else by the bytes of the names."""
    if all(one.isdecimal() and one.isascii() for one in classes):
        return tuple(sorted(classes, key=lambda one: (int(one), one)))
    return tuple(sorted(classes, key=os.fsencode))
