"""Read objects of the user from .npz files.

images      (N, H, W), (N, C, H, W) or (N, H, W, C), C = 1 or 3, uint8 or floats in [0, 1]: the same for all agents
features    (N, D) numbers: the same for all agents
view_A, view_B, ...   images or features of the same N objects, one array per agent; their shapes may differ
labels      (N,) whole numbers or text, optional; the name `label` is accepted too

If an agent has several modalities, each is a file with `images` or `features`. If an object lacks a modality, all its
values are NaN. If several files have labels, the labels must be equal.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.custom.base import CustomData, counting_notes, finite_features
from mhng.experiment.data.custom.image_arrays import channels_first, check_uint8, to_unit_floats
from mhng.experiment.data.labels import encode_labels, labels_key, read_labels
from mhng.experiment.errors import UsageError
from mhng.experiment.util import npz
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.memory import check_fits

_PREFIX = "view_"


def agents_in(file: Path) -> int | None:
    """Number of agents with separate data in the file; None if all agents see the same, or it cannot be read."""
    try:
        with npz.open_archive(file, "") as archive:
            return len(_own(archive)) or None
    except UsageError:
        return None


def has_images(file: Path) -> bool:
    """Whether the file has images that are the same for all agents."""
    try:
        with npz.open_archive(file, "") as archive:
            return "images" in npz.array_names(archive)
    except UsageError:
        return False


def read_files(files: Sequence[Path], may_lack: Sequence[bool], *, flag: str = "--data") -> CustomData:
    """Read the objects in several files, one per agent or modality.

    Raises UsageError as `read` does, or naming files that differ. may_lack: for each file, whether an object may be
    missing in it. flag: the option that names the files.
    """
    found = [read(file, may_lack=lack, flag=flag) for file, lack in zip(files, may_lack, strict=True)]
    for file, given in zip(files, found, strict=True):
        if len(given.arrays) > 1:
            raise UsageError(
                f"{flag} {file} has arrays for several agents; with several files, each must have one array"
            )
        if len(given.arrays[0]) != len(found[0].arrays[0]):
            raise UsageError(
                f"{flag} {files[0]} has {len(found[0].arrays[0])} objects and {file} {len(given.arrays[0])}; row n "
                "must be the same object in all files"
            )
    labelled = [(file, given) for file, given in zip(files, found, strict=True) if given.labels is not None]
    arrays = tuple(given.arrays[0] for given in found)
    notes = tuple(note for given in found for note in given.notes)
    if not labelled:
        return CustomData(arrays, None, (), notes=notes)
    first, one = labelled[0]
    for file, other in labelled[1:]:
        differ = np.flatnonzero(_named(one) != _named(other))
        if len(differ):
            raise UsageError(
                f"{flag} {file}: labels[{differ[0]}] is {_named(other)[differ[0]]} and in {first} "
                f"{_named(one)[differ[0]]}; row n must be the same object in all files"
            )
    return CustomData(arrays, one.labels, one.class_names, notes=notes)


def _named(given: CustomData) -> NDArray:
    return np.asarray(given.class_names)[given.labels]


def read(file: Path, *, may_lack: bool = False, flag: str = "--data") -> CustomData:
    """Read the objects in `file`. Raises UsageError naming the file, the array and the index of a bad value.

    may_lack: whether all values of an object may be NaN. flag: the option that names the file.
    """
    place = f"{flag} {file}"
    with npz.open_archive(file, place) as archive:
        keys = _keys(archive, place)
        headers = [npz.read_header(archive, key, place) for key in keys]
        counts = {key: header.shape[0] if header.shape else 0 for key, header in zip(keys, headers, strict=True)}
        (first, N), *others = counts.items()
        for key, count in others:
            if count != N:
                raise UsageError(
                    f"{place}: {first} holds {N} objects and {key} {count}; row n must be the same object"
                )
        check_fits(place, sum(header.bytes for header in headers))
        arrays = tuple(
            _array(archive, key, header, place, may_lack) for key, header in zip(keys, headers, strict=True)
        )
        name = labels_key(archive)
        unused = sorted(set(npz.array_names(archive)) - {*keys, name})
        notes: tuple[str, ...] = (f"{place}: arrays that are not used: {', '.join(unused)[:200]}",) if unused else ()
        for key, array in zip(keys, arrays, strict=True):
            notes += counting_notes(f"{place}: {key}", array) if array.ndim == 2 else ()
        if name is None:
            return CustomData(arrays, None, (), notes=notes)
        labels, class_names = encode_labels(f"{place}: {name}", read_labels(archive, name, N, place))
        return CustomData(arrays, labels, class_names, notes=notes)


def _own(archive: zipfile.ZipFile) -> list[str]:
    return sorted(key for key in npz.array_names(archive) if key.startswith(_PREFIX))


def _keys(archive: zipfile.ZipFile, place: str) -> list[str]:
    """Names of the arrays that the agents see: one for all agents, or one per agent in their order."""
    there = npz.array_names(archive)
    own = _own(archive)
    kinds: list[str] = [key for key in ("images", "features") if key in there]
    if len(kinds) + bool(own) != 1:
        found = ", ".join(kinds + own) or ", ".join(sorted(there)[:5]) or "nothing"
        raise UsageError(
            f"{place} must hold one of images, features, and arrays {_PREFIX}A, {_PREFIX}B, ...; it holds {found}"
        )
    if not own:
        return kinds
    if len(own) == 1:
        raise UsageError(f"{place} has {own[0]} alone; pass one array per agent, or images or features for all")
    wanted = [_PREFIX + name for name in agent_names(len(own))]
    if set(own) != set(wanted):
        missing = next(key for key in wanted if key not in own)
        raise UsageError(f"{place} has {len(own)} arrays called {_PREFIX}...; {missing} is not among them")
    return wanted


def _array(archive: zipfile.ZipFile, key: str, header: npz.Header, place: str, may_lack: bool) -> NDArray[np.floating]:
    """Read an array: images (N, C, H, W) in [0, 1], or features (N, D)."""
    shape, _, dtype = header
    if key == "features" or (key != "images" and len(shape) == 2):
        if dtype.kind not in "fiub" or len(shape) != 2 or min(shape) < 1:
            raise UsageError(
                f"{place}: {key} must be numbers (N, D), N and D at least 1; it has dtype {dtype}, shape {shape}"
            )
        return finite_features(
            f"{place}: {key}", npz.read_array(archive, key), may_lack=may_lack and dtype.kind == "f"
        )
    first = channels_first(place, shape, dtype, key)
    images = npz.read_array(archive, key)
    if images.dtype == np.uint8:
        check_uint8(place, int(images.max()), key)
    if not may_lack or dtype.kind != "f":
        return np.ascontiguousarray(to_unit_floats(place, images, 0, first, key))
    lacking = np.isnan(images.reshape(len(images), -1)).all(1)
    black = np.where(lacking.reshape(-1, *[1] * (images.ndim - 1)), 0, images)
    found = np.ascontiguousarray(to_unit_floats(place, black, 0, first, key))
    found[lacking] = np.nan
    return found
