"""Paths as users type them. `~` is the home folder, also if no shell has expanded it. Pipes are refused as data."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.util.text import short_repr


def typed_path(typed: str | os.PathLike[str], place: str) -> Path:
    """The path that a user typed. Raises UsageError, which begins with `place`, for no path or an unknown home folder.

    A shell expands `~` at the start of a word only: not in --run-dir=~/x, in a list, in a file or in Python.
    """
    text = os.fspath(typed) if isinstance(typed, str | os.PathLike) else None
    if not isinstance(text, str):
        raise UsageError(f"{place} is {short_repr(typed)}; expected a path in quotes")
    if not text:
        raise UsageError(f"{place} is ''; expected a path")
    if "\0" in text:
        raise UsageError(f"{place} is {short_repr(text)}; expected a path without null bytes")
    path = Path(text)
    if text.startswith("~"):
        try:
            return path.expanduser()
        except RuntimeError as error:
            if not os.path.lexists(path):
                raise UsageError(
                    f"{place} is {text!r}, but there is no home folder {path.parts[0]}; write ./{text} for a path of "
                    "that name"
                ) from error
    # Path drops the ./ of ./~, and libraries that get "~" as text would expand it.
    return path.absolute() if str(path).startswith("~") else path


def check_new_folder(path: Path, place: str) -> None:
    """Raise UsageError, which begins with `place`, unless the folder is empty, or is absent and can be made."""
    try:
        free = not any(path.iterdir()) if path.is_dir() else not os.path.lexists(path)
    except OSError as error:
        raise UsageError(f"{place} {path} cannot be used: {error.strerror}") from error
    if not free:
        raise UsageError(f"{place} {path} exists; give a new or empty folder")
    there = next(parent for parent in (path, *path.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise UsageError(f"{place} {path} cannot be used: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{place} {path} cannot be used: no permission to write in {there}")


def check_regular(file: Path, place: str) -> None:
    """Raise UsageError, which begins with `place`, for a pipe or a device: data are read more than once."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):  # reported when the file is opened
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UsageError(f"{place} is a pipe or a device; expected a file, which can be read again")
