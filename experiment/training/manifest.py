"""The first manifest of a run: command line, settings, versions, git revision, device and data set."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import Config, key
from mhng.experiment.training.graphs import recorded_edges
from mhng.experiment.training.prepare import Prepared
from mhng.experiment.training.results import modality_records
from mhng.inference.spec import Game

PACKAGES = ("torch", "torchvision", "pyro-ppl", "arviz", "numpy", "scipy", "scikit-learn")


def manifest_of(
    config: Config, prepared: Prepared, game: Game, device: torch.device, command_line: Sequence[str]
) -> dict[str, Any]:
    """Fields of the manifest at the start of a run, as plain values.

    fitted: the keys of settings that the objects decide, with another value than the user's.
    """
    objects, derived = prepared.objects, prepared.derived
    return {
        "edges": recorded_edges(game.meetings),
        "command_line": list(command_line),
        "settings": settings.plain(config, derived),
        "fitted": sorted(key(name) for name, value in derived.items() if value != getattr(config, name)),
        "seed": config.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "dataset": objects.name,
        "objects": objects.count,
        "checksum": objects.checksum,
        "perceives": modality_records(objects),
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Commit of this program, with "+changes" for uncommitted changes; None without git."""
    here = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+changes"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
