"""Train a run from its settings to a complete run folder, and resume a stopped one.

Each round writes its metrics, then a checkpoint. A long round also writes checkpoints between epochs, every
--checkpoint-minutes. A killed run resumes from the latest checkpoint and repeats the lost steps exactly. The last
round writes the results before its checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.tensorboard import open_scalars
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import Config
from mhng.experiment.settings.validation import check_new, notes
from mhng.experiment.training import memory_estimate
from mhng.experiment.training.alone import alone
from mhng.experiment.training.build import game_of
from mhng.experiment.training.checkpoint import from_checkpoint, identity_of
from mhng.experiment.training.compatibility import check_parts
from mhng.experiment.training.console import Printer
from mhng.experiment.training.dry_run import report
from mhng.experiment.training.learned import load_learned
from mhng.experiment.training.loop import Callback, TrainingLoop, keeps_epochs, precedes, record_status
from mhng.experiment.training.manifest import manifest_of
from mhng.experiment.training.packages import check_packages
from mhng.experiment.training.play_program import play_program
from mhng.experiment.training.prepare import Prepared, load_objects, pick_device
from mhng.experiment.training.ray_agents import AgentPlacement, RemoteMember, place_agents
from mhng.experiment.training.resume import (
    check_metrics,
    edges_of,
    is_of_round,
    place_of,
    reasons_of,
    refuse_changes,
    results_are_whole,
    same_threads,
)
from mhng.experiment.training.threads import plan_threads
from mhng.inference.members import Member
from mhng.inference.rounds import RoundProgress
from mhng.models.torch_defaults import torch_defaults


@torch_defaults()
@alone()
def train(
    config: Config,
    *,
    command_line: Sequence[str] = (),
    printer: Printer | None = None,
    callbacks: Sequence[Callback] = (),
    about: Sequence[str] = (),
    dry: bool = False,
    learned: Path | None = None,
) -> dict[str, Any]:
    """Train a run and return its summary. Raises UsageError before anything is written.

    callbacks: functions that receive each row of metrics.jsonl, as a dictionary: the row of an epoch after the epoch,
    the rows of a game after its round is saved. about: notes on the run, beside those on its data. dry: print what the
    run would do, write nothing and return nothing. learned: a file through which runs share the learning of round 0
    (see `training.learned`).
    """
    printer = printer or Printer()
    settings.check_values(config)
    if config.program is not None:
        return play_program(config, command_line=command_line, printer=printer, callbacks=callbacks, dry=dry)
    check_packages(config)
    device = pick_device(config.device)
    check_new(config)
    for text in notes(config):
        printer.note(f"note: {text}")
    specs = check_parts(config)
    memory_estimate.check(config, specs, 1, device)  # before the objects are loaded, which may take long
    given, prepared = config, load_objects(config, specs)
    config = prepared.config
    if about:
        prepared = prepared._replace(objects=replace(prepared.objects, notes=(*about, *prepared.objects.notes)))
    memory_estimate.check(config, prepared.agents, prepared.objects.count, device)
    for note in prepared.objects.notes:
        printer.note(f"note: {note}")
    game = game_of(config, device)
    threads = plan_threads(config, prepared.agents, prepared.objects.count, device)
    if dry:
        report(config, prepared, game, device, threads, printer)
        return {}
    path = config.run_dir or free_folder(config)
    # Ray starts before the folder is created, because it may fail.
    with (
        place_agents(config, prepared, device, threads) as places,
        RunFolder.create(path, overwrite=config.overwrite, resumable=True) as folder,
    ):
        folder.start_manifest(manifest_of(given, prepared, game, device, threads, command_line))
        folder.write_text(run_folder.CONFIG, settings.to_toml(config, prepared.reasons))
        with record_status(folder):
            members, progress, spent = _begin(config, prepared, places, folder, learned, printer)
            with open_scalars(folder, config.tensorboard) as scalars:
                return TrainingLoop(
                    config,
                    prepared,
                    game,
                    places,
                    members,
                    progress,
                    folder,
                    printer,
                    scalars,
                    spent,
                    callbacks,
                    learned=learned,
                ).run()


def _begin(
    config: Config,
    prepared: Prepared,
    places: AgentPlacement,
    folder: RunFolder,
    learned: Path | None,
    printer: Printer,
) -> tuple[list[Member | RemoteMember], RoundProgress, float]:
    """New agents, their progress and the seconds spent; after the learning of round 0 if a run has shared it."""
    members = places.make()
    identity = identity_of(settings.plain(config), prepared.objects.checksum)
    if learned is not None and (shared := load_learned(learned, identity)) is not None:
        checkpoint, rows = shared
        try:
            progress, spent = from_checkpoint(members, checkpoint, str(learned), config, identity)
        except UsageError:  # the file was made on another type of device
            members = places.make()
        else:
            folder.append_metrics(rows)
            if keeps_epochs(config, places):
                folder.save_epochs(checkpoint)  # a run that is stopped in its first game resumes from here
            printer.note("the learning of round 0 is that of another mode with this seed")
            return members, progress, spent
    return members, RoundProgress(0), 0.0


@torch_defaults()
@alone()
def resume(
    path: Path,
    *,
    rounds: int | str | None = None,
    tensorboard: bool | None = None,
    data_root: str | None = None,
    data: str | None = None,
    trust_plugins: bool = False,
    command_line: Sequence[str] = (),
    printer: Printer | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Resume the run in `path` and return its summary. Raises UsageError.

    rounds, tensorboard: new values of these settings. data_root, data: new places of data that have moved.
    trust_plugins: allow parts "module:attribute" of the run. callbacks: as in `train`.
    """
    printer = printer or Printer()
    with RunFolder.open(path) as folder, ExitStack() as stack:
        given = {"rounds": rounds, "tensorboard": tensorboard, "data_root": data_root, "data": data}
        flags = {name: value for name, value in given.items() if value is not None}
        own = folder.file(run_folder.CONFIG)
        config = settings.resolve(flags, own, trust_plugins=trust_plugins, place=str(own))
        manifest = folder.read_manifest()
        if config.program:
            raise UsageError(f"--resume {path} is a game of Pyro programs, which does not resume; play it again")
        if source := manifest.get("played_from"):
            raise UsageError(f"--resume {path}: play made this run, without learning; resume {source}, or play again")
        refuse_changes(config, manifest, folder)
        check_packages(config)
        device = pick_device(config.device)
        prepared = load_objects(config)
        if manifest.get("checksum") != prepared.objects.checksum:
            raise UsageError(f"--resume {path}: the objects of {config.dataset} are not those of the run")
        memory_estimate.check(config, prepared.agents, prepared.objects.count, device)
        game = game_of(config, device, edges_of(manifest, config, folder))
        planned = plan_threads(config, prepared.agents, prepared.objects.count, device)
        threads = same_threads(planned, manifest, printer)
        places = stack.enter_context(place_agents(config, prepared, device, threads))
        members = places.make()
        config = prepared.config
        identity = identity_of(settings.plain(config), prepared.objects.checksum)
        progress, spent = RoundProgress(0), 0.0
        if folder.file(run_folder.CHECKPOINT).exists() or folder.file(run_folder.PREVIOUS).exists():
            file = str(folder.file(run_folder.CHECKPOINT))
            progress, spent = from_checkpoint(members, folder.load_checkpoint(), file, config, identity)
            if progress.done == config.rounds + 1 and not results_are_whole(folder, config.rounds):
                # The results are written in the last round only, which is repeated exactly.
                printer.note(f"{path} lacks results of round {config.rounds}; repeating the round")
                progress, spent = RoundProgress(0), 0.0
                if config.rounds:
                    file = str(folder.file(run_folder.PREVIOUS))
                    before = folder.load_checkpoint(previous=True)
                    progress, spent = from_checkpoint(members, before, file, config, identity)
                else:
                    members = places.make()
        saved_rounds, whole = progress.done, progress.done == config.rounds + 1
        begun = folder.load_epochs()
        goes_on = begun is not None and begun.get("done") == progress.done <= config.rounds
        if begun is not None and goes_on:
            file = str(folder.file(run_folder.EPOCHS))
            progress, spent = from_checkpoint(members, begun, file, config, identity)
        if progress.done > config.rounds + 1:
            done = progress.done - 1
            raise UsageError(f"--rounds is {config.rounds}, but {done} rounds are complete; pass {done} or more")
        if whole and manifest["status"] == "done":
            raise UsageError(f"--resume {path}: the run is complete; pass --rounds with more than {config.rounds}")
        check_metrics(folder, config, progress, printer)
        folder.write_text(run_folder.CONFIG, settings.to_toml(config, reasons_of(manifest)))
        if not whole and results_are_whole(folder, saved_rounds - 1):
            folder.keep_checkpoint()
        if not goes_on:  # rows of the dropped epochs go too
            folder.file(run_folder.EPOCHS).unlink(missing_ok=True)
        folder.truncate_metrics(lambda row: precedes(row, progress) and (whole or is_of_round(row, config)))
        resumed = manifest.get("resumed")
        history = resumed if isinstance(resumed, list) else []
        folder.update_manifest(
            status="running", settings=settings.plain(config), resumed=[*history, list(command_line)]
        )
        printer.note(f"resuming {place_of(progress, config, members)}")
        with record_status(folder), open_scalars(folder, config.tensorboard) as scalars:
            return TrainingLoop(
                config, prepared, game, places, members, progress, folder, printer, scalars, spent, callbacks
            ).run()


def free_folder(config: Config) -> Path:
    """The path of a new folder in runs/, named by mode, data set and seed, with a number if that exists."""
    return run_folder.new_path(f"{config.mode}-{config.dataset}-seed{config.seed}".replace(":", "-"))
