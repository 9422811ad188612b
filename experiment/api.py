"""Train a run, or load a run folder, in a notebook or script.

    from mhng import load_run

    run = load_run("runs/com-mnist5k-seed0")
    run.signs["A"]                     # agent A's final sign for each object
    run.name(images).joint             # the joint sign of new images

`load_run` reads the manifest and the settings. Everything else is read on first access; see `LoadedRun`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.loaded_run import Callback, LoadedRun, check_callbacks, printer_of
from mhng.experiment.util.paths import typed_path


def load_run(
    path: str | Path, *, data_root: str | Path | None = None, data: str | None = None, trust_plugins: bool = False
) -> LoadedRun:
    """Load the run in the folder `path`, finished or not.

    data_root, data: new places of the data set, as --data-root and --data take them, if the data have moved.
    trust_plugins: allow the run's MODULE:NAME settings to import code that is not part of this program.
    Raises UsageError if the folder is not a run.
    """
    return LoadedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)


def train(
    *,
    callbacks: Sequence[Callback] = (),
    verbose: bool = False,
    config: str | Path | None = None,
    preset: str | None = None,
    trust_plugins: bool = False,
    **settings: Any,
) -> LoadedRun:
    """Train one run, as `python cli.py train` does, and load it.

        run = train(mode="com", dataset="digits", epochs=20, rounds=2, callbacks=[print])

    Args:
        callbacks: functions that receive each row of metrics.jsonl as a dictionary. The "kind" of a row is epoch
            (losses in parts), start (score) or sweep (ARI, kappa, acceptance, log joint). The row of an epoch
            comes after the epoch. The rows of a game come together, after its round is saved. An exception of a
            callback ends the run, after saving it, and passes through; `load_run(FOLDER).resume()` continues.
        verbose: print what the command line prints. Otherwise only notes and warnings are printed, on stderr.
        config: a TOML file of settings, as --config takes it. `settings` override it.
        preset: "quick" or "paper", as --preset takes it. File and settings override it.
        trust_plugins: allow MODULE:NAME settings of that file to import code that is not part of this program.
        settings: the settings of the command line, with underscores: `latent_dim=8` is `--latent-dim 8`. `agent`
            maps names to such settings: `agent={"B": {"network": "conv"}}`. None is the default.

    Raises:
        UsageError: a setting is unknown or bad; nothing has been written.
        RunError: the run failed.
        KeyboardInterrupt: the run was stopped by a signal, and saved.
    """
    from mhng.experiment.settings import presets
    from mhng.experiment.settings.config import from_keywords, read_file, with_preset
    from mhng.experiment.training.train import free_folder
    from mhng.experiment.training.train import train as run_training

    if "resume" in settings:
        raise UsageError("train() has no setting 'resume'; load_run(FOLDER).resume() continues a run")
    file = {} if config is None else read_file(typed_path(config, "config"), trust_plugins=trust_plugins)
    checked = with_preset(file | from_keywords(settings), preset)
    callbacks = check_callbacks(callbacks)
    about = [] if preset is None else [presets.find(preset).note]
    checked = replace(checked, run_dir=checked.run_dir or free_folder(checked))
    run_training(checked, printer=printer_of(verbose), callbacks=callbacks, about=about)
    path = checked.run_dir
    assert path is not None
    return load_run(path, trust_plugins=True)  # the caller has named them
