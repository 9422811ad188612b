"""Parts of an agent that are not in the registry: "module:attribute", imported from the current folder or the path.

Importing runs the module's code. Nothing here asks whether that is wanted: `mhng.experiment.settings.config` lets
such a name pass
from a command line, and from a file only with the user's word.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class PluginError(ValueError):
    """There is no such thing, or it cannot take part; one line that says why, and begins after the flag's name."""


def is_plugin(name: str) -> bool:
    """Whether `name` is meant as one of these, well-formed or not."""
    return ":" in name


def is_well_formed(name: str) -> bool:
    """Whether it could be one: "module:attribute", of which the module may have dots."""
    return _NAME.fullmatch(name) is not None


def load_plugin(name: str, needs: tuple[str, ...]) -> Any:
    """The attribute, which must be callable and have all of `needs`. PluginError saying what was wrong."""
    if not is_well_formed(name):
        raise PluginError("must be MODULE:NAME, such as my_module:MyClass")
    place, _, attribute = name.partition(":")
    try:
        with _from_here():
            module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
            raise PluginError(f"there is no module {error.name!r} in this folder or on Python's path") from error
        raise PluginError(f"module {place!r} cannot be imported: {_told(error)}") from error
    except (Exception, SystemExit) as error:  # whatever a module may do while it is imported
        raise PluginError(f"module {place!r} cannot be imported: {_told(error)}") from error
    if not hasattr(module, attribute):
        raise PluginError(f"module {place!r} has no {attribute!r}")
    found = getattr(module, attribute)
    if not callable(found):
        raise PluginError(f"{attribute!r} is not callable: it is a {type(found).__name__}")
    missing = [need for need in needs if not hasattr(found, need)]
    if missing:
        raise PluginError(f"{attribute!r} lacks {', '.join(missing)}")
    return found


@contextmanager
def _from_here() -> Iterator[None]:
    """The current folder is first on the path of modules, and afterwards no longer."""
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:  # the module may have changed the path too
            sys.path.remove(here)


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
