"""Output of a command to --out FILE, written atomically, or to stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import atomic_path


def check_out(out: Path, read: Sequence[Path]) -> None:
    """Raise UsageError unless `out` is a new path or an existing file that is not among the input files `read`."""
    try:
        if out.exists() and not out.is_file():
            raise UsageError(f"--out {out} exists and is not a file")
        if out.parent.exists() and not out.parent.is_dir():
            raise UsageError(f"--out {out}: {out.parent} is not a folder")
        if out.exists() and any(file.exists() and file.samefile(out) for file in read):
            raise UsageError(f"--out {out} is an input file; give another path")
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error


def write_out(parts: Iterable[str], out: Path | None) -> None:
    """Write the parts of a text to the file, or to stdout if `out` is None."""
    # A file name that is not UTF-8 holds lone surrogates. Written as \udcXX they are valid in JSON and CSV.
    data = (part.encode("utf-8", "backslashreplace") for part in parts)
    if out is None:
        sys.stdout.flush()
        for part in data:
            sys.stdout.write(part.decode("utf-8"))
        return
    with atomic_path(out) as beside, beside.open("wb") as file:
        file.writelines(data)


def print_report(
    report: Mapping[str, Any], to_lines: Callable[[Mapping[str, Any]], Iterable[str]], *, as_json: bool
) -> None:
    """Print the report of a command on stdout: one JSON object, or lines of text."""
    if as_json:
        print(json.dumps(report, allow_nan=False, ensure_ascii=False, indent=2))
    else:
        for line in to_lines(report):
            print(line)


def print_note(text: str) -> None:
    """Print a line on stderr, if there is a stderr."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
