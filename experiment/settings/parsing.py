"""Parsing of single settings: from a flag, a TOML value or a Python value to the value in `Config`, and back.

A bad value is a `UsageError` of one line, which begins with the flag or with the file and its key.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mhng.experiment.data.combinations import has_combinations
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.modalities import SEPARATOR
from mhng.experiment.data.views import View, parse_view, parse_views
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.settings.graph_spec import GraphSpec, LaterGraphs, parse_graph, parse_later
from mhng.experiment.settings.schema import SETTINGS, Data, Overrides, Prior, Setting, Views, flag, key
from mhng.experiment.util.arguments import ArgumentParser
from mhng.experiment.util.paths import typed_path
from mhng.experiment.util.text import short_number, short_repr, suggestion
from mhng.models import hyperparameters
from mhng.models.plugins import is_plugin, is_well_formed
from mhng.models.registry import FAMILIES

# The numbers that the public reference code uses for the modes.
MODE_ALIASES = {"-1": "com", "0": "no-com", "1": "all"}

# Settings with a syntax that other folders read again; these functions check it (ValueError). Most need torch.
_SYNTAX = {
    "threads": "mhng.experiment.util.cores:check_threads",
    "acceptance": "mhng.inference.proposals:acceptance_rule",
    "recursion": "mhng.inference.recursive:inner_length",
    "weights": "mhng.models.sign_prior:parse_sign_prior",
    "hold_out": "mhng.experiment.data.combinations:parse_hold_out",
}


def parse_prior(text: str) -> Prior:
    """Parse the value of `--prior`. Raises ValueError."""
    return Prior(text, hyperparameters.parse_prior(text))


# Parsers of values that have a syntax. A ValueError continues the sentence "--flag ...".
PARSERS: Mapping[Any, Callable[[str], Any]] = {
    Prior: parse_prior,
    GraphSpec: parse_graph,
    LaterGraphs: parse_later,
}

# Description of the allowed values in a file, by type.
_EXPECTED: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path in quotes",
    Data: "a path in quotes, or a list of paths; a list inside the list holds the modalities of one agent",
    Views: "a list of numbers or texts",
}


def from_flag(name: str, typed: Any) -> Any:
    """Parse and check the text of a flag; flags of bool settings are True or False."""
    setting, place = SETTINGS[name], flag(name)
    if setting.type is bool:
        return typed
    if setting.type in (int, float):
        try:
            typed = setting.type(typed)
        except (ValueError, OverflowError):
            raise UsageError(f"{place} is {short_repr(typed)}; expected {_EXPECTED[setting.type]}") from None
    return _checked(setting, _parsed(setting, typed, place), place)


def from_value(name: str, value: Any, place: str) -> Any:
    """Parse and check a value of a TOML file, or of a keyword argument."""
    setting = SETTINGS[name]
    # The aliases of the modes, and --threads, are numbers in a file too.
    if name in ("mode", "threads") and _is_number(value):
        value = str(value)
    if not _fits(setting, value):
        expected = f"one of {', '.join(setting.choices)}" if setting.choices else "text in quotes"
        expected = _EXPECTED.get(setting.type, expected)
        raise UsageError(f"{place} is {short_repr(value)}; expected {expected}")
    try:
        if setting.type is float:
            value = float(value)
        return _checked(setting, _parsed(setting, value, place), place)
    except OverflowError:
        raise UsageError(f"{place} is too large") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(setting: Setting, value: Any) -> bool:
    """Whether a value has the type that TOML must give to the setting."""
    if setting.type is bool:
        return isinstance(value, bool)
    if setting.type is int:
        return _is_number(value) and isinstance(value, int)
    if setting.type is float:
        return _is_number(value)
    if setting.type == Views and isinstance(value, list):
        return all(_is_number(item) or isinstance(item, str) for item in value)
    if setting.type == Data and isinstance(value, list):
        return all(
            isinstance(item, str) or (isinstance(item, list) and all(isinstance(part, str) for part in item))
            for item in value
        )
    return isinstance(value, str)


def _parsed(setting: Setting, value: Any, place: str) -> Any:
    """The value as `Config` holds it."""
    if setting.type is Path:
        return _path(setting, value, place)
    if setting.type == Data:
        return parse_data(value, place) if isinstance(value, str) else _data(value, place)
    if setting.type == Views:
        return _views([value] if isinstance(value, str) else value, place)
    if (parse := PARSERS.get(setting.type)) is not None:
        try:
            return parse(value)
        except ValueError as error:
            raise UsageError(f"{place} {error}") from None
    return MODE_ALIASES.get(value, value) if setting.name == "mode" else value


def _checked(setting: Setting, value: Any, place: str) -> Any:
    """The value, if its name or number is allowed."""
    plugs_in = setting.name in FAMILIES
    if plugs_in and is_plugin(value):
        if not is_well_formed(value):
            raise UsageError(f"{place} is {value!r}; expected MODULE:NAME, such as my_module:MyClass")
    elif setting.name == "dataset" and has_combinations(value):
        pass
    elif setting.choices is not None and value not in setting.choices:
        plugin = ", or MODULE:NAME" if plugs_in else ""
        raise UsageError(
            f"{place} is {short_repr(value)}; expected one of {', '.join(setting.choices)}{plugin}"
            f"{suggestion(value, setting.choices)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{place} is {value}; expected a finite number")
    if setting.type in (int, float) and (expected := _limit_broken(setting, value)):
        raise UsageError(f"{place} is {short_number(value)}; expected {expected}")
    if setting.saved:
        _check_utf8(value, place)
    if setting.name in _SYNTAX and value != setting.default:  # most checks import torch, the default needs none
        module, _, function = _SYNTAX[setting.name].partition(":")
        try:
            getattr(import_module(module), function)(value)
        except ValueError as error:
            raise UsageError(f"{place} {error}") from None
    return value


def _check_utf8(value: Any, place: str) -> None:
    """Raise UsageError for text that config.toml cannot hold: bytes of a file name that are not UTF-8."""
    try:
        toml_value(value).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            f"{place} is {short_repr(plain_value(value))}, which is not valid UTF-8; rename the file, or set a UTF-8 "
            "locale, such as LC_ALL=C.UTF-8"
        ) from None


def _limit_broken(setting: Setting, value: float) -> str | None:
    """The limit that a number exceeds, in words."""
    least, most, above, below = setting.limits
    if most is not None and value > most:
        return f"{most} or less"
    if least is not None and value < least:
        return f"{least} or more"
    if below is not None and value >= below:
        return f"less than {below}"
    if above is not None and value <= above:
        return f"more than {above}"
    return None


def _views(entries: Sequence[float | str], place: str) -> Views:
    views: list[View] = []
    try:
        for entry in entries:
            views += parse_views(entry) if isinstance(entry, str) else [parse_view(float(entry))]
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None
    if not views:
        raise UsageError(f"{place} is empty; expected one entry for each agent")
    return tuple(views)


def parse_data(text: str, place: str) -> Data:
    """Parse paths in the syntax of `--data`: paths with commas and &, or a TOML list of paths.

    Existing paths may contain a comma or &. Raises UsageError, which begins with `place`.
    """
    if text.startswith("[") and not _exists(text):
        try:
            paths = tomllib.loads(f"data = {text}")["data"]
        except tomllib.TOMLDecodeError:
            paths = None
        if _fits(SETTINGS["data"], paths):
            return _data(paths, place)
    entries = _split(text, ",", lambda part: all(map(_exists, _split(part, SEPARATOR, _exists))))
    parts = [_split(entry, SEPARATOR, _exists) for entry in entries]
    return _data([part if len(part) > 1 else part[0] for part in parts], place)


def _split(text: str, separator: str, exists: Callable[[str], bool]) -> list[str]:
    """Split a text, but not inside the longest parts that exist."""
    pieces = text.split(separator)
    parts, start = [], 0
    while start < len(pieces):
        ends = range(len(pieces), start + 1, -1)
        end = next((end for end in ends if exists(separator.join(pieces[start:end]))), start + 1)
        parts.append(separator.join(pieces[start:end]))
        start = end
    return parts


def _exists(path: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(path))
    except (OSError, ValueError):  # not a valid file name
        return False


def _data(entries: Sequence[str | list[str]], place: str) -> Data:
    data: list[custom_dataset.Entry] = []
    setting = SETTINGS["data"]
    for number, entry in enumerate(entries, 1):
        if not entry:
            break
        if isinstance(entry, str):
            data.append(_path(setting, entry, place))
        elif "" in entry:
            raise UsageError(
                f"{place}: modality {entry.index('') + 1} of entry {number} is empty; the entry is "
                f"{short_repr(SEPARATOR.join(entry))}"
            )
        else:
            paths = tuple(_path(setting, part.strip(), place) for part in entry)
            data.append(paths if len(paths) > 1 else paths[0])
    if not entries or len(data) < len(entries):
        raise UsageError(
            f"{place} is {short_repr(','.join(map(str, entries)))}; expected a path, or paths with commas"
        )
    return tuple(data)


def _path(setting: Setting, typed: str, place: str) -> Path:
    """A path, absolute if it is saved with the run, so that it means the same from every folder."""
    path = typed_path(typed, place)
    return path.absolute() if setting.saved else path


# -- back to text ----------------------------------------------------------------------------------


def plain_value(value: Any) -> Any:
    """A value of `Config` as text, numbers and tuples of these."""
    if isinstance(value, tuple):
        return tuple(map(plain_value, value))
    if isinstance(value, View | Prior | GraphSpec | LaterGraphs):
        return value.text
    return str(value) if isinstance(value, Path) else value


def toml_value(value: Any) -> str:
    """A value as TOML text."""
    value = plain_value(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, str):
        # JSON strings are TOML strings, except that TOML escapes DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def to_flags(values: Mapping[str, Any]) -> list[str]:
    """Flags that give these settings, by field name."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else "--no-" + key(name))
        else:
            if SETTINGS[name].type == Data and any(re.search(r"[,&]|^\[", path) for path in _paths(value)):
                words.append(f"{flag(name)}={toml_value(value)}")
                continue
            items = [
                SEPARATOR.join(item) if isinstance(item, tuple) else str(item) for item in _items(plain_value(value))
            ]
            # One word, because a value may begin with a dash.
            words.append(f"{flag(name)}={','.join(items)}")
    return words


def _paths(data: Data) -> Iterator[str]:
    return (str(path) for entry in data for path in custom_dataset.paths(entry))


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)


# -- all flags, all keys of a table ----------------------------------------------------------------


def add_settings(
    parser: argparse.ArgumentParser, names: Collection[str] = tuple(SETTINGS), default: str | None = None
) -> None:
    """Add a flag for each setting, in the groups of the settings. Flags that are not given are absent from the result.

    Adds no parsing: the results are texts, and bools. names: the settings that get a flag. default: the default of all
    of them, for the help.
    """
    groups: dict[str, Any] = {}
    for setting in (SETTINGS[name] for name in SETTINGS if name in names):
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        options: dict[str, Any] = {
            "dest": setting.name,
            "default": argparse.SUPPRESS,
            "help": help_of(setting, default),
        }
        if setting.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif setting.type == Overrides:
            options |= {"action": "append", "metavar": "'NAME: FLAGS'"}
        else:
            options["metavar"] = "{" + ",".join(setting.choices) + "}" if setting.choices else _metavar(setting)
        groups[setting.group].add_argument(flag(setting.name), **options)


def help_of(setting: Setting, default: Any = None) -> str:
    """The help text of a flag, with its default."""
    default = default or setting.default_help or setting.default
    if isinstance(default, bool):
        default = "yes" if default else "no"
    described = "; the command `models` describes the choices, MODULE:NAME is a class of your own"
    return f"{setting.help}{described if setting.name in FAMILIES else ''} (default: {default})".replace("%", "%%")


def _metavar(setting: Setting) -> str:
    names: Mapping[Any, str] = {
        int: "N",
        float: "X",
        Path: "PATH",
        Data: "PATHS",
        Views: "VIEWS",
        Prior: "NAME=X,...",
        GraphSpec: "GRAPH",
        LaterGraphs: "R=GRAPH,...",
    }
    return names.get(setting.type, setting.name.upper().replace("_", "-"))


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(self.with_hint(message))


def read_settings(words: Sequence[str]) -> dict[str, Any]:
    """Field name -> text as typed, or a bool, from flags of `train`. Raises UsageError for unknown flags."""
    parser = _Parser(add_help=False)
    add_settings(parser)
    result, unknown = parser.parse_known_args(words)
    if unknown:
        near = suggestion(unknown[0].split("=")[0], parser._option_string_actions)
        raise UsageError(f"unknown argument {unknown[0]!r}{near}")
    return vars(result)


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Parse and check flags: field name -> text as typed, or a bool."""
    return {name: from_flag(name, typed) for name, typed in flags.items()}


def from_keywords(keywords: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Parse and check Python values by field name; messages begin with `prefix` and the name. None is the default."""
    values = {}
    for name, value in keywords.items():
        place = f"{prefix}{name}"
        if name not in SETTINGS:
            near = suggestion(name, SETTINGS) or "; python cli.py train --help lists the settings"
            raise UsageError(f"{prefix}unknown setting {short_repr(name)}{near}")
        if isinstance(value, type) and name in FAMILIES:
            value = _plugin_name(value, place)
        if name == "data" and not isinstance(value, str | os.PathLike | list | tuple | None):
            raise UsageError(
                f"{place} is of type {type(value).__name__}; expected a path; numpy.savez('mine.npz', features=x, "
                "labels=y) writes arrays to a file"
            )
        if value is not None:
            values[name] = from_value(name, _as_toml(value), place)
    return values


def _plugin_name(part: type, place: str) -> str:
    """MODULE:NAME of a class. Raises UsageError for a class that a later `load_run` could not import."""
    name = f"{part.__module__}:{part.__qualname__}"
    if part.__module__ == "__main__" or not is_well_formed(name):
        raise UsageError(
            f"{place} is the class {part.__qualname__} of a notebook or script; write it to a file my_parts.py and "
            f"pass 'my_parts:{part.__name__}', so that load_run can import it"
        )
    return name


def _as_toml(value: Any) -> Any:
    """A Python value with the types of TOML: paths and devices are texts, tuples and arrays lists."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__name__ == "device":  # torch.device, without importing torch
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, as the member of an Enum, which no checkpoint holds
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return [_as_toml(item) for item in value] if isinstance(value, list | tuple) else value


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Parse and check a TOML table by key; messages begin with `place`. Returns values by field name.

    trust_plugins: allow names of code to import ("module:attribute"). A file may come from somebody else, so they are
    an `UntrustedError` by default.
    """
    values = {}
    names = {key(name): name for name in SETTINGS}
    for table_key, value in table.items():
        if table_key not in names or table_key == "agent":
            raise UsageError(f"{place}: unknown key {short_repr(table_key)}{suggestion(table_key, names)}")
        name, where = names[table_key], f"{place}: {table_key}"
        values[name] = from_value(name, value, where)
        if not trust_plugins:
            refuse_plugin(name, values[name], where)
    return values


def refuse_plugin(name: str, value: Any, place: str) -> None:
    """Raise `UntrustedError` if the value of a setting, from a file, names code to import."""
    if (name in FAMILIES or name == "program") and isinstance(value, str) and is_plugin(value):
        raise UntrustedError(
            f"{place} is {value}, code from outside this program; pass --trust-plugins if you trust the code and the "
            "file"
        )
