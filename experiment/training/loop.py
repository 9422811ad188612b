"""A run that goes on: round after round with a run folder beside it, told of what inference does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import RunError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.posterior import save_posterior
from mhng.experiment.runs.tensorboard import Scalars
from mhng.experiment.runs.trace import RoundTrace
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.build import schedule_of
from mhng.experiment.training.checkpoint import from_checkpoint, to_checkpoint
from mhng.experiment.training.console import Printer
from mhng.experiment.training.graphs import Edges, edges_at
from mhng.experiment.training.prepare import latents_of
from mhng.experiment.training.ray_agents import BYTES_OF_A_NAME, AgentLostError, AgentPlacement, RemoteMember
from mhng.experiment.training.results import summarise, sweep_rows, to_round_trace
from mhng.inference.cuda_graphs import CannotCaptureError
from mhng.inference.rounds import Member, Played, Progress, RoundError, run_rounds
from mhng.inference.spec import Game
from mhng.inference.svi import Loss
from mhng.inference.topology import groups

# The mean kappa of a community that agrees.
AGREED = 0.9
# Times in one round that agents' processes may end before the run gives up.
MOST_LOST = 3


class TrainingLoop:
    """The loop over rounds with a run folder beside it; the `Watcher` that keeps the rows of metrics."""

    def __init__(
        self,
        config: Config,
        objects: Objects,
        game: Game,
        places: AgentPlacement,
        members: list[Member | RemoteMember],
        progress: Progress,
        folder: RunFolder,
        printer: Printer,
        scalars: Scalars | None,
        spent: float,
    ) -> None:
        self.config = config
        self.objects = objects
        self.game = game
        self.places = places
        self.members = members
        self.state = progress
        self.lost = 0
        self.kept = progress.done  # rounds, of which all is written
        self.folder = folder
        self.printer = printer
        self.scalars = scalars
        self.spent = spent
        self.started = time.monotonic()
        self.device = members[0].device
        self._announced = -1
        self._saved = self.started

    def go(self) -> dict[str, Any]:
        """All rounds that are left, then the pictures; returns the summary."""
        self.printer.objects(self.objects, self.config.views, self.config.signs)
        if len(set(latents_of(self.config, self.objects))) > 1 and schedule_of(self.config).keep_means:
            self.printer.note(
                "note: agents whose percepts have unequal dimensions: posterior.nc will hold no component means"
            )
        try:
            while not self._rounds():
                pass
        except (RoundError, CannotCaptureError) as error:
            raise RunError(f"{error} (run folder: {self.folder.path})") from error
        self._draw()
        summary = self.folder.read_json(run_folder.SUMMARY)
        self.printer.summary(summary, str(self.folder.path))
        return summary

    def _rounds(self) -> bool:
        """The rounds that are left; False if the process of an agent was lost on the way."""
        try:
            if self.lost:
                self._bring_back()
            for played in run_rounds(self.game, schedule_of(self.config), self.members, self.state, self):
                self._keep(played)
                self.lost = 0
        except AgentLostError as error:
            self.lost += 1
            where = f"round {self.state.done}: {error}"
            if self.lost > MOST_LOST:
                raise RunError(f"{where}, which is the {self.lost}th time (run folder: {self.folder.path})") from error
            self.printer.note(f"{where}; it begins again with new processes")
            return False
        return True

    def _bring_back(self) -> None:
        """New processes for all agents, as they were after the last round that was kept."""
        self.members = self.places.make()
        self.state = Progress(0)
        if self.kept:
            name, state = run_folder.CHECKPOINT, self.folder.load_checkpoint()
            if state.get("done") != self.kept:  # a last round that is played again, for its results
                name, state = run_folder.PREVIOUS, self.folder.load_checkpoint(previous=True)
            self.state, _ = from_checkpoint(self.members, state, str(self.folder.file(name)), self.config)
        # Of epochs that are made again nothing is known any more, as their rows.
        self.folder.file(run_folder.EPOCHS).unlink(missing_ok=True)
        self.folder.truncate_metrics(lambda row: precedes(row, self.state))

    # -- told by inference -----------------------------------------------------------------------

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """Keep and print the loss of an epoch, and save what has been learned, if it is time."""
        self._announce(round)
        row = {"kind": "epoch", "round": round, "agent": member, "epoch": epoch, "loss": loss.total}
        self._record([row | loss._asdict()])
        if self.printer.shows(round, self.config.rounds):
            self.printer.epoch(round, member, epoch, epochs, loss)
        # After the row: what the checkpoint tells of must be in the metrics.
        every = 60 * self.config.checkpoint_minutes
        # Agents in processes of their own are not all in the same epoch.
        if every and self.places.traffic is None and time.monotonic() - self._saved >= every:
            self.folder.save_epochs(to_checkpoint(self.members, self.state, self._seconds()))
            self._saved = time.monotonic()

    def progress(self, steps: Any, title: str) -> Any:
        """Show the steps as they pass."""
        return self.printer.progress(steps, title)

    # -- after a round ---------------------------------------------------------------------------

    def _keep(self, played: Played) -> None:
        self._announce(played.round)
        config, folder = self.config, self.folder
        trace = to_round_trace(played, [one.name for one in self.members], config)
        rows = sweep_rows(
            played.round,
            trace,
            played,
            self.objects.labels,
            groups(self.game.meetings, len(self.members)),
            self._edges(played.round),
        )
        if played.start_evidence is not None:
            start = {"kind": "start", "round": played.round, "log_evidence": played.start_evidence.tolist()}
            self._record([start])
        self._record(rows)
        if self.printer.shows(played.round, config.rounds):
            self.printer.sweeps(rows)
        if any(row["not_a_number"] for row in rows):
            self.printer.note("warning: some proposals compared two impossible signs; they were rejected")
        seconds, traffic = self._seconds(), self._traffic(played)
        if played.round == config.rounds:
            self._write_results(played, trace, rows, seconds, traffic)
        folder.save_checkpoint(to_checkpoint(self.members, self.state, seconds))
        self.kept = self.state.done
        self._saved = time.monotonic()

    def _edges(self, round: int) -> Edges | None:
        """Who meets whom in that round, where it is a graph."""
        return edges_at(self.game.meetings, round * schedule_of(self.config).sweeps_between())

    def _agreement(self) -> int | None:
        """After how many sweeps of the run agents agreed, and went on agreeing; None if they did not."""
        sweeps = [row["kappa"] for row in self.folder.read_metrics() if row["kind"] == "sweep"]
        apart = [number for number, kappa in enumerate(sweeps, 1) if kappa < AGREED]
        reached = apart[-1] if apart else 0
        return None if reached == len(sweeps) else reached + 1

    def _traffic(self, played: Played) -> dict[str, int] | None:
        """Bytes a sweep of the round, where agents are in processes of their own."""
        if self.places.traffic is None:
            return None
        said, moved = BYTES_OF_A_NAME * int(played.trace.messages.sum()), self.places.traffic.taken()
        sweeps = played.trace.signs.shape[1]
        return {"signs_said": round(said / sweeps), "all": round(moved / sweeps)}

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _record(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.folder.append_metrics(rows)
        if self.scalars is not None:
            self.scalars.add(rows)

    def _write_results(
        self,
        played: Played,
        trace: RoundTrace,
        rows: Sequence[Mapping[str, Any]],
        seconds: float,
        traffic: dict[str, int] | None,
    ) -> None:
        config, objects, folder = self.config, self.objects, self.folder
        arrays = {f"signs_{name}": trace.signs[0, -1, m] for m, name in enumerate(trace.agent_names)}
        if objects.files is not None:
            arrays["files"] = np.array(objects.files)
        folder.write_npz(run_folder.SIGNS, index=objects.indices, label=objects.labels, **arrays)
        save_posterior(
            folder.file(run_folder.POSTERIOR),
            trace,
            burn_in=config.burn_in,
            settings=settings.plain(config),
            thin=config.thin,
            keep=config.keep,
        )
        folder.write_json(
            run_folder.SUMMARY,
            summarise(
                config,
                objects,
                trace,
                rows,
                self._bounds(played),
                edges=self._edges(played.round),
                agreement=self._agreement(),
                round=played.round,
                traffic=traffic,
                seconds=round(seconds, 1),
                device=str(self.device),
            ),
        )

    def _bounds(self, played: Played) -> dict[str, Loss | None]:
        """Each agent's ELBO given its signs."""
        return {
            one.name: one.bound(self.config.seed, played.round, played.signs[0, m], played.components[m])
            for m, one in enumerate(self.members)
        }

    def _announce(self, round: int) -> None:
        if round > self._announced and self.printer.shows(round, self.config.rounds):
            self.printer.round(round, self.config.rounds)
            self._announced = round

    def _draw(self) -> None:
        """The pictures. One that fails costs a line on stderr, never the run."""
        rows = self.folder.read_metrics()
        names = [one.name for one in self.members]
        pictures: dict[str, tuple[str, tuple[Any, ...]]] = {
            "training.png": ("plot_training", (rows,)),
            "game.png": ("plot_game", (rows,)),
        }
        if self.objects.labels is not None:
            arrays = self.folder.read_npz(run_folder.SIGNS)
            signs = np.stack([arrays[f"signs_{name}"] for name in names])
            pictures["confusion.png"] = (
                "plot_confusion",
                (signs, self.objects.labels, names, self.objects.class_names, self.config.signs),
            )
        if len(names) > 2:
            matrix = np.array(self.folder.read_json(run_folder.SUMMARY)["kappa_matrix"])
            pictures["community.png"] = ("plot_community", (matrix, names))
        if any(len(row.get("kappa_by_distance", ())) > 1 for row in rows):
            pictures["distance.png"] = ("plot_distance", (rows,))
        for name, (function, arguments) in pictures.items():
            try:
                from mhng.experiment.plots import community as community_plots
                from mhng.experiment.plots import training as training_plots

                where = community_plots if hasattr(community_plots, function) else training_plots
                getattr(where, function)(self.folder.file(run_folder.PLOTS) / name, *arguments)
            except Exception as error:
                self.printer.note(f"warning: {run_folder.PLOTS}/{name} could not be drawn: {error}")


@contextmanager
def record_status(folder: RunFolder) -> Iterator[None]:
    """The manifest says how the run ended; "done" is the last thing that is written."""
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with _uninterrupted(), suppress(RunError):  # a full disk: the error that is on its way says so
            folder.update_manifest(status=status, error=str(error) or type(error).__name__)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
            raise RunError(f"there is not enough memory for these settings (run folder: {folder.path})") from error
        raise
    folder.update_manifest(status="done", error=None)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not break off the tidying up after the first."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def precedes(row: Mapping[str, Any], progress: Progress) -> bool:
    """Whether a row tells of what the run goes on from, and not of what it repeats."""
    if row["round"] == progress.done and row["kind"] == "epoch":
        return bool(row.get("epoch", 0) <= progress.learned.get(str(row.get("agent")), 0))
    return bool(row["round"] < progress.done)
