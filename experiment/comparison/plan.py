"""Next action for each run of a grid, read from its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import MOVABLE, changes
from mhng.experiment.settings.schema import Config

Action = Literal["train", "resume", "overwrite", "skip"]


def next_action(path: Path, config: Config, *, overwrite: bool) -> Action:
    """Decide what to do with the run of `config` in the folder `path`.

    train: the folder has no run. resume: the run was stopped or failed. skip: the run is complete. overwrite: the
    folder has a run with other settings, which may be replaced.

    Raises `UsageError` if that run may not be replaced, or if the folder holds something else.
    """
    if not (path / run_folder.MANIFEST).exists():
        if not run_folder.is_free(path):
            raise UsageError(f"{path} is not empty and not a run folder; remove it or give another --out")
        return "train"
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    saved = manifest.get("settings")
    if not isinstance(saved, dict):
        if manifest["status"] != "running":
            raise UsageError(f"{folder.file(run_folder.MANIFEST)} is damaged: it has no settings")
        return "overwrite"  # killed while it replaced an earlier run, before it wrote its settings
    fitted = manifest.get("fitted")
    # Settings that the run changed to fit its data. The requested value of such a setting had no effect.
    ignored = {*MOVABLE, *_fitted(config), *(fitted if isinstance(fitted, list) else ())}
    for name, (wanted, actual) in changes(config, saved).items():
        if name not in ignored:
            if overwrite:
                return "overwrite"
            raise UsageError(
                f"{path} has {name} = {actual}, but the grid has {wanted}; give another --out, or --overwrite"
            )
    if manifest["status"] == "done" and folder.file(run_folder.SUMMARY).exists():
        return "skip"
    if config.program is not None:  # a game of programs does not resume
        return "overwrite"
    # The settings file is written first. Without it the run cannot be resumed, and there is nothing to lose.
    return "resume" if folder.file(run_folder.CONFIG).exists() else "overwrite"


def _fitted(config: Config) -> set[str]:
    """Fitted settings that follow from `config`; manifests of older versions do not list them."""
    fitted = set()
    if config.likelihood == "identity" and not config.agent:
        fitted.add("latent-dim")
    if config.dataset == "synthetic":
        fitted.add("jitter")
    return fitted
