"""Load a data set as the agents of a run observe it.

    objects = load("mnist5k", data_root=None, download=False, limit=1000, views=(0.0, 45.0), seed=0)
    objects.views[1]        # agent B's 1,000 digits, rotated by 45 degrees: (1000, 1, 28, 28)

Importing this module imports neither torch nor the packages that ship data.
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

from mhng.experiment.data import combinations
from mhng.experiment.data.builtin import factor_files, fruits
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
)
from mhng.experiment.data.objects import Objects
from mhng.experiment.data.registry import DATASETS
from mhng.experiment.data.turntable import indices_ahead
from mhng.experiment.data.views import View, apply_views, parse_view
from mhng.experiment.errors import UsageError
from mhng.experiment.util.agent_names import agent_names

if TYPE_CHECKING:
    import torch


DEFAULT_ROOT = Path("data")

SYNTHETIC_COUNT = 600
# Data sets that are sorted by label in their source
SORTED_BY_LABEL = ("mnist5k", *fruits.SETS)
# Refuses a mistyped --limit before it fills the memory.
SYNTHETIC_MAX = 1_000_000


def load(
    name: str,
    *,
    data_root: Path | None,
    download: bool,
    limit: int | None,
    views: Sequence[View | float | str],
    seed: int,
    classes: int = 6,
    ambiguity: float = 1.0,
    dimension: int = 4,
    files: custom_dataset.Files = custom_dataset.NO_FILES,
    missing: float | None = 0.0,
    hold_out: str | None = None,
    held: bool = False,
) -> Objects:
    """Load the first `limit` objects (None: all) of the data set `name`, with one view per modality of every agent.

    data_root: folder of the data sets that no package ships (None: ./data). download: fetch absent files.
    views: one entry per agent (`mhng.experiment.data.views`). Features have no views.
    seed: seed of what views draw, and of the synthetic data.
    classes, ambiguity, dimension: parameters of `synthetic` (`mhng.experiment.data.synthetic`).
    files: location of custom data (`mhng.experiment.data.custom.dataset`).
    missing: share of modalities to drop (`modalities.drop_modalities`).
    hold_out, held: combinations that are left out, and whether to load those (`mhng.experiment.data.combinations`).

    Raises UsageError, one line that names the flag or the file.
    """
    parsed = _checked(name, limit, views)
    if name in custom_dataset.KINDS:
        return _load_custom(name, files, limit, parsed, seed, missing)
    flat, stream_names, counts = expand_views(parsed, agent_names(len(parsed)))
    if name == "synthetic" or combinations.ATTRIBUTES.fullmatch(name):
        for view in flat:  # turns are the default of all data sets
            if any(step.kind != "turn" for step in view.steps):
                raise UsageError(f"--views {view} requires images; the objects of {name} are features")
    if name == "synthetic":
        objects = _draw_synthetic(limit, len(flat), seed, classes, ambiguity, dimension)
        return _with_modalities(objects, ["features"] * len(flat), counts, missing, seed)
    if combinations.has_combinations(name):
        objects = combinations.load_combinations(
            name,
            limit=limit,
            views=flat,
            names=stream_names,
            seed=seed,
            hold_out=hold_out,
            held=held,
            data_root=_root(data_root),
        )
        are_images = [view.dim() == 4 for view in objects.views]
        titles = [str(view) if image else "features" for view, image in zip(flat, are_images, strict=True)]
        return _with_modalities(objects, titles, counts, missing, seed)
    source = _read(name, data_root, download)
    _check_limit(name, limit, len(source.images))
    indices = _order(name, len(source.images))[:limit]
    _check_memory(len(indices), source.images.shape[1:], flat)
    objects = Objects(
        name=name,
        views=apply_views(source.images[indices], flat, names=stream_names, seed=seed),
        labels=None if source.labels is None else source.labels[indices],
        class_names=source.class_names,
        indices=indices,
    )
    return _with_modalities(objects, [str(view) for view in flat], counts, missing, seed)


def held_out(
    name: str, split: str, *, data_root: Path | None, used: int, files: custom_dataset.Files = custom_dataset.NO_FILES
) -> tuple[Source, np.ndarray]:
    """Load objects of the data set `name` outside a run with its first `used` objects, and their indices.

    split: "test", the test files in file order; or "rest", the objects after `used` in the order of `load`. Images
    are upright and unscaled. Indices refer to the test file, or to the source.
    """
    if split == "test":
        if name not in builtin_registry.ON_DISK:
            raise UsageError(
                f"--split test: {name} has no test split; pass --split rest or --images "
                f"(with a test split: {', '.join(builtin_registry.ON_DISK)})"
            )
        source = builtin_registry.ON_DISK[name].read(_root(data_root), TEST)
        return source, np.arange(len(source.images), dtype=np.int64)
    if name == "synthetic":
        raise UsageError("--split rest does not support synthetic: its objects are drawn for the run")
    if combinations.has_combinations(name):
        raise UsageError(
            f"--split rest does not support {name}; pass --split unseen for the combinations of --hold-out"
        )
    if name in custom_dataset.KINDS:
        data = custom_dataset.read(name, files)
        source = Source(data.arrays[0], data.labels, data.class_names)
        source = source._replace(images_ahead=partial(_images_ahead, data, 0, slice(used, None), files))
    else:
        source = _read(name, data_root, download=False)
    rest = _order(name, len(source.images))[used:]
    if not len(rest):
        raise UsageError(f"--split rest: the run used all {used} objects of {name}")
    labels = None if source.labels is None else source.labels[rest]
    return source._replace(images=source.images[rest], labels=labels), rest


def describe(data_root: Path | None) -> list[dict[str, Any]]:
    """List the data sets: `name`, `present`, description (`what`) and how to get it (`how`).

    Looks for files and packages without reading or importing them. Raises UsageError if `data_root` is a file.
    """
    root = _root(data_root)
    rows: list[dict[str, Any]] = []
    for name, what in DATASETS.items():
        if name in builtin_registry.ON_DISK:
            present = builtin_registry.ON_DISK[name].missing(root) is None
            place = f"--data-root DIR with {builtin_registry.ON_DISK[name].where} in it"
            how = f"--download, or {place}" if builtin_registry.ON_DISK[name].downloads else place
        elif name in builtin_registry.BUNDLED:
            present = importlib.util.find_spec(builtin_registry.BUNDLED[name].module) is not None
            how = f"part of the Python package {builtin_registry.BUNDLED[name].package}"
        elif name in factor_files.FILES:
            present = factor_files.missing(name, root) is None
            how = f"--data-root DIR with {factor_files.FILES[name]} in it"
        else:
            present, how = True, "--data" if name in custom_dataset.KINDS else "drawn from --seed"
        rows.append({"name": name, "present": present, "what": what, "how": how})
    return rows


def check_ahead(name: str, views: Sequence[View]) -> None:
    """Check that views with `ahead` are used with image folders only. Raises UsageError."""
    for view in (part for entry in views for part in entry.modalities):
        if name != "folder" and view.places_ahead:
            raise UsageError(f"--views {view} requires --dataset folder; --dataset is {name}")


# -- built-in data sets ------------------------------------------------------------------------------


def _read(name: str, data_root: Path | None, download: bool) -> Source:
    if name in builtin_registry.BUNDLED:
        try:
            return builtin_registry.BUNDLED[name].read()
        except ModuleNotFoundError as error:
            package = builtin_registry.BUNDLED[name].package
            raise UsageError(f"--dataset {name} requires the Python package {package}: {error}") from error
    root = _root(data_root)
    if download:
        builtin_registry.ON_DISK[name].fetch(root)
    return builtin_registry.ON_DISK[name].read(root)


def _root(data_root: Path | None) -> Path:
    root = DEFAULT_ROOT if data_root is None else Path(data_root)
    try:
        if root.exists() and not root.is_dir():
            raise UsageError(f"--data-root {root} is a file; expected the folder with the data sets")
    except OSError as error:
        raise UsageError(f"--data-root {root} cannot be read: {error.strerror}") from error
    return root


def _order(name: str, count: int) -> np.ndarray:
    """The order in which `limit` takes the objects: source order, unless the source is sorted by label."""
    if name not in SORTED_BY_LABEL:
        return np.arange(count, dtype=np.int64)
    # RandomState: NumPy guarantees its stream, but not that of newer generators. The run's seed is not used, so that
    # runs with different seeds use the same objects.
    return np.random.RandomState(0).permutation(count).astype(np.int64)


def _draw_synthetic(
    limit: int | None, agents: int, seed: int, classes: int, ambiguity: float, dimension: int
) -> Objects:
    from mhng.experiment.data import synthetic

    count = SYNTHETIC_COUNT if limit is None else limit
    if count > SYNTHETIC_MAX:
        raise UsageError(f"--limit is {count}; synthetic has at most {SYNTHETIC_MAX} objects")
    sample = synthetic.draw(count, agents, classes=classes, ambiguity=ambiguity, dimension=dimension, seed=seed)
    return Objects(
        name="synthetic",
        views=sample.features,
        labels=sample.labels.numpy(),
        class_names=tuple(str(k) for k in range(classes)),
        indices=np.arange(count, dtype=np.int64),
    )


# -- custom data -------------------------------------------------------------------------------------


def _load_custom(
    name: str,
    files: custom_dataset.Files,
    limit: int | None,
    views: tuple[View, ...],
    seed: int,
    missing: float | None,
) -> Objects:
    import torch

    data = custom_dataset.read(name, files)
    M, arrays = len(views), data.arrays
    if len(data.groups) not in (1, M):
        raise UsageError(f"{files.flag} has data for {len(data.groups)} agents; --agents is {M}")
    _check_limit(name, limit, len(arrays[0]))
    N = len(arrays[0]) if limit is None else limit
    pairs = _pair_arrays_with_views(data, views)
    counts = [len(group) for group in pairs]
    names = [
        f"{agent}/{number}" if count > 1 else agent
        for agent, count in zip(agent_names(M), counts, strict=True)
        for number in range(1, count + 1)
    ]
    flat = [pair for group in pairs for pair in group]
    if len(arrays) == 1 and arrays[0].ndim == 4:
        _check_memory(N, arrays[0].shape[1:], [view for _, view in flat])
        ahead = partial(_images_ahead, data, 0, slice(N), files)
        observed = apply_views(arrays[0][:N], [view for _, view in flat], names=names, seed=seed, images_ahead=ahead)
    else:
        for agent, (index, view) in zip(names, flat, strict=True):
            if arrays[index].ndim == 2 and not view.is_upright:
                raise UsageError(f"--views {view} of agent {agent} requires images; its data are features")
        # Converted once: agents with the same features share one tensor.
        tensors = [torch.from_numpy(array[:N]) for array in arrays]
        observed = tuple(
            _apply_view(tensors[index], view, agent, seed, partial(_images_ahead, data, index, slice(N), files))
            for agent, (index, view) in zip(names, flat, strict=True)
        )
    objects = Objects(
        name=name,
        views=observed,
        labels=None if data.labels is None else data.labels[:N],
        class_names=data.class_names,
        indices=np.arange(N, dtype=np.int64),
        paired=len(arrays) > 1,
        files=None if data.files is None else data.files[:N],
        notes=data.notes,
    )
    titles = [_title(data, index, view) for index, view in flat]
    return _with_modalities(objects, titles, counts, missing, seed)


def _pair_arrays_with_views(data: CustomData, views: tuple[View, ...]) -> list[list[tuple[int, View]]]:
    """For every agent, its modalities as pairs (array index, view).

    A single view applies to all arrays of the agent, and a single array is used with all views.
    """
    ends = np.cumsum(data.groups)
    pairs = []
    for m, (agent, entry) in enumerate(zip(agent_names(len(views)), views, strict=True)):
        group = m if len(data.groups) > 1 else 0
        indices = list(range(int(ends[group]) - data.groups[group], int(ends[group])))
        parts = entry.modalities
        if min(len(indices), len(parts)) > 1 and len(indices) != len(parts):
            raise UsageError(
                f"--views has {len(parts)} modalities for agent {agent}, but --data has {len(indices)}; pass 1 view, "
                f"or {len(indices)}"
            )
        count = max(len(indices), len(parts))
        pairs.append(list(zip(indices * (count // len(indices)), parts * (count // len(parts)), strict=True)))
    return pairs


def _title(data: CustomData, index: int, view: View) -> str:
    if len(data.arrays) > 1:
        return data.titles[index]
    return "features" if data.arrays[index].ndim == 2 else str(view)


def _images_ahead(data: CustomData, index: int, objects: slice, files: custom_dataset.Files, J: int) -> np.ndarray:
    """For the selected objects, the images of one array that are J places further on, also beyond `--limit`."""
    assert data.files is not None
    place = f"{files.flag} {custom_dataset.as_typed(files.data)}"
    if data.labels is None:
        raise UsageError(f"--views ahead:{J} requires a subfolder for every rotating object; {place} has none")
    return data.arrays[index][indices_ahead(data.files, J, place)[objects]]


def _apply_view(
    array: torch.Tensor, view: View, agent: str, seed: int, images_ahead: Callable[[int], np.ndarray]
) -> torch.Tensor:
    """Apply a view to images; missing ones stay NaN. Features are returned unchanged."""
    import torch

    if array.dim() == 2:
        return array
    if view.places_ahead:
        array = torch.from_numpy(images_ahead(view.places_ahead))
    absent = ~is_present(array)
    if not absent.any():
        return apply_views(array, (view,), names=(agent,), seed=seed, images_ahead=lambda _: array)[0]
    filled = array.nan_to_num(0.0)
    result = apply_views(filled, (view,), names=(agent,), seed=seed, images_ahead=lambda _: filled)[0]
    return result.masked_fill(absent.view(-1, 1, 1, 1), float("nan"))


# -- shared ------------------------------------------------------------------------------------------


def _with_modalities(
    objects: Objects, titles: list[str], counts: list[int], missing: float | None, seed: int
) -> Objects:
    """Drop a share of the modalities and describe them. counts: modalities of every agent."""
    views = drop_modalities(objects.views, counts, agent_names(len(counts)), missing, seed)
    groups, first = [], 0
    for count in counts:
        part = range(first, first + count)
        first += count
        groups.append(
            tuple(
                Modality(title, tuple(views[i].shape[1:]), int((~is_present(views[i])).sum()) if count > 1 else 0)
                for title, i in zip(number_titles([titles[i] for i in part]), part, strict=True)
            )
        )
    changed = any(new is not old for new, old in zip(views, objects.views, strict=True))
    return replace(objects, views=views, modalities=tuple(groups), checksum="" if changed else objects.checksum)


def _checked(name: str, limit: int | None, views: Sequence[View | float | str]) -> tuple[View, ...]:
    """Check the name and the limit, and parse the views. Raises UsageError."""
    if name not in DATASETS and not combinations.has_combinations(name):
        close = difflib.get_close_matches(name.lower(), DATASETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(DATASETS)}"
        raise UsageError(f"--dataset is {name!r}; {hint}")
    if name == combinations.PATTERN:
        raise UsageError(f"--dataset is {name}; expected numbers for A and V, as in attributes:2x10")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}; expected 1 or more")
    if not views:
        raise UsageError("--views is empty; expected one entry per agent")
    try:
        parsed = tuple(map(parse_view, views))
    except ValueError as error:
        raise UsageError(f"--views: {error}") from None
    check_ahead(name, parsed)
    return parsed


def _check_limit(name: str, limit: int | None, count: int) -> None:
    if limit is not None and limit > count:
        raise UsageError(f"--limit is {limit}, but {name} has {count} objects; pass at most {count}")


def _check_memory(N: int, shape: tuple[int, ...], views: Sequence[View]) -> None:
    """Check that N float images fit into memory, upright and in every different view. Raises UsageError."""
    from mhng.experiment.util.memory import GIB, available_memory

    size, free = 4 * N * math.prod(shape) * (1 + len(set(views))), available_memory()
    if free is not None and size > free:
        raise UsageError(
            f"--limit: {N} images in {len(set(views))} views need {size / GIB:,.3g} GiB of memory, but "
            f"{free / GIB:.3g} GiB are available; pass a smaller --limit"
        )
