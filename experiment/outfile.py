"""The file that --out names: checked before the work, so that a slip costs no wait and no result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiment.errors import UsageError


def check_out(out: Path, kept: Iterable[Path]) -> None:
    """`UsageError` unless `out` can be a file: one may be replaced, but anything else, and what is `kept`, may not."""
    try:
        if out.exists() and not out.is_file():
            raise UsageError(f"--out {out} is there already and is no file")
        if out.parent.exists() and not out.parent.is_dir():
            raise UsageError(f"--out {out}: {out.parent} is no folder")
        if out.exists() and any(file.exists() and file.samefile(out) for file in kept):
            raise UsageError(f"--out {out} would replace what is read")
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error
