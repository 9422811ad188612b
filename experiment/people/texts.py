"""The texts of the study page, from texts.toml: a table for each language."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = ("en", "ja")
# Names of signs in texts.toml.
MOST_NAMES = 12


@cache
def texts(language: str) -> dict[str, Any]:
    """The texts of a language by key; `names` are the names of signs."""
    with (Path(__file__).parent / "texts.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)[language]
    return table
