"""Explain a package that cannot be imported because of an environment variable."""

from __future__ import annotations

import os
import traceback
from pathlib import Path


def environment_fault(error: BaseException) -> str | None:
    """One line that names the package and the variables, if `error` was raised by the import of another package.

    Suspected are the variables that the raising file names, and among them those that the message mentions, if any.
    None for other errors.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [_package(frame) for frame in frames if frame.f_code.co_name == "<module>"]
    package = next((name for name in packages if name not in ("", "mhng", "__main__")), None)
    if package is None:
        return None
    files = {frame.f_code.co_filename for frame in frames if _package(frame) == package}
    text = "".join(Path(file).read_text("utf-8", "replace") for file in files if Path(file).is_file())
    names = [name for name in os.environ if name.isupper() and len(name) > 3]
    named = [name for name in names if f'"{name}"' in text or f"'{name}'" in text]
    message = " ".join(str(error).split())
    mentioned = [name for name in named if name in message or (os.environ[name] and os.environ[name] in message)]
    suspects = mentioned or [name for name in named if name.startswith(("TORCH", "PYTORCH", package.upper()))]
    if not suspects:
        return None
    settings = ", ".join(f"{name}={os.environ[name][:80]}" for name in suspects)
    return (
        f"{package} cannot be imported with the environment variable{'s' * (len(suspects) > 1)} {settings} "
        f"({type(error).__name__}: {message[:200]}); correct or unset {'it' if len(suspects) == 1 else 'them'}"
    )


def _package(frame: object) -> str:
    """The top package of the module that a frame runs."""
    name = getattr(frame, "f_globals", {}).get("__name__") or ""
    return str(name).partition(".")[0]
