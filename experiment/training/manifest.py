"""The first manifest of a run: command line, settings, versions, git revision, device and data set."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mhng.experiment.data.objects import Objects
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import SETTINGS, Config, key
from mhng.experiment.training.graphs import recorded_edges
from mhng.experiment.training.prepare import Prepared
from mhng.experiment.training.results import modality_records
from mhng.inference.rounds import Threads
from mhng.inference.spec import Game

PACKAGES = ("torch", "torchvision", "pyro-ppl", "arviz", "numpy", "scipy", "scikit-learn")

# The folder that holds experiment/: a checkout, or the package `mhng` of an installation
_CHECKOUT = Path(__file__).resolve().parents[2]


def manifest_of(
    given: Config,
    prepared: Prepared,
    game: Game,
    device: torch.device,
    threads: Threads,
    command_line: Sequence[str],
) -> dict[str, Any]:
    """Fields of the manifest at the start of a run, as plain values. given: the settings of the user.

    chosen: the reasons for settings that were not given. fitted: the keys of settings that have another value than
    the user's.
    """
    fields = common_fields(given, prepared.config, prepared.objects, prepared.reasons, device, threads, command_line)
    return {"edges": recorded_edges(game.meetings), **fields}


def common_fields(
    given: Config,
    config: Config,
    objects: Objects,
    reasons: Mapping[str, str],
    device: torch.device,
    threads: Threads,
    command_line: Sequence[str],
) -> dict[str, Any]:
    """Fields of the manifest of any run, with images or with Pyro programs."""
    return {
        "command_line": list(command_line),
        "settings": settings.concerning(config),
        "chosen": {key(name): reason for name, reason in reasons.items()},
        "fitted": sorted(
            key(name)
            for name in SETTINGS
            if getattr(given, name) is not None and getattr(given, name) != getattr(config, name)
        ),
        "seed": config.seed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": threads._asdict(),
        "dataset": objects.name,
        "objects": objects.count,
        "checksum": objects.checksum,
        "notes": list(objects.notes),
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
    """Commit of this program, with "+changes" for uncommitted changes; None without git or without a checkout.

    An installed program may lie inside a repository of the user, and GIT_DIR may name one.
    """
    top = _git("rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != _CHECKOUT:
        return None
    return _git("describe", "--always", "--abbrev=40", "--dirty=+changes")


def _git(*words: str) -> str | None:
    """Output of a git command about the folder of this program; None if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(_CHECKOUT), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() or None
