"""What a run of a grid finds in its folder, and what is to be done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import MOVABLE, changes
from mhng.experiment.settings.schema import Config

Step = Literal["train", "resume", "overwrite", "nothing"]


def step(path: Path, config: Config, *, overwrite: bool) -> Step:
    """How the run of `config` comes to be in the folder `path`.

    train: there is no run. resume: it is there and was stopped, or failed. nothing: it is done. overwrite: another
    run is there and may go. `UsageError` if it may not, or if the folder holds something else.
    """
    if not (path / run_folder.MANIFEST).exists():
        if not run_folder.is_free(path):
            raise UsageError(f"{path} is in the way: it is not a run of this program")
        return "train"
    folder = RunFolder(path)
    manifest = folder.read_manifest()
    made = manifest.get("settings")
    if not isinstance(made, dict):
        if manifest["status"] != "running":
            raise UsageError(f"{folder.file(run_folder.MANIFEST)} is damaged: it holds no settings")
        return "overwrite"  # it was killed while it replaced an earlier run, before it wrote anything
    fitted = manifest.get("fitted")
    # Keys that the run changed to fit its objects, so that what was asked for made no difference.
    same = {*MOVABLE, *_fitted(config), *(fitted if isinstance(fitted, list) else ())}
    for name, (wanted, found) in changes(config, made).items():
        if name not in same:
            if overwrite:
                return "overwrite"
            raise UsageError(
                f"{path} was made with {name} = {found}, this grid has {wanted}: give another --out, or --overwrite"
            )
    if manifest["status"] == "done" and folder.file(run_folder.SUMMARY).exists():
        return "nothing"
    # Without its settings it cannot be resumed. They are written first of all, so nothing is lost.
    return "resume" if folder.file(run_folder.CONFIG).exists() else "overwrite"


def _fitted(config: Config) -> set[str]:
    """Those of them that the settings tell: an older manifest does not, nor one of what happened to fit."""
    fitted = set()
    if config.likelihood == "identity" and not config.agent:
        fitted.add("latent-dim")
    if config.dataset == "synthetic":
        fitted.add("jitter")
    return fitted
