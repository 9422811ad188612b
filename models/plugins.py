"""Plug-ins: networks, likelihoods, guides, fusions and mixtures named "module:attribute".

The module is imported from the current folder or Python's path, which runs its code. The caller must have checked that
this is wanted: `mhng.experiment.settings.parsing` accepts such names from a command line, and from a file only with
--trust-plugins.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class PluginError(ValueError):
    """A plug-in cannot be loaded. The message is one line, to be shown after the flag and its value."""


def is_plugin(name: str | None) -> bool:
    """Whether `name` is a plug-in name, well-formed or not."""
    return name is not None and ":" in name


def is_well_formed(name: str) -> bool:
    """Whether `name` has the form "module:attribute"; the module may have dots."""
    return _NAME.fullmatch(name) is not None


def load_plugin(name: str, required: tuple[str, ...]) -> Any:
    """Import a plug-in. Raises PluginError if it is not callable or lacks a `required` attribute."""
    if not is_well_formed(name):
        raise PluginError("expected MODULE:NAME, such as my_module:MyClass")
    path, _, attribute = name.partition(":")
    try:
        with _current_folder_first():
            module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and (path == error.name or path.startswith(error.name + ".")):
            raise PluginError(f"there is no module {error.name!r} in this folder or on Python's path") from error
        raise PluginError(f"module {path!r} cannot be imported: {_one_line(error)}") from error
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise PluginError(f"module {path!r} cannot be imported: {_one_line(error)}") from error
    if not hasattr(module, attribute):
        raise PluginError(f"module {path!r} has no {attribute!r}")
    plugin = getattr(module, attribute)
    if not callable(plugin):
        raise PluginError(f"{attribute!r} is of type {type(plugin).__name__}; expected a class or a function")
    missing = [item for item in required if not hasattr(plugin, item)]
    if missing:
        raise PluginError(f"{attribute!r} lacks {', '.join(missing)}")
    return plugin


def line_of(error: BaseException, modules: Sequence[str]) -> str:
    """ " (FILE, line N, FUNCTION)" of the innermost line of the plug-in `modules` that raised the error, or ""."""
    files = {getattr(sys.modules.get(name), "__file__", None) for name in modules}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}, {frames[-1].name})" if frames else ""


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """Put the current folder first on Python's path within the context."""
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:  # the module may have changed the path
            sys.path.remove(here)


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
