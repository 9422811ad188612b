"""The objects of a run, as each of M agents sees them.

    objects = load("mnist5k", data_root=None, download=False, limit=1000, views=(0.0, 45.0), seed=0)
    objects.views[1]        # agent B's 1,000 digits, turned by 45 degrees: (1000, 1, 28, 28)

Importing this module imports neither torch nor the libraries that bring the data: the command line needs the
names of the data sets to parse its flags.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mhng.experiment.data.builtin import registry as builtin_registry
from mhng.experiment.data.builtin.source import TEST, Source
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.custom.base import CustomData
from mhng.experiment.data.modalities import (
    Modality,
    drop_modalities,
    expand_views,
    is_present,
    number_titles,
    split_view,
)
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.registry import DATASETS
from mhng.experiment.data.turntable import indices_ahead
from mhng.experiment.data.views import View, apply_views, format_view, parse_steps, places_ahead
from mhng.experiment.errors import UsageError
from mhng.experiment.util.agent_names import agent_names

if TYPE_CHECKING:
    import torch


DEFAULT_ROOT = Path("data")

SYNTHETIC_COUNT = 600
# Above this a mistyped --limit would fill the memory instead of being refused.
SYNTHETIC_MAX = 1_000_000


def load(
    name: str,
    *,
    data_root: Path | None,
    download: bool,
    limit: int | None,
    views: tuple[View, ...],
    seed: int,
    classes: int = 6,
    ambiguity: float = 1.0,
    dimension: int = 4,
    files: custom_dataset.Files = custom_dataset.NO_FILES,
    missing: float | None = 0.0,
) -> Objects:
    """The first `limit` objects (None: all) of the data set `name`, one view an agent, or one a modality.

    views: for each agent how it sees the images: the degrees, counter-clockwise, by which they are turned (nearest
    pixel, same size, corners black; multiples of 360 leave them untouched), or what else `mhng.experiment.data.views`
    knows, where `seed` says what is drawn; of an entry of several joined by `&` each is a modality. For `synthetic`
    only their number counts, and `seed`, `classes`, `ambiguity` and `dimension` say what is drawn
    (`mhng.experiment.data.synthetic`); nothing else depends on these. files: where data of one's own are
    (`mhng.experiment.data.custom.dataset`), of which each agent may have others; features have no views. missing:
    the share of
    modalities that are dropped, of agents that have several (`modalities.dropped`), where None drops none and allows
    one that no object has. data_root: the folder of data
    sets that no package ships (None: ./data). The network is used with `download` only, and only if the files are
    absent.

    Bad input is a `UsageError` of one line that names the flag or the file.
    """
    _check(name, limit, views)
    if name in custom_dataset.KINDS:
        return _own(name, files, limit, views, seed, missing)
    each, called, counts = expand_views(views, agent_names(len(views)))
    if name == "synthetic":
        found = _synthetic(limit, len(each), seed, classes, ambiguity, dimension)
        return _sensed(found, ["features"] * len(each), counts, missing, seed)
    source = _read(name, data_root, download)
    available = len(source.images)
    _check_limit(name, limit, available)
    indices = _order(name, available)[:limit]
    _check_views(len(indices), source.images.shape[1:], tuple(each))
    found = Objects(
        name=name,
        views=apply_views(source.images[indices], each, names=called, seed=seed),
        labels=None if source.labels is None else source.labels[indices],
        class_names=source.class_names,
        indices=indices,
    )
    return _sensed(found, [format_view(view) for view in each], counts, missing, seed)


def _sensed(objects: Objects, titles: list[str], counts: list[int], missing: float | None, seed: int) -> Objects:
    """The objects, each view of which is a modality with a title, with a share of them missing."""
    views = drop_modalities(objects.views, counts, agent_names(len(counts)), missing, seed)
    senses, first = [], 0
    for count in counts:
        own = range(first, first + count)
        first += count
        words = number_titles([titles[i] for i in own])
        senses.append(
            tuple(
                Modality(title, tuple(views[i].shape[1:]), int((~is_present(views[i])).sum()) if count > 1 else 0)
                for title, i in zip(words, own, strict=True)
            )
        )
    changed = any(one is not other for one, other in zip(views, objects.views, strict=True))
    return replace(objects, views=views, modalities=tuple(senses), checksum="" if changed else objects.checksum)


def _own(
    name: str,
    files: custom_dataset.Files,
    limit: int | None,
    views: tuple[View, ...],
    seed: int,
    missing: float | None,
) -> Objects:
    """The first `limit` objects of `custom_dataset.read`."""
    import torch

    given = custom_dataset.read(name, files)
    M, arrays = len(views), given.arrays
    if len(given.groups) not in (1, M):
        raise UsageError(f"{files.flag} has data for {len(given.groups)} agents, one by one; --agents is {M}")
    available = len(arrays[0])
    _check_limit(name, limit, available)
    N = available if limit is None else limit
    pairs = _pairs(given, views)
    counts = [len(own) for own in pairs]
    names = [f"{agent}/{i}" if len(own) > 1 else agent for agent, own in zip(agent_names(M), pairs, strict=True)
             for i in range(1, len(own) + 1)]  # fmt: skip
    flat = [pair for own in pairs for pair in own]
    if len(arrays) == 1 and arrays[0].ndim == 4:
        _check_views(N, arrays[0].shape[1:], tuple(view for _, view in flat))
        ahead = partial(_further, given, 0, slice(N), files)
        found = apply_views(arrays[0][:N], [view for _, view in flat], names=names, seed=seed, further=ahead)
    else:
        for agent, (which, view) in zip(names, flat, strict=True):
            if arrays[which].ndim == 2 and (isinstance(view, str) or view % 360):
                raise UsageError(f"--views: agent {agent} looks at features, and {view} is a view of images")
        same = [torch.from_numpy(array[:N]) for array in arrays]
        found = tuple(
            _looked(same[which], view, agent, seed, partial(_further, given, which, slice(N), files))
            for agent, (which, view) in zip(names, flat, strict=True)
        )
    objects = Objects(
        name=name,
        views=found,
        labels=None if given.labels is None else given.labels[:N],
        class_names=given.class_names,
        indices=np.arange(N, dtype=np.int64),
        paired=len(arrays) > 1,
        files=None if given.files is None else given.files[:N],
    )
    titles = [_title(given, which, view) for which, view in flat]
    return _sensed(objects, titles, counts, missing, seed)


def _title(given: CustomData, which: int, view: View) -> str:
    if len(given.arrays) > 1:
        return given.titles[which]
    return "features" if given.arrays[which].ndim == 2 else format_view(view)


def _pairs(given: CustomData, views: tuple[View, ...]) -> list[list[tuple[int, View]]]:
    """For each agent and modality of it: which of the arrays it looks at, and how.

    A view is of all modalities of an agent if there is one, and one array is that of all views.
    """
    ends = np.cumsum(given.groups)
    found = []
    for m, (agent, view) in enumerate(zip(agent_names(len(views)), views, strict=True)):
        entry = m if len(given.groups) > 1 else 0
        own = range(int(ends[entry]) - given.groups[entry], int(ends[entry]))
        hows = split_view(view)
        if min(len(own), len(hows)) > 1 and len(own) != len(hows):
            raise UsageError(
                f"--views has {len(hows)} modalities of agent {agent} and --data {len(own)}; give one view for all, "
                "or one for each"
            )
        count = max(len(own), len(hows))
        whats = list(own) * (count // len(own))
        found.append(list(zip(whats, hows * (count // len(hows)), strict=True)))
    return found


def _further(given: CustomData, which: int, objects: Any, files: custom_dataset.Files, J: int) -> np.ndarray:
    """Of those objects the images of one array that stand J places further on, wherever `--limit` ends.

    UsageError if nothing says what that is.
    """
    assert given.files is not None
    if given.labels is None:
        raise UsageError(
            f"--views: ahead:{J} needs a folder for each thing that turns, with its pictures in it; the files of "
            f"{files.flag} {custom_dataset.as_typed(files.data)} lie in none"
        )
    return given.arrays[which][
        indices_ahead(given.files, J, f"{files.flag} {custom_dataset.as_typed(files.data)}")[objects]
    ]


def _looked(
    array: torch.Tensor, view: View, agent: str, seed: int, ahead: Callable[[int], np.ndarray]
) -> torch.Tensor:
    """Features as they are, images by the view; what is missing stays NaN, also where it is further on."""
    import torch

    if array.dim() == 2:
        return array
    if places_ahead(view):
        array = torch.from_numpy(ahead(places_ahead(view)))
    lacking = ~is_present(array)
    if not lacking.any():
        return apply_views(array, (view,), names=(agent,), seed=seed, further=lambda _: array)[0]
    whole = array.nan_to_num(0.0)
    looked = apply_views(whole, (view,), names=(agent,), seed=seed, further=lambda _: whole)[0]
    return looked.masked_fill(lacking.view(-1, 1, 1, 1), float("nan"))


def _check_views(N: int, shape: tuple[int, ...], views: tuple[View, ...]) -> None:
    """UsageError if N images of that shape, as floats, upright and in each different view, would not fit."""
    from mhng.experiment.util.memory import GIB, available_memory

    size, there = 4 * N * math.prod(shape) * (1 + len(set(views))), available_memory()
    if there is not None and size > there:
        raise UsageError(
            f"--limit: {N} images in {len(set(views))} views need {size / GIB:,.3g} GiB of memory and "
            f"{there / GIB:.3g} GiB are available; give fewer"
        )


def _check_limit(name: str, limit: int | None, available: int) -> None:
    if limit is not None and limit > available:
        raise UsageError(f"--limit {limit}: {name} has {available} objects; give at most {available}")


def held_out(
    name: str, split: str, *, data_root: Path | None, used: int, files: custom_dataset.Files = custom_dataset.NO_FILES
) -> tuple[Source, np.ndarray]:
    """Objects of the data set `name` that a run with its first `used` objects has not seen, and their indices.

    split: "test", the test files of a data set that has them, in file order; "rest", what `load` leaves with that
    limit, in its order. The images are upright and as the source has them. Indices are those in the file, or in the
    source.
    """
    if split == "test":
        if name not in builtin_registry.ON_DISK:
            raise UsageError(
                f"--split test: {name} has no test split ({', '.join(builtin_registry.ON_DISK)} have one); "
                "give --split rest or --images"
            )
        source = builtin_registry.ON_DISK[name].read(_root(data_root), TEST)
        return source, np.arange(len(source.images), dtype=np.int64)
    if name == "synthetic":
        raise UsageError("--split rest: synthetic objects are drawn for a run, so there are no others")
    if name in custom_dataset.KINDS:
        given = custom_dataset.read(name, files)
        source = Source(given.arrays[0], given.labels, given.class_names)
        source = source._replace(further=partial(_further, given, 0, slice(used, None), files))
    else:
        source = _read(name, data_root, download=False)
    left = _order(name, len(source.images))[used:]
    if not len(left):
        raise UsageError(f"--split rest: the run used all {used} objects of {name}, so none are left")
    return source._replace(
        images=source.images[left], labels=None if source.labels is None else source.labels[left]
    ), left


def describe(data_root: Path | None) -> list[dict[str, Any]]:
    """For each data set its name, whether it is present, what it is (`what`) and how to get it (`how`).

    Looks for files and packages, reads and imports none. `UsageError` if `data_root` is a file.
    """
    root = _root(data_root)
    rows: list[dict[str, Any]] = []
    for name, what in DATASETS.items():
        if name in builtin_registry.ON_DISK:
            present = builtin_registry.ON_DISK[name].missing(root) is None
            how = f"--download, or --data-root DIR with {builtin_registry.ON_DISK[name].where} in it"
        elif name in builtin_registry.BUNDLED:
            present = importlib.util.find_spec(builtin_registry.BUNDLED[name].module) is not None
            how = f"comes with the Python package {builtin_registry.BUNDLED[name].package}"
        else:
            present, how = True, "--data" if name in custom_dataset.KINDS else "drawn from --seed"
        rows.append({"name": name, "present": present, "what": what, "how": how})
    return rows


def _check(name: str, limit: int | None, views: tuple[View, ...]) -> None:
    if name not in DATASETS:
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(DATASETS)}"
        raise UsageError(f"--dataset: there is no {name!r}; {hint}")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1; it was {limit}")
    if not views:
        raise UsageError("--views must have an entry for each agent; there were none")
    for part in (part for view in views for part in _parts(view)):
        try:
            parse_steps(part)
        except ValueError as error:
            raise UsageError(f"--views: {error}") from None
    check_ahead(name, views)


def check_ahead(name: str, views: Sequence[View]) -> None:
    """UsageError if agents look at other files than an object's own, and the objects of that data set are no files."""
    for one in (one for view in views for one in split_view(view)):
        if name != "folder" and places_ahead(one):
            raise UsageError(
                f"--views: {format_view(one)} is for --dataset folder, where a folder holds the pictures of a thing "
                f"that turns; --dataset is {name}"
            )


def _parts(view: View) -> Sequence[View]:
    return view.split("&") if isinstance(view, str) else [view]


def _root(data_root: Path | None) -> Path:
    root = DEFAULT_ROOT if data_root is None else Path(data_root)
    try:
        if root.exists() and not root.is_dir():
            raise UsageError(f"--data-root {root} is a file; give the folder that holds the data sets")
    except OSError as error:
        raise UsageError(f"--data-root {root} cannot be read: {error.strerror}") from error
    return root


def _read(name: str, data_root: Path | None, download: bool) -> Source:
    if name in builtin_registry.BUNDLED:
        try:
            return builtin_registry.BUNDLED[name].read()
        except ModuleNotFoundError as error:
            package = builtin_registry.BUNDLED[name].package
            raise UsageError(f"--dataset {name} needs the Python package {package}: {error}") from error
    root = _root(data_root)
    if download:
        builtin_registry.ON_DISK[name].fetch(root)
    return builtin_registry.ON_DISK[name].read(root)


def _order(name: str, available: int) -> np.ndarray:
    """The order in which `limit` takes the objects: the source's own, unless that is sorted by label."""
    if name != "mnist5k":
        return np.arange(available, dtype=np.int64)
    # RandomState, because numpy promises that its stream never changes, and promises nothing of the kind for
    # its newer generators. Not the run's seed: runs with different seeds must be about the same objects.
    return np.random.RandomState(0).permutation(available).astype(np.int64)


def _synthetic(limit: int | None, agents: int, seed: int, classes: int, ambiguity: float, dimension: int) -> Objects:
    from mhng.experiment.data import synthetic

    count = SYNTHETIC_COUNT if limit is None else limit
    if count > SYNTHETIC_MAX:
        raise UsageError(f"--limit {count}: synthetic has at most {SYNTHETIC_MAX} objects")
    drawn = synthetic.draw(count, agents, classes=classes, ambiguity=ambiguity, dimension=dimension, seed=seed)
    return Objects(
        name="synthetic",
        views=drawn.features,
        labels=drawn.labels.numpy(),
        class_names=tuple(str(k) for k in range(classes)),
        indices=np.arange(count, dtype=np.int64),
    )
