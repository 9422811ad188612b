"""Checks before a run resumes: its settings, edges, rows of metrics and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhng.experiment.errors import UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.posterior import is_posterior
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import SETTINGS, Config, key
from mhng.experiment.training.build import schedule_of
from mhng.experiment.training.console import Printer
from mhng.experiment.training.graphs import Edges
from mhng.experiment.training.ray_agents import RemoteMember
from mhng.experiment.util.cores import available_cores
from mhng.inference.members import Member
from mhng.inference.rounds import RoundProgress, Threads


def refuse_changes(config: Config, manifest: dict[str, Any], folder: RunFolder) -> None:
    """Refuse settings that differ from those at the start of the run, except --rounds and those that may move."""
    made = manifest.get("settings")
    if not isinstance(made, dict):
        raise UsageError(f"{folder.file(run_folder.MANIFEST)} is damaged: it holds no settings")
    for name, (now, then) in settings.changes(config, made).items():
        if name not in settings.CHANGEABLE:
            raise UsageError(f"{folder.file(run_folder.CONFIG)}: {name} is {now}; the run was started with {then}")


def reasons_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The reasons for settings that were chosen from the data, by field name."""
    chosen = manifest.get("chosen")
    names = {key(name): name for name in SETTINGS}
    return {
        names[name]: " ".join(str(reason).split())
        for name, reason in (chosen.items() if isinstance(chosen, dict) else ())
        if name in names
    }


def edges_of(manifest: dict[str, Any], config: Config, folder: RunFolder) -> list[Edges | None]:
    """The edges of each graph in the manifest; None for random pairs. Raises UsageError."""
    agents = range(config.agents)
    found: list[Edges | None] = []
    told = manifest.get("edges") or []
    try:
        if told and told[0] is not None and isinstance(told[0][0], int):
            told = [told]  # format of runs before --meet-later
        for edges in told:
            pairs = None if edges is None else tuple((int(a), int(b)) for a, b in edges)
            if not all(a in agents and b in agents and a != b for a, b in pairs or ()):
                raise ValueError
            found.append(pairs)
        untold = [graph.kind == "random-pairs" for _, graph in config.graphs]
        # Without recorded edges a file of edges would be read again, and it may have changed.
        if len(found) > len(untold) or (len(untold) > 1 and [one is None for one in found] != untold):
            raise ValueError
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise UsageError(
            f"{folder.file(run_folder.MANIFEST)} is damaged: its edges are not pairs of agents"
        ) from error
    return found


def check_metrics(folder: RunFolder, config: Config, progress: RoundProgress, printer: Printer) -> None:
    """Raise UsageError for rows that no run has written; warn of lost rows."""
    sweeps = 0
    for number, row in enumerate(folder.read_metrics(), 1):
        if row.get("kind") not in ("epoch", "start", "sweep") or type(row.get("round")) is not int:
            raise UsageError(f"{folder.file(run_folder.METRICS)}, line {number} is not a row of a run")
        sweeps += row["kind"] == "sweep" and row["round"] < progress.done
    if sweeps < progress.done * schedule_of(config).sweeps_between():
        printer.note(f"warning: {folder.file(run_folder.METRICS)} lacks rows of completed rounds")


def same_threads(planned: Threads, manifest: Mapping[str, Any], printer: Printer) -> Threads:
    """The threads that the run began with, if there are enough cores; else `planned`, with a note if they differ.

    The last digits of sums depend on that number, and a resumed run must equal an uninterrupted one.
    """
    begun = threads_of(manifest)
    if begun is None or begun[:2] == planned[:2]:
        return planned
    cores = available_cores()
    then, now = max(begun[:2]), max(planned[:2])
    if then > cores:
        printer.note(
            f"note: the run began with {then} threads, but {cores} cores are available; it resumes with {now}, so "
            "its numbers may differ in the last digits from those of an uninterrupted run"
        )
        return planned
    printer.note(f"note: resuming with the number of threads that the run began with, {then} instead of {now}")
    return begun._replace(processes=max(1, min(planned.processes, cores // begun.learning)))


def threads_of(manifest: Mapping[str, Any]) -> Threads | None:
    """The threads in a manifest; older manifests hold one number. None if it holds none."""
    told = manifest.get("threads")
    if isinstance(told, dict):
        learning, game = told.get("learning"), told.get("game")
    else:
        learning = game = told
    if type(learning) is not int or type(game) is not int or min(learning, game) < 1:
        return None
    return Threads(learning, game)


def place_of(progress: RoundProgress, config: Config, members: Sequence[Member | RemoteMember]) -> str:
    """The place where a run resumes, as text: the round, and the epoch if the round has begun."""
    if progress.done > config.rounds:
        return f"after round {config.rounds}, the last; only its pictures are missing"
    epochs = (config.round_epochs if progress.done else config.epochs) or 0
    for member in members:
        learned = progress.learned.get(member.name, 0)
        if progress.learned and learned < epochs:
            return f"at round {progress.done}, epoch {learned + 1:,} of {epochs:,} (agent {member.name})"
    return f"at round {progress.done} of {config.rounds}" + (", its game" if progress.learned else "")


def is_of_round(row: Mapping[str, Any], config: Config) -> bool:
    """Whether a row stays if more rounds follow. False for the further sweeps of a last round."""
    return row["kind"] != "sweep" or row.get("sweep", 0) <= schedule_of(config).sweeps_between()


def results_are_whole(folder: RunFolder, rounds: int) -> bool:
    """Whether the result files are complete and those of the last round, `rounds`."""
    try:
        summary, signs = folder.read_json(run_folder.SUMMARY), folder.read_npz(run_folder.SIGNS)
    except UsageError:
        return False
    return (
        summary.get("rounds") == rounds
        and bool(np.all(signs.get("round", rounds) == rounds))
        and is_posterior(folder.file(run_folder.POSTERIOR), rounds)
    )
