"""Read images of the user from folders: each file is an object, and its folder is its label.

    DIR/cat/1.png, DIR/dog/2.png    one folder per class, as in torchvision's ImageFolder; subfolders of cat belong to
                                    class cat
    DIR/1.png, DIR/2.png            no classes, so no labels
    A, B                            one folder per agent; files with equal relative names without suffix are the same
                                    object
    A1&A2, B                        two modalities of the first agent; an object may be missing in one of A1 and A2

Files are sorted by the bytes of their relative names, so their order is the same on every machine. Files and folders
whose names begin with a dot are skipped, and so are files without an image suffix. A file with an image suffix that is
not an image is an error. Links are followed, but a link to a folder that contains it is an error.

All images are converted to `channels` x `size` x `size` as in `mhng.experiment.data.resize`: black padding makes them
square, and then they are scaled.
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
    """Read the objects in `folders`. Raises UsageError naming a bad folder or file.

    groups: number of folders of each agent, in their order. If an agent has several, files may be missing in some.
    flag: the option that names the folders.
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
    """Look at all images in `folders`. Raises UsageError naming a bad folder or file."""
    side, colour = 1, False
    for folder in folders:
        for name in list_images(folder, flag):
            side = max(side, longest_side(folder / name, flag))
            colour = colour or has_colour(read_image(folder / name, flag))  # reads images until one has colour
    return Look(side, colour)


def _together(listings: Sequence[dict[str, str]]) -> dict[str, str]:
    """Union of listings, sorted by the bytes of the keys. If several have a key, the first one gives the name."""
    union: dict[str, str] = {}
    for listing in listings:
        union = listing | union
    return dict(sorted(union.items(), key=lambda item: os.fsencode(item[0])))


def _listed(folder: Path, flag: str, notes: list[str]) -> dict[str, str]:
    """List the images of a folder: relative name without suffix -> relative name, sorted by the bytes of the keys."""
    found: dict[str, str] = {}
    others: list[str] = []
    for name in sorted(list_images(folder, flag, others), key=os.fsencode):
        stem = name[: name.rindex(".")]
        if stem in found:
            raise UsageError(f"{flag} {folder}: {found[stem]} and {name} differ only in suffix; rename one")
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
        notes.append(f"{place}: folders without images are not used as classes: {shown}" + ", ..." * (len(empty) > 5))
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

    others: receives the names of files with other suffixes, and of folders (ending in /) with neither images nor
    folders. above: device and inode of the folders around this one. Raises UsageError for a broken or circular link.
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
        raise UsageError(f"{flag} {folder}: {inside.rstrip('/')} is a link to a folder that contains it")
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
    """Labels (N,) and class names from relative names: the first folder is the class. None and () without folders.

    place: beginning of each error message.
    """
    inside = ["/" in name for name in names]
    if not any(inside):
        return None, ()
    if not all(inside):
        raise UsageError(
            f"{place}: {names[inside.index(False)]} is in no class folder, but "
            f"{names[inside.index(True)]} is; put all files into class folders, or none"
        )
    classes = [name.split("/", 1)[0] for name in names]
    class_names = _in_order(set(classes))
    check_names(dict.fromkeys(class_names, place))
    labels = np.array([class_names.index(one) for one in classes], dtype=np.int64)
    return labels, tuple(map(printable, class_names))


def _in_order(classes: set[str]) -> tuple[str, ...]:
    """Sort class names: by value if all are numbers (2 before 10), else by their bytes."""
    if all(one.isdecimal() and one.isascii() for one in classes):
        return tuple(sorted(classes, key=lambda one: (int(one), one)))
    return tuple(sorted(classes, key=os.fsencode))
