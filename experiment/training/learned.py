"""The learning of round 0, which the modes of a comparison share.

Agents learn in round 0 before there are signs, so they learn the same in every mode. The run that finishes it first
writes the state of its agents to a file. Runs that start later load it; their results equal those of runs that learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mhng.experiment.errors import RunError
from mhng.experiment.runs.checkpoint_io import checkpoint_bytes, read_checkpoint
from mhng.experiment.util.files import atomic_path

_CHECKPOINT, _ROWS = "checkpoint", "rows"


def save_learned(file: Path, checkpoint: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the checkpoint after the learning of round 0, and its rows of metrics.jsonl.

    An error of the disk is ignored, because the file only saves time.
    """
    data = checkpoint_bytes({_CHECKPOINT: checkpoint, _ROWS: rows})
    with suppress(RunError), atomic_path(file) as beside:
        beside.write_bytes(data)


def load_learned(file: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Checkpoint and rows of `save_learned`, for the run of `identity`; None if there are none for its settings.

    identity: see `checkpoint.identity_of`. It must equal that of the file but for the mode.
    """
    try:
        content = read_checkpoint(file)
        checkpoint, rows = content[_CHECKPOINT], content[_ROWS]
        if _without_mode(checkpoint["run"]) != _without_mode(identity):
            return None
        return {**checkpoint, "run": dict(identity)}, rows
    except Exception:  # a file that is absent, or one of many errors for a damaged one
        return None


def _without_mode(identity: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in identity["settings"].items() if name != "mode"}
    return {**identity, "settings": settings}
