"""Data sets in the user's files (`--data`): their kinds, the number of agents that they serve, and their readers.

Importing this module reads no file and imports no heavy package, because the settings import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mhng.experiment.data.custom import csv_table, image_folder, npz_arrays
from mhng.experiment.data.custom.base import CustomData
from mhng.experiment.errors import UsageError

KINDS = {
    "npz": "your own images or features in an .npz file: --data FILE.npz",
    "csv": "your own features, one row per object: --data FILE.csv, or one file per agent: --data A.csv,B.csv",
    "folder": "your own image files, in class folders or one folder: --data DIR, or one DIR per agent: --data A,B",
}


# An entry of --data: a file or folder, or several that are the modalities of one agent.
Entry = Path | tuple[Path, ...]


class Files(NamedTuple):
    """Files that `--data` or another option names, and how to read them. flag: the option."""

    data: tuple[Entry, ...] = ()
    label_column: str | None = None
    header: str = "auto"
    image_size: int = 28
    channels: int = 1
    flag: str = "--data"


NO_FILES = Files()


def paths(entry: Entry) -> tuple[Path, ...]:
    """The files or folders of an entry."""
    return entry if isinstance(entry, tuple) else (entry,)


def as_typed(data: Sequence[Entry]) -> str:
    """The entries as text, as a user types them: `,` between agents, `&` between modalities."""
    return ",".join("&".join(map(str, paths(entry))) for entry in data)


def agents_in(kind: str, data: Sequence[Entry]) -> int | None:
    """Number of agents with separate data; None if all agents see the same data, or the file cannot be read."""
    if len(data) > 1:
        return None if kind == "npz" and not _is_joined(data) else len(data)
    return npz_arrays.agents_in(data[0]) if kind == "npz" and isinstance(data[0], Path) else None


def has_shared_images(kind: str, data: Sequence[Entry]) -> bool:
    """Whether all agents see the same images, so that their views should differ."""
    return npz_arrays.has_images(paths(data[0])[0]) if kind == "npz" else kind == "folder" and len(data) == 1


def read(kind: str, files: Files) -> CustomData:
    """Read the objects in `files`, in the order of their source. Raises UsageError naming the file and the fault."""
    data = files.data
    if not data:
        raise UsageError(f"--dataset {kind} needs {files.flag}")
    groups = tuple(len(paths(entry)) for entry in data)
    flat = [path for entry in data for path in paths(entry)]
    may_lack = [count > 1 for count in groups for _ in range(count)]
    if kind == "csv":
        given = csv_table.read(flat, files.label_column, files.header, may_lack, flag=files.flag)
    elif kind == "folder":
        given = image_folder.read(flat, files.image_size, files.channels, groups, flag=files.flag)
    elif _is_joined(data):
        given = npz_arrays.read_files(flat, may_lack, flag=files.flag)
    elif len(data) > 1:
        raise UsageError(f"--dataset npz takes one file for all agents; {files.flag} names {len(data)}")
    else:
        given = npz_arrays.read(flat[0], flag=files.flag)
        return given._replace(groups=(1,) * len(given.arrays), titles=(flat[0].name,) * len(given.arrays))
    return given._replace(groups=groups, titles=tuple(path.name for path in flat))


def match_layout(kind: str, own: Files, others: Files) -> Files:
    """Adapt `others` so that they are read as `own`, the files of a run. Labels may be absent.

    Raises UsageError if the layout differs, or naming the first column whose name differs.
    """
    wanted, found = ([len(paths(entry)) for entry in files.data] for files in (own, others))
    if wanted != found:
        place = f"{others.flag} {as_typed(others.data)}"
        raise UsageError(f"{place} differs in layout from --data of the run, {as_typed(own.data)}")
    if kind != "csv":
        return others
    then = _heads(own)
    labels_lack = [
        _is_unlabelled(file, head, others, lack)
        for (file, lack), head in zip(_each(others), then, strict=True)
        if head.labelled
    ]
    if labels_lack and all(labels_lack):
        others = others._replace(label_column=csv_table.NO_LABELS)
    now = _heads(others)
    if own.header == "auto" and not any(head.titles for head in then):
        # The run's files have no header, so a row that counts 0, 1, 2, ... is an object.
        return others._replace(header="no") if all(head.titles is None or head.counting for head in now) else others
    for (file, _), head, (other, _), found_head in zip(_each(own), then, _each(others), now, strict=True):
        titles = zip(found_head.titles or (), head.titles or (), strict=False)
        for number, (title, wanted_title) in enumerate(titles, 1):
            if title != wanted_title:
                raise UsageError(
                    f"{others.flag} {other}: feature {number} is called {title[:40]!r}, but {wanted_title[:40]!r} in "
                    f"{file}"
                )
    return others


def _each(files: Files) -> list[tuple[Path, bool]]:
    """Every file, and whether an object may be missing in it."""
    return [(path, len(paths(entry)) > 1) for entry in files.data for path in paths(entry)]


def _heads(files: Files) -> list[csv_table.Columns]:
    """Columns of each file, from its first row."""
    return [
        csv_table.read_columns(file, files.label_column, files.header, lack, flag=files.flag)
        for file, lack in _each(files)
    ]


def _is_unlabelled(file: Path, then: csv_table.Columns, files: Files, may_lack: bool) -> bool:
    """Whether `file` lacks the label column that `then`, the columns of the run's file, have."""
    now = csv_table.read_columns(file, None, files.header, may_lack, flag=files.flag)
    if not now.labelled and now.width == then.width - 1:  # a number would always match some column
        return True
    return not csv_table.read_columns(file, files.label_column, files.header, may_lack, flag=files.flag).labelled


def _is_joined(data: Sequence[Entry]) -> bool:
    """Whether an agent has several modalities."""
    return any(len(paths(entry)) > 1 for entry in data)
