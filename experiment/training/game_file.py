"""Games of Pyro programs named FILE.py:NAME, the argument of `prove` and `play`.

The file is run, so the caller must have checked that this is wanted: a command line names it, or --trust-plugins.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.util.files import error_line
from mhng.experiment.util.memory import is_out_of_memory
from mhng.experiment.util.paths import typed_path
from mhng.experiment.util.text import suggestion

if TYPE_CHECKING:
    from mhng.inference.programs.naming_game import NamingGame

# A file that simulates observations gives the same ones in every run.
_SEED = 0


def is_game_name(text: str) -> bool:
    """Whether the text names a Python file and not a run folder."""
    file, _, _ = text.rpartition(":")
    return (file or text).endswith(".py") and not Path(text).is_dir()


def load_game(text: str) -> NamingGame:
    """Run the file of FILE.py:NAME and return its game. Raises UsageError.

    NAME is a `NamingGame`, or a function without arguments that returns one.
    """
    from mhng.inference.programs.naming_game import NamingGame

    typed, _, name = text.rpartition(":")
    if not typed.endswith(".py") or not name.isidentifier():
        raise UsageError(f"{text}: expected FILE.py:NAME, where NAME is a NamingGame or a function that returns one")
    file = typed_path(typed, "the file")
    module = _run(file)
    if not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise UsageError(f"{file} has no {name!r}{suggestion(name, known)}")
    game = getattr(module, name)
    if inspect.isfunction(game):
        for parameter in inspect.signature(game).parameters.values():
            optional = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if parameter.default is parameter.empty and not optional:
                raise UsageError(
                    f"{text} requires the argument {parameter.name!r}; expected a function without arguments"
                )
        with errors_of(file):
            game = _seeded(game)
    if not isinstance(game, NamingGame):
        kind = type(game).__name__
        raise UsageError(f"{text} is of type {kind}; expected a NamingGame or a function that returns one")
    return game


def twin_of(text: str) -> str | None:
    """The name of the small twin in the file of a game that is loaded; None: the file has no `twin`."""
    typed, _, name = text.rpartition(":")
    module = sys.modules.get(_module_name(Path(typed)))
    return f"{typed}:twin" if name != "twin" and hasattr(module, "twin") else None


@contextmanager
def errors_of(file: Path, kind: type[UsageError] | type[RunError] = UsageError) -> Iterator[None]:
    """Raise errors of the code in `file` as one line of `kind`, with the number of its line."""
    try:
        yield
    except (UsageError, RunError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # the file may raise anything
        if is_out_of_memory(error):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _is(frame.filename, file)]
        number = error.lineno if isinstance(error, SyntaxError) and _is(error.filename or "", file) else None
        place = f", line {number or lines[-1]}" if number or lines else ""
        if not place and not isinstance(error, ValueError):
            raise
        text = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error_line(error)}"
        raise kind(f"{file}{place}: {text}") from error


def _is(filename: str, file: Path) -> bool:
    return Path(filename).absolute() == file.absolute()


def _run(file: Path) -> ModuleType:
    """Import the file as `python FILE.py` does, but for its __name__."""
    if not file.is_file():
        raise UsageError(f"{file}: {'it is not a file' if file.exists() else 'no such file'}")
    name = _module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(file.absolute().parent))
    try:
        with errors_of(file):
            _seeded(lambda: loader.exec_module(module))
    finally:
        with suppress(ValueError):  # the file may have changed the path
            sys.path.remove(str(file.absolute().parent))
    return module


def _module_name(file: Path) -> str:
    return f"_game_{file.stem}"


def _seeded(function: Any) -> Any:
    from mhng.models.rng import seeded_global_rng, stream

    with seeded_global_rng(stream(_SEED, "game file")):
        return function()
