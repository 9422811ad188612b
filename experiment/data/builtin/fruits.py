"""Fruits 360 (Mureșan and Oltean 2018, https://github.com/Horea94/Fruit-Images-Dataset): fruits on a turntable.

    ROOT/fruits360/ten/Avocado/0_100.jpg             the ten kinds of the paper's experiment; `twenty` for twenty
    ROOT/fruits-360/Training/Avocado/0_100.jpg       the original, with 131 kinds; Test/ is the test part

The original may also lie in ROOT itself, or in the folder that its archive unpacks to. Only the ten or twenty kinds
are read from it. Pictures have a white background; they become 32 x 32 pixels in colour.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mhng.experiment.data.builtin import source
from mhng.experiment.data.builtin.source import TEST, TRAIN, Source
from mhng.experiment.data.custom import image_folder
from mhng.experiment.errors import UsageError

TEN = (
    "Avocado", "Cherry Wax Red", "Corn", "Corn Husk", "Eggplant", "Grape White 2", "Lemon", "Onion White", "Pineapple",
    "Raspberry",
)  # fmt: skip
_TEN_MORE = (
    "Banana", "Blueberry", "Cauliflower", "Fig", "Ginger Root", "Kohlrabi", "Lychee", "Pepper Green", "Walnut",
    "Watermelon",
)  # fmt: skip
# For each data set: the folder of the selection, and the kinds.
SETS = {"fruits360": ("ten", TEN), "fruits360-20": ("twenty", tuple(sorted(TEN + _TEN_MORE)))}
SELECTION = "fruits360"
# Folders of the original: as the archives name them, or ROOT.
_ORIGINALS = ("fruits-360", "fruits-360_dataset/fruits-360", "Fruit-Images-Dataset", "Fruit-Images-Dataset-master", "")
_PARTS = {TRAIN: "Training", TEST: "Test"}
_SIZE, _CHANNELS = 32, 3


def read(name: str, root: Path, part: str = TRAIN) -> Source:
    """Read one part, kind by kind; images (N, 3, 32, 32). Raises UsageError that names the folder or file."""
    absent = missing(name, root, part)
    if absent is not None:
        raise UsageError(f"--dataset {name}: no folder {absent}; pass --data-root DIR with {where(name, part)} in it")
    folder, kinds = _folder(name, root, part), SETS[name][1]
    images = [
        image_folder.read([folder / kind], _SIZE, _CHANNELS, flag=f"--dataset {name}:").arrays[0] for kind in kinds
    ]
    labels = np.repeat(np.arange(len(kinds), dtype=np.int64), [len(of_kind) for of_kind in images])
    return Source(np.concatenate(images), labels, kinds)


def missing(name: str, root: Path, part: str = TRAIN) -> Path | None:
    """The first absent folder of a kind, or None."""
    folder = _folder(name, root, part)
    return next((folder / kind for kind in SETS[name][1] if not source.is_folder(name, folder / kind)), None)


def where(name: str, part: str = TRAIN) -> str:
    """The folders that are read, relative to the root. The selection has no test part."""
    selection = f"{SELECTION}/{SETS[name][0]}/KIND or " if part == TRAIN else ""
    return f"{selection}{_ORIGINALS[0]}/{_PARTS[part]}/KIND"


def refuse_download(name: str, root: Path) -> None:
    """Refuse `--download`, unless all folders exist. Raises UsageError."""
    if missing(name, root) is not None:
        raise UsageError(
            f"--download does not support {name}; get it from https://github.com/Horea94/Fruit-Images-Dataset, and "
            f"pass --data-root DIR with {where(name)} in it"
        )


def _folder(name: str, root: Path, part: str) -> Path:
    """The folder of the kinds: the first that exists, or the first that could."""
    selection = [root / SELECTION / SETS[name][0]] if part == TRAIN else []
    folders = [*selection, *(root / original / _PARTS[part] for original in _ORIGINALS)]
    return next((folder for folder in folders if source.is_folder(name, folder)), folders[0])
