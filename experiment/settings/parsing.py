"""One setting: its value from what was typed or stands in a file, and whether the field may have it.

Whatever is wrong is a `UsageError` of one line that names the flag, or the file's key.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.modalities import SEPARATOR
from mhng.experiment.data.views import View, parse_view, parse_views
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.settings.graph_spec import absolute, absolute_later
from mhng.experiment.settings.schema import FIELDS, flag, key
from mhng.experiment.util.text import short_number, short_repr, suggestion
from mhng.models.plugins import is_plugin, is_well_formed
from mhng.models.registry import FAMILIES

# The public reference's numbers for the modes.
MODE_ALIASES = {"-1": "com", "0": "no-com", "1": "all"}

# What reads a setting that is a small language of its own. ValueError says what it must be.
_PARSERS = {
    "acceptance": "mhng.inference.proposals:acceptance_rule",
    "recursion": "mhng.inference.recursive:inner_length",
    "weights": "mhng.models.sign_prior:parse_sign_prior",
    "prior": "mhng.models.hyperparameters:parse_prior",
}
# Settings that may name a file, which is kept by its absolute path
ABSOLUTE = {"meet": absolute, "meet_later": absolute_later}


def from_text(name: str, typed: Any) -> Any:
    kind = FIELDS[name].metadata["kind"]
    if kind == "bool":  # the flags --x and --no-x carry no text
        return typed
    if kind == "path":
        return _absolute(name, typed, flag(name))
    if kind == "paths":
        return entries_of(name, typed, flag(name))
    if kind == "views":
        return _views([typed], flag(name))
    try:
        if kind == "int":
            return int(typed)
        if kind == "float":
            return float(typed)
    except (ValueError, OverflowError):
        what = {"int": "a whole number", "float": "a number"}[kind]
        raise UsageError(f"{flag(name)} must be {what}; it is {short_repr(typed)}") from None
    return typed


def from_toml(name: str, value: Any, place: str) -> Any:
    kind = FIELDS[name].metadata["kind"]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits, what = {
        "int": (number and isinstance(value, int), "a whole number"),
        "float": (number, "a number"),
        "bool": (isinstance(value, bool), "true or false"),
        "text": (isinstance(value, str), "text in quotes"),
        "path": (isinstance(value, str), "a path in quotes"),
        "paths": (
            isinstance(value, str) or (isinstance(value, list) and all(map(_is_entry, value))),
            "a path in quotes, or a list of them, in which a list stands for the modalities of one agent",
        ),
        "views": (
            isinstance(value, str)
            or (
                isinstance(value, list)
                and all(isinstance(v, int | float | str) and not isinstance(v, bool) for v in value)
            ),
            "a list of numbers or texts",
        ),
    }[kind]
    # The reference's -1, 0, 1 are numbers, also in a file.
    if name == "mode" and number:
        return str(value)
    if not fits:
        raise UsageError(f"{place} must be {what}; it is {short_repr(value)}")
    try:
        if kind == "float":
            return float(value)
        if kind == "views":
            return _views([value] if isinstance(value, str) else value, place)
    except OverflowError:
        raise UsageError(f"{place} is too large") from None
    if kind == "paths":
        return _all_absolute(name, [value] if isinstance(value, str) else value, place)
    return _absolute(name, value, place) if kind == "path" else value


def _views(given: list[float | str], place: str) -> tuple[View, ...]:
    try:
        found: list[View] = []
        for one in given:
            found += parse_views(one) if isinstance(one, str) else [parse_view(float(one))]
        if not found:
            raise ValueError("must have an entry for each agent; there is none")
        return tuple(found)
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from None


def _is_entry(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


def _joined(typed: str) -> str | list[str]:
    """The modalities that an entry of --data joins; a file may have the sign in its own name."""
    return typed.split(SEPARATOR) if SEPARATOR in typed and not _exists(typed) else typed


def _exists(typed: str) -> bool:
    try:
        return Path(typed).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def entries_of(name: str, typed: str, place: str) -> tuple[custom_dataset.Entry, ...]:
    """Paths as --data takes them, absolute. UsageError that begins with `place`."""
    return _all_absolute(name, [_joined(one) for one in typed.split(",")], place)


def _all_absolute(name: str, typed: Sequence[str | list[str]], place: str) -> tuple[custom_dataset.Entry, ...]:
    found: list[custom_dataset.Entry] = []
    for number, one in enumerate(typed, 1):
        if isinstance(one, str) and one:
            found.append(_absolute(name, one, place))
        elif not one:
            break
        elif "" in one:
            raise UsageError(
                f"{place}: modality {one.index('') + 1} of entry {number} is empty; the entry is "
                f"{short_repr(SEPARATOR.join(one))}"
            )
        else:
            paths = tuple(_absolute(name, part.strip(), place) for part in one)
            found.append(paths if len(paths) > 1 else paths[0])
    if not typed or len(found) < len(typed):
        raise UsageError(
            f"{place} must be a path, or paths with commas between; it is {short_repr(','.join(map(str, typed)))}"
        )
    return tuple(found)


def _absolute(name: str, typed: str, place: str) -> Path:
    """A path that is saved with a run must mean the same from every folder."""
    if "\0" in typed:
        raise UsageError(f"{place} must be a path without null bytes; it is {short_repr(typed)}")
    return Path(typed).absolute() if FIELDS[name].metadata["saved"] else Path(typed)


def checked(name: str, value: Any, place: str) -> Any:
    """The value of a field, if it may have it; messages begin with `place`."""
    rule = FIELDS[name].metadata
    if name == "mode":
        value = MODE_ALIASES.get(value, value)
    if name in FAMILIES and is_plugin(value):
        if not is_well_formed(value):
            raise UsageError(f"{place} {value!r} must be MODULE:NAME, such as my_module:MyClass")
    elif rule["choices"] is not None and value not in rule["choices"]:
        own = ", or MODULE:NAME of your own" if name in FAMILIES else ""
        raise UsageError(
            f"{place} must be one of {', '.join(rule['choices'])}{own}; it is {short_repr(value)}"
            f"{suggestion(value, rule['choices'])}"
        )
    if name in ABSOLUTE:
        value = ABSOLUTE[name](value)
    numbers = [value] if rule["kind"] in ("int", "float") else []
    if rule["most"] is not None and value > rule["most"]:
        raise UsageError(f"{place} must be {rule['most']} or less; it is {short_number(value)}")
    if rule["least"] is not None and value < rule["least"]:
        raise UsageError(f"{place} must be {rule['least']} or more; it is {short_number(value)}")
    if not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"{place} must be finite; it is {value!r}")
    if rule["below"] is not None and value >= rule["below"]:
        raise UsageError(f"{place} must be less than {rule['below']}; it is {value}")
    if rule["above"] is not None and value <= rule["above"]:
        raise UsageError(f"{place} must be more than {rule['above']}; it is {value}")
    if name in _PARSERS and value != FIELDS[name].default:  # a default need not wait for torch
        module, _, parser = _PARSERS[name].partition(":")
        try:
            getattr(import_module(module), parser)(value)
        except ValueError as error:
            raise UsageError(f"{place} {error}") from None
    return value


def toml_value(value: Any) -> str:
    """A setting as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {toml_value(item)}" for name, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str | Path):
        # A JSON string is a TOML string, but for DEL, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting, in the settings' groups. Those that are not given are absent from the result."""
    groups: dict[str, Any] = {}
    for name, field in FIELDS.items():
        rule = field.metadata
        group = groups.get(rule["group"]) or parser.add_argument_group(rule["group"])
        groups[rule["group"]] = group
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        default = "none" if field.default is None else field.default
        if isinstance(default, tuple):
            default = ",".join(f"{value:g}" for value in default)
        options["help"] = f"{rule['help']} (default: {default})".replace("%", "%%")
        if rule["kind"] == "bool":
            options["action"] = argparse.BooleanOptionalAction
        elif rule["kind"] == "own":
            options |= {"action": "append", "metavar": "'NAME: FLAGS'", "help": rule["help"]}
        else:
            choices = rule["choices"]
            options["metavar"] = "{" + ",".join(choices) + "}" if choices else rule["kind"].upper()
        group.add_argument(flag(name), **options)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def read_settings(words: Sequence[str]) -> dict[str, Any]:
    """Field name -> text as typed, or a bool, of flags of `train`. `UsageError` for what is none."""
    parser = _Parser(allow_abbrev=False, add_help=False)
    add_settings(parser)
    found, unknown = parser.parse_known_args(words)
    if unknown:
        near = suggestion(unknown[0].split("=")[0], parser._option_string_actions)
        raise UsageError(f"unknown argument {unknown[0]!r}{near}")
    return vars(found)


def from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by field name, each checked, of flags as typed: field name -> text, or a bool."""
    return {name: checked(name, from_text(name, typed), flag(name)) for name, typed in flags.items()}


def from_table(table: Mapping[str, Any], place: str, *, trust_plugins: bool = False) -> dict[str, Any]:
    """Settings by field name, each checked, of a TOML table by key; messages begin with `place`.

    A name of code to be imported ("module:attribute") is refused unless `trust_plugins`: whoever wrote the file could
    have anything run. On the command line the user has typed it.
    """
    values = {}
    names = {key(name): name for name in FIELDS}
    for found, value in table.items():
        if found not in names or found == "agent":
            raise UsageError(f"{place}: unknown key {short_repr(found)}{suggestion(found, names)}")
        name = names[found]
        where = f"{place}: {found}"
        values[name] = checked(name, from_toml(name, value, where), where)
        if not trust_plugins:
            refuse_plugin(name, values[name], where)
    return values


def refuse_plugin(name: str, value: Any, place: str) -> None:
    """`UntrustedError` if the value of a field, from a file, names code to be imported."""
    if name in FAMILIES and isinstance(value, str) and is_plugin(value):
        raise UntrustedError(
            f"{place} = {value} runs code that is not of this program: give --trust-plugins if you trust that and the "
            "file"
        )


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Flags that make these settings, by field name."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else "--no-" + key(name))
        else:
            # In one word, because a value may begin with a dash.
            text = ",".join(map(_word, value)) if isinstance(value, tuple) else str(value)
            words.append(f"{flag(name)}={text}")
    return words


def _word(item: Any) -> str:
    return SEPARATOR.join(map(str, item)) if isinstance(item, tuple) else str(item)
