"""The command `play RUN`: play the game with the finished agents of a run, without learning.

The result is a run folder of its own, RUN/play-001 by default, which `diagnose`, `report`, `corpus`, `name` and
`load_run` read as any other. Its chains start afresh, on a new draw of each agent's latents. Settings of the game may
differ from those of the run; the agents and their data may not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings import config as settings
from mhng.experiment.settings import validation
from mhng.experiment.settings.schema import PLAY_SETTINGS, Config, flag
from mhng.experiment.training import memory_estimate
from mhng.experiment.training.alone import alone
from mhng.experiment.training.build import game_of
from mhng.experiment.training.console import Printer
from mhng.experiment.training.loop import TrainingLoop, record_status
from mhng.experiment.training.manifest import manifest_of
from mhng.experiment.training.packages import check_packages
from mhng.experiment.training.prepare import load_objects, pick_device
from mhng.experiment.training.ray_agents import place_agents
from mhng.experiment.training.resume import edges_of
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.threads import plan_threads
from mhng.inference.members import Member
from mhng.inference.rounds import RoundProgress
from mhng.models.rng import stream
from mhng.models.torch_defaults import torch_defaults


@torch_defaults()
@alone()
def play(
    run: SavedRun,
    values: Mapping[str, Any],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    command_line: Sequence[str] = (),
    printer: Printer | None = None,
) -> Path:
    """Play with the agents of `run`; returns the new run folder. Raises UsageError before anything is written.

    values: parsed settings by field name, out of `PLAY_SETTINGS`; the others are those of the run.
    """
    printer = printer or Printer()
    for name in values:
        if name not in PLAY_SETTINGS:
            raise UsageError(f"play does not support {flag(name)}: the agents and their data are those of {run.path}")
    if run.status != "done":
        raise UsageError(f"the status of {run.path} is {run.status!r}; play requires a finished run")
    if out is not None and run.path.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--out {out} is, or holds, the run whose agents play; give another folder")
    stage = max(number for number, (first, _) in enumerate(run.config.graphs) if first <= run.round)
    config = _config(run.config, values, stage)
    check_packages(config)
    device = pick_device(config.device)
    for text in validation.notes(config):
        printer.note(f"note: {text}")
    models, rounds = run.models, run.round
    prepared = load_objects(config, download=False)
    memory_estimate.check(config, prepared.agents, prepared.objects.count, device)
    threads = plan_threads(config, prepared.agents, prepared.objects.count, device)
    known = () if "meet" in values else edges_of(run.manifest, run.config, run.folder)[stage : stage + 1]
    game = game_of(config, device, known)
    with (
        place_agents(config, prepared, device, threads) as places,
        RunFolder.create(out or _free_folder(run), overwrite=overwrite, option="--out") as folder,
    ):
        manifest = manifest_of(config, prepared, game, device, threads, command_line)
        folder.start_manifest(manifest | {"played_from": run.manifest.get("played_from") or str(run.path)})
        folder.write_text(run_folder.CONFIG, settings.to_toml(prepared.config))
        with record_status(folder):
            members = places.make()
            for member in members:
                assert isinstance(member, Member)
                member.agent.load_state_dict(models[member.name].state_dict())
                for kind in ("perceive", "play"):
                    member.streams[kind] = stream(config.seed, f"{member.name}/played/{kind}", device)
            progress = RoundProgress(rounds)
            loop = TrainingLoop(
                config, prepared, game, places, members, progress, folder, printer, None, 0.0, learns=False
            )
            loop.run()
    return folder.path


def _config(config: Config, values: Mapping[str, Any], stage: int) -> Config:
    """The settings of a run with its graph number `stage`, and with the `values` of the game. Raises UsageError."""
    changes = dict(values)
    if "acceptance" in values:  # of all agents
        kept = {name: tuple(pair for pair in own if pair[0] != "acceptance") for name, own in config.agent}
        changes["agent"] = tuple((name, own) for name, own in kept.items() if own)
    changes = {"meet": config.graphs[stage][1], "meet_later": None, "newcomers": "keep"} | changes
    config = replace(config, engine="local", address=None, tensorboard=False, run_dir=None, **changes)
    validation.check(config)
    return config


def _free_folder(run: SavedRun) -> Path:
    """The path of a new folder in the folder of the run or, for a run that was played, beside it."""
    parent, number = run.path.absolute().parent if "played_from" in run.manifest else run.path, 1
    while os.path.lexists(result := parent / f"play-{number:03d}"):
        number += 1
    return result
