"""Data of one's own (`--data`): what kinds there are, for how many agents, and the reader of each.

Importing this module reads nothing and imports nothing heavy: the settings ask it what files are for whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiment.data import own_csv, own_folder, own_npz
from experiment.data.given import Given
from experiment.errors import UsageError

KINDS = {
    "npz": "images or features of your own in an .npz file: --data FILE.npz",
    "csv": "features of your own, a row an object: --data FILE.csv, or a file for each agent: --data A.csv,B.csv",
    "folder": "image files of your own, in folders of classes or none: --data DIR, or one for each agent: --data A,B",
}


class Files(NamedTuple):
    """What `--data` names, and how it is to be read."""

    data: tuple[Path, ...] = ()
    label_column: str | None = None
    header: str = "auto"
    image_size: int = 28
    channels: int = 1


NONE = Files()


def agents_in(kind: str, data: Sequence[Path]) -> int | None:
    """How many agents have data of their own there; None if all see the same, or nothing can be read."""
    if kind == "npz":
        return own_npz.agents_in(data[0])
    return len(data) if len(data) > 1 else None


def is_for_all(kind: str, data: Sequence[Path]) -> bool:
    """Whether there are images that all agents see, so that they need views that differ."""
    return own_npz.has_images(data[0]) if kind == "npz" else kind == "folder" and len(data) == 1


def read(kind: str, files: Files) -> Given:
    """The objects in `files`, in the order of their source. UsageError naming what is unfit."""
    data = files.data
    if not data:
        raise UsageError(f"--dataset {kind} needs --data")
    if kind == "csv":
        return own_csv.read(data, files.label_column, files.header)
    if kind == "folder":
        return own_folder.read(data, files.image_size, files.channels)
    if len(data) > 1:
        raise UsageError(f"--dataset npz takes one file for all agents; --data names {len(data)}")
    return own_npz.read(data[0])
