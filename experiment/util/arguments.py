"""Command-line arguments: an argparse parser that accepts values which begin with a dash."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from mhng.experiment.util.text import short_repr, suggestion

# The largest seed: a number that JSON and every generator hold.
_MOST_SEED = 2**53


def seed(text: str) -> int:
    """The value of --seed. Raises ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or len(text) > 16 or int(text) > _MOST_SEED:
        raise argparse.ArgumentTypeError(f"it is {short_repr(text)}; expected an integer from 0 to {_MOST_SEED:,}")
    return int(text)


def threads(text: str) -> int | None:
    """The value of --threads for commands that start runs; None for auto. Raises ArgumentTypeError."""
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 4 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it is {short_repr(text)}; expected auto or a number from 1 on")
    return int(text)


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser without abbreviations of flags.

    argparse takes the value in `--views -45,45` for a flag. Here a flag with one value takes the next word as it is,
    unless the word is a flag of the parser or begins with two dashes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    _dashed = False  # whether a word that no flag waits for begins with a dash

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse; `args` is required."""
        return super().parse_known_args(self._attach_values(args), namespace)

    def _attach_values(self, words: Sequence[str]) -> list[str]:
        """Join flags with their values by = where the value begins with a dash."""
        flags = self._option_string_actions
        result: list[str] = []
        waiting = False  # whether the last word is a flag that lacks its value
        for word in words:
            if waiting and re.match("-[^-]", word) and word.partition("=")[0] not in flags:
                result[-1] += f"={word}"
                waiting = False
                continue
            action = flags.get(word)
            self._dashed |= action is None and re.match("-[^-]", word) is not None
            waiting = not waiting and action is not None and action.nargs is None
            result.append(word)
        return result

    def with_hint(self, message: str) -> str:
        """Add to argparse's message how to give a value that begins with a dash, or the most similar choice."""
        if match := re.fullmatch(r"argument \S+: invalid choice: '([^']*)' \(choose from (.*)\)", message):
            return message + suggestion(match[1], re.findall(r"[\w-]+", match[2]))
        if match := re.fullmatch(r"argument ([^ :/]+)\S*: expected one argument", message):
            return f"{message}; a value that begins with -- follows =, as in {match[1]}=--x"
        if self._dashed and message.startswith("the following arguments are required: RUN"):
            return f"{message}; a folder that begins with a dash is written ./-x"
        return message
