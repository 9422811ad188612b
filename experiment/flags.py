"""The flags of `train`, made from the settings, and reading a few of them where they stand alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from mhng.experiment.errors import UsageError
from mhng.experiment.fields import FIELDS, flag
from mhng.experiment.util.text import suggestion


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
