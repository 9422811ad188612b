"""Data of one's own (`--data`): what kinds there are, for how many agents, and the reader of each.

Importing this module reads nothing and imports nothing heavy: the settings ask it what files are for whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiment.data import own_csv, own_npz
from experiment.data.given import Given
from experiment.errors import UsageError

KINDS = {
    "npz": "images or features of your own in an .npz file: --data FILE.npz",
    "csv": "features of your own, a row an object: --data FILE.csv, or a file for each agent: --data A.csv,B.csv",
}


class Files(NamedTuple):
    """What `--data` names, and how it is to be read."""

    data: tuple[Path, ...] = ()
    label_column: str | None = None
    header: str = "auto"


NONE = Files()


def agents_in(kind: str, data: Sequence[Path]) -> int | None:
    """How many agents have data of their own there; None if all see the same, or nothing can be read."""
    if kind == "npz":
        return own_npz.agents_in(data[0])
    return len(data) if len(data) > 1 else None


def is_for_all(kind: str, data: Sequence[Path]) -> bool:
    """Whether there are images that all agents see, so that they need views that differ."""
    return kind == "npz" and own_npz.has_images(data[0])


def read(kind: str, files: Files) -> Given:
    """The objects in `files`, in the order of their source. UsageError naming what is unfit."""
    data = files.data
    if not data:
        raise UsageError(f"--dataset {kind} needs --data")
    if kind == "csv":
        return own_csv.read(data, files.label_column, files.header)
    if len(data) > 1:
        raise UsageError(f"--dataset npz takes one file for all agents; --data names {len(data)}")
    return own_npz.read(data[0])
