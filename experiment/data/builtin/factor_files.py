"""dSprites and 3D Shapes: pictures with known factors, read from their files under --data-root.

    dsprites   dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz (Matthey et al. 2017): shape (3), scale (6), and the
               horizontal and the vertical place in quarters (4, 4); the orientation is no attribute
    3dshapes   3dshapes.h5 (Burgess and Kim 2018): hue of floor, wall and object (10 each), scale (8), shape (4); the
               orientation is no attribute

Pictures of 64x64 pixels are averaged to 32x32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.builtin.source import damaged, is_file, unreadable
from mhng.experiment.errors import UsageError

FILES = {"dsprites": "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "3dshapes": "3dshapes.h5"}
COUNT = 5000
_QUARTER = 8  # places of dSprites in a quarter


def missing(name: str, root: Path) -> Path | None:
    """The file of the data set if it is absent, else None."""
    file = root / FILES[name]
    return None if is_file(name, file) else file


def read(
    name: str, root: Path, limit: int | None, random: np.random.RandomState
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Attributes (N, A) and pictures (N, C, 32, 32) in [0, 1] of random objects. Raises UsageError naming the file."""
    absent = missing(name, root)
    if absent is not None:
        raise UsageError(f"--dataset {name}: no {absent}; pass --data-root DIR with {FILES[name]} in it")
    file = root / FILES[name]
    try:
        images, attributes = (_dsprites if name == "dsprites" else _shapes)(file, limit, random)
    except OSError as error:
        raise unreadable(name, file, error) from error
    except (KeyError, ValueError, IndexError) as error:
        raise damaged(name, file, str(error).split("\n")[0][:100]) from error
    N, H, W = images.shape[:3]
    if H != W or H % 2 or len(attributes) != N:
        raise damaged(name, file, f"its pictures have the shape {images.shape}")
    halves = images.reshape(N, H // 2, 2, W // 2, 2, -1).mean((2, 4), dtype=np.float32)
    return attributes, np.ascontiguousarray(halves.transpose(0, 3, 1, 2))


def _chosen(count: int, limit: int | None, random: np.random.RandomState) -> NDArray[np.int64]:
    """Positions of random objects, in random order."""
    wanted = COUNT if limit is None else limit
    # Held-out combinations are drawn too, and left out later, so more objects are drawn than wanted.
    chosen: NDArray[np.int64] = random.permutation(count)[: min(count, 2 * wanted)].astype(np.int64)
    return chosen


def _dsprites(file: Path, limit: int | None, random: np.random.RandomState) -> tuple[Any, NDArray[np.int64]]:
    with np.load(file, allow_pickle=False) as arrays:
        factors = arrays["latents_classes"]
        chosen = _chosen(len(factors), limit, random)
        images, factors = arrays["imgs"][chosen], factors[chosen]
    places = factors[:, 4:6] // _QUARTER
    return images[..., None], np.concatenate([factors[:, 1:3], places], axis=1).astype(np.int64)


def _shapes(file: Path, limit: int | None, random: np.random.RandomState) -> tuple[Any, NDArray[np.int64]]:
    import h5py

    with h5py.File(file, "r") as data:
        labels = data["labels"][:]
        chosen = _chosen(len(labels), limit, random)
        order = np.argsort(chosen)  # h5py reads positions in increasing order
        images = data["images"][chosen[order]][np.argsort(order)]
    kept = [0, 1, 2, 3, 4]
    attributes = [np.unique(labels[:, factor], return_inverse=True)[1].reshape(-1)[chosen] for factor in kept]
    return images / np.float32(255), np.stack(attributes, axis=1).astype(np.int64)
