"""--out FILE, or stdout: a table that a command makes, written whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import atomic_path


def check_out(out: Path, read: Sequence[Path]) -> None:
    """A file may be replaced; anything else, and what is `read`, may not. `UsageError` before anything is done."""
    try:
        if out.exists() and not out.is_file():
            raise UsageError(f"--out {out} is there already and is no file")
        if out.parent.exists() and not out.parent.is_dir():
            raise UsageError(f"--out {out}: {out.parent} is no folder")
        if out.exists() and any(file.exists() and file.samefile(out) for file in read):
            raise UsageError(f"--out {out} would replace what is read")
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error


def write_out(parts: Iterable[str], out: Path | None) -> None:
    """The parts of a text, one after the other, to the file or, if there is none, to stdout."""
    # A file name that is not UTF-8 holds lone surrogates; as \udcXX it can be written, in JSON as in CSV.
    data = (part.encode("utf-8", "backslashreplace") for part in parts)
    if out is None:
        sys.stdout.flush()
        for part in data:
            sys.stdout.write(part.decode("utf-8"))
        return
    with atomic_path(out) as beside, beside.open("wb") as file:
        file.writelines(data)


def print_note(text: str) -> None:
    """Print a line on stderr, if there is a stderr."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
