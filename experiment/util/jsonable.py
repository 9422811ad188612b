"""Conversion of values to strict JSON and back."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from mhng.experiment.errors import UsageError


def to_plain(value: Any) -> Any:
    """Convert `value` to JSON types: NaN and infinities to None, arrays and tensors to lists, paths to text.

    Raises TypeError for any other type.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # of numpy and torch, without importing either
        return to_plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")


def to_json_line(row: Mapping[str, object]) -> str:
    """One line of JSON, newline included."""
    return json.dumps(to_plain(row), ensure_ascii=False, allow_nan=False) + "\n"


def parse_json_object(data: bytes, place: str) -> dict[str, Any]:
    """Parse a JSON object. Raises UsageError naming `place` for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{place} is not a JSON object")
    return value
