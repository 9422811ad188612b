"""The training loop: rounds of learning and games, with metrics and checkpoints written to a run folder."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mhng.experiment.errors import Interrupted, RunError
from mhng.experiment.metrics.latents import REMEDY, collapse, latent_nats
from mhng.experiment.metrics.thresholds import KAPPA_AGREED
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.tensorboard import Scalars
from mhng.experiment.runs.trace import RoundTrace
from mhng.experiment.settings import config as settings
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.build import schedule_of
from mhng.experiment.training.checkpoint import from_checkpoint, identity_of, to_checkpoint
from mhng.experiment.training.console import Printer
from mhng.experiment.training.defaults import describe
from mhng.experiment.training.graphs import Edges, edges_at
from mhng.experiment.training.language_scores import fit_speakers, language_scores
from mhng.experiment.training.learned import save_learned
from mhng.experiment.training.pictures import run_pictures
from mhng.experiment.training.prepare import Prepared, load_held_out
from mhng.experiment.training.progress import Progress
from mhng.experiment.training.ray_agents import BYTES_PER_SIGN, AgentLostError, AgentPlacement, RemoteMember
from mhng.experiment.training.results import sweep_rows, to_round_trace, write_results
from mhng.experiment.util.memory import is_out_of_memory, keep_freed_memory
from mhng.experiment.util.process import ignore_interrupt, on_stop_signals
from mhng.inference.copies import CopyLostError
from mhng.inference.cuda_graphs import CannotCaptureError
from mhng.inference.members import Member
from mhng.inference.rounds import Played, RoundError, RoundProgress, run_rounds
from mhng.inference.spec import Game
from mhng.inference.svi import Loss
from mhng.inference.topology import connected_components

# A run fails if processes of agents end more often than this in one round.
MAX_RESTARTS = 3
# A signal that follows another within this time is the same wish: a terminal or a scheduler may tell every process.
SAME_STOP_SECONDS = 1.0

# Receives a row of metrics.jsonl; its "kind" is epoch, start or sweep.
Callback = Callable[[dict[str, Any]], object]


def keeps_epochs(config: Config, placement: AgentPlacement) -> bool:
    """Whether checkpoints are saved between epochs. With Ray the agents are in different epochs."""
    return config.checkpoint_minutes > 0 and placement.traffic is None


class TrainingLoop:
    """The loop over the rounds of a run, which writes the run folder. It is the `Watcher` of the rounds."""

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        game: Game,
        placement: AgentPlacement,
        members: list[Member | RemoteMember],
        progress: RoundProgress,
        folder: RunFolder,
        printer: Printer,
        scalars: Scalars | None,
        spent: float,
        callbacks: Sequence[Callback] = (),
        *,
        learns: bool = True,
        learned: Path | None = None,
    ) -> None:
        self.config = config
        schedule = replace(schedule_of(config), threads=placement.threads)
        self.resumable = learns
        self.schedule = schedule if learns else replace(schedule, epochs=0, round_epochs=0)
        self.objects = prepared.objects
        self.agents = prepared.agents
        self.choices = describe(config, prepared.reasons)
        self.settings = settings.plain(config)
        self.identity = identity_of(self.settings, prepared.objects.checksum)
        self.game = game
        self.placement = placement
        self.members = members
        self.state = progress
        self.restarts = 0
        self.saved_rounds = progress.done  # rounds with checkpoint and results
        self.folder = folder
        self.printer = printer
        self.scalars = scalars
        self.spent = spent
        self.callbacks = callbacks
        self._shared = learned  # file of the state after the learning of round 0, for other runs
        self.started = time.monotonic()
        self.device = members[0].device
        self._announced = -1
        self._keeps_epochs = keeps_epochs(config, placement)
        self._stop: tuple[int, float] | None = None  # the signal that asks to stop, and its time
        self._failure: BaseException | None = None  # an exception of a callback
        self._defers = self._has_epochs_left()  # whether a signal waits until an epoch or a round is saved
        self._learned: dict[str, Any] | None = None  # the state after the last epoch, to save if the run is stopped
        self._saved = self.started
        self._progress: Progress | None = None

    def run(self) -> dict[str, Any]:
        """Run the remaining rounds, draw the plots and return the summary.

        Raises Interrupted for SIGINT, SIGTERM, SIGHUP and SIGUSR1, after the epoch in which it came is saved. A game
        is broken off at once; the state before it is saved.
        """
        try:
            with keep_freed_memory(), on_stop_signals(self._request_stop):
                return self._run()
        except KeyboardInterrupt as error:
            with ignore_interrupt(), suppress(RunError):  # a full disk: the older checkpoints are whole
                if self._learned is not None and self._learned["done"] == self.saved_rounds:
                    self.folder.save_epochs(self._learned)
            path = str(self.folder.path) if self.resumable else None
            raise Interrupted(getattr(error, "number", signal.SIGINT), path) from error

    def _run(self) -> dict[str, Any]:
        self.printer.objects(self.objects, self.config.views, self.config.signs)
        for line in self.choices:
            self.printer.write(line)
        if len({spec.latent_dim for spec in self.agents}) > 1 and self.schedule.keep_means:
            self.printer.note(
                "note: posterior.nc will hold no component means, because the latent dimensions of the agents differ"
            )
        if self.config.keep == "all" and not self.schedule.keeps_pointwise(len(self.agents), self.objects.count):
            self.printer.note(
                "note: posterior.nc will hold no log_likelihood: --chains x --sweeps x agents x objects is more than "
                f"{self.schedule.pointwise_limit:,}"
            )
        self._progress = self.printer.progress(*self._steps())
        try:
            while not self._run_rounds():
                pass
        except (RoundError, CannotCaptureError, CopyLostError) as error:
            raise RunError(f"{error} (run folder: {self.folder.path})") from error
        finally:
            self._progress.close()
        self._draw()
        summary = self.folder.read_json(run_folder.SUMMARY)
        self.printer.summary(summary, str(self.folder.path))
        return summary

    def _run_rounds(self) -> bool:
        """Run the remaining rounds. Returns False if the process of an agent ended."""
        try:
            if self.restarts:
                self._restart_agents()
            for played in run_rounds(self.game, self.schedule, self.members, self.state, self):
                self._save_round(played)
                self.restarts = 0
        except AgentLostError as error:
            self.restarts += 1
            where = f"round {self.state.done}: {error}"
            if self.restarts > MAX_RESTARTS:
                raise RunError(
                    f"{where} (failure {self.restarts} in this round; run folder: {self.folder.path})"
                ) from error
            self.printer.note(f"{where}; restarting the round with new processes")
            return False
        return True

    def _restart_agents(self) -> None:
        """Start new processes for all agents, in the state after the last saved round."""
        self.members = self.placement.make()
        self.state = RoundProgress(0)
        if self.saved_rounds:
            name, state = run_folder.CHECKPOINT, self.folder.load_checkpoint()
            if state.get("done") != self.saved_rounds:  # a complete run whose last round is repeated for its results
                name, state = run_folder.PREVIOUS, self.folder.load_checkpoint(previous=True)
            file = str(self.folder.file(name))
            self.state, _ = from_checkpoint(self.members, state, file, self.config, self.identity)
        # The epochs of this round are repeated, so their checkpoint and their rows are removed.
        self.folder.file(run_folder.EPOCHS).unlink(missing_ok=True)
        self.folder.truncate_metrics(lambda row: precedes(row, self.state))
        self._defers = self._has_epochs_left()
        if self._progress is not None:
            self._progress.left = self._steps()[0]

    # -- calls from inference --------------------------------------------------------------------

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """Record and print the loss of an epoch."""
        self._announce(round)
        row = {"kind": "epoch", "round": round, "agent": member, "epoch": epoch, "loss": loss.total} | loss._asdict()
        self._record([row])
        if self.printer.shows(round, self.config.rounds):
            self.printer.epoch(round, member, epoch, epochs, loss)
        self._call_back([row])

    def wants_state(self) -> bool:
        """Whether a checkpoint between epochs is due, or the run shall stop."""
        return self._stop is not None or self._failure is not None or self._is_due()

    def keep(self) -> None:
        """Save a checkpoint every --checkpoint-minutes; end the run if a signal or a callback asked for it.

        After the last epoch of round 0, the state is also saved for other runs (`mhng.experiment.training.learned`).
        Called after the rows of the epochs, so that metrics.jsonl covers every epoch in the checkpoint.
        """
        if self._failure is not None and self._keeps_epochs:
            with ignore_interrupt(), suppress(RunError):  # a full disk: the older checkpoints are whole
                self.folder.save_epochs(self._checkpoint())
        elif self._is_due():
            self.folder.save_epochs(self._checkpoint())
            self._saved = time.monotonic()
        self._defers = self._has_epochs_left()
        if self._keeps_epochs and (self._stop is not None or not self._defers):
            self._learned = self._checkpoint()
        file, whole = self._shared, self.state.done == 0 and not self._defers and self.placement.traffic is None
        if file is not None and whole and not file.exists():
            save_learned(file, self._learned or self._checkpoint(), self.folder.read_metrics())
        self._stop_if_asked()

    def _is_due(self) -> bool:
        return self._keeps_epochs and time.monotonic() - self._saved >= 60 * self.config.checkpoint_minutes

    def _checkpoint(self) -> dict[str, Any]:
        return to_checkpoint(self.members, self.state, self._seconds(), self.identity)

    # -- stopping --------------------------------------------------------------------------------

    def _request_stop(self, number: int) -> None:
        """Handle a signal: stop when the epoch or round is saved; at once in a game, or for a second signal."""
        if self._stop is None:
            self._stop = number, time.monotonic()
            if self._defers:
                with suppress(RuntimeError):  # the signal came while a line was printed
                    name = signal.Signals(number).name
                    self.printer.note(
                        f"{name}: the run stops when this epoch or round is saved; a second one ends it at once"
                    )
                return
        elif time.monotonic() - self._stop[1] < SAME_STOP_SECONDS:
            return
        raise Interrupted(number)

    def _has_epochs_left(self) -> bool:
        """Whether an agent of this process has epochs left in the round."""
        round = self.state.done
        epochs = self.schedule.round_epochs if round else self.schedule.epochs
        return round <= self.config.rounds and any(
            isinstance(member, Member) and member.learns and self.state.learned.get(member.name, 0) < epochs
            for member in self.members
        )

    def _stop_if_asked(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._stop is not None:
            raise Interrupted(self._stop[0])

    def progress(self, steps: Iterable[int], round: int, stage: str) -> Iterable[int]:
        """Count the steps of a stage, and show how far the run is."""
        assert self._progress is not None
        return self._progress.count(steps, stage, f"round {round} of {self.config.rounds}: {stage}")

    def _steps(self) -> tuple[dict[str, int], dict[str, int]]:
        """Steps left and steps done in the run, by stage as in `Watcher.progress`."""
        schedule, rounds, finished = self.schedule, self.config.rounds, self.state.done
        if not self.resumable:
            return {"starts": 1, "game": schedule.sweeps}, {}
        between = schedule.sweeps_between()
        totals, done = {"starts": 1, "game": rounds * between + schedule.sweeps}, {"starts": min(finished, 1)}
        done["game"] = min(finished * between, totals["game"])
        for member in self.members:
            if not isinstance(member, Member) or member.learns:
                stage = f"agent {member.name} learns"
                totals[stage] = schedule.epochs + rounds * schedule.round_epochs
                before = schedule.epochs + (finished - 1) * schedule.round_epochs if finished else 0
                done[stage] = before + self.state.learned.get(member.name, 0)
        return {stage: total - done[stage] for stage, total in totals.items()}, done

    # -- after a round ---------------------------------------------------------------------------

    def _save_round(self, played: Played) -> None:
        self._defers = True
        self._announce(played.round)
        config, folder = self.config, self.folder
        trace = to_round_trace(played, [member.name for member in self.members], config)
        rows = sweep_rows(
            played.round,
            trace,
            played,
            self.objects.labels,
            connected_components(self.game.meetings, len(self.members)),
            self._edges(played.round),
        )
        start = []
        if played.start_scores is not None:
            start = [{"kind": "start", "round": played.round, "score": played.start_scores.tolist()}]
            self.printer.start(played.start_scores.amax(2).sum(1).tolist(), self.resumable)
        self._record([*start, *rows])
        if self.printer.shows(played.round, config.rounds):
            self.printer.sweeps(rows)
        if any(row["not_a_number"] for row in rows):
            self.printer.note("warning: some proposals compared two signs of zero likelihood; they were rejected")
        seconds, traffic = self._seconds(), self._traffic(played)
        if played.round == config.rounds:
            self._write_results(played, trace, rows, seconds, traffic)
        state = self._checkpoint()
        if played.round == 0:
            self._record_prior_scales(state)
            if config.rounds and (clause := collapse(latent_nats(folder.read_metrics()), config.signs)):
                self.printer.note(f"warning: {clause}, so the rounds will not find the classes; {REMEDY}")
        folder.save_checkpoint(state)
        self.saved_rounds, self._learned = self.state.done, None
        if played.round == config.rounds:  # the newest checkpoint is that of the results
            folder.file(run_folder.FINISHED).unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._defers = self._has_epochs_left()
        self._call_back([*start, *rows])
        self._stop_if_asked()

    def _record_prior_scales(self, state: Mapping[str, Any]) -> None:
        """Record W of each agent's prior in the manifest, and print it, if the data decided it."""
        scales = {}
        for spec in self.agents:
            if spec.fits_scale:
                scales[spec.name] = float(state["members"][spec.name]["agent"]["prior_scale"])
            elif spec.chooses_scale:
                scales[spec.name] = spec.prior["W"]
        if scales:
            self.folder.update_manifest(prior_scale=scales)
            self.printer.prior_scales(scales)

    def _edges(self, round: int) -> Edges | None:
        """Edges of the encounter graph in a round; None if the agents do not meet on a graph."""
        return edges_at(self.game.meetings, round * self.schedule.sweeps_between())

    def _agreement(self) -> int | None:
        """Sweeps until the mean kappa stays above the threshold; None if it does not."""
        sweeps = [row["kappa"] for row in self.folder.read_metrics() if row["kind"] == "sweep"]
        disagreed = [number for number, kappa in enumerate(sweeps, 1) if kappa < KAPPA_AGREED]
        last = disagreed[-1] if disagreed else 0
        return None if last == len(sweeps) else last + 1

    def _traffic(self, played: Played) -> dict[str, int] | None:
        """Bytes per sweep in the round, for agents in separate processes."""
        if self.placement.traffic is None:
            return None
        signs, total = BYTES_PER_SIGN * int(played.trace.messages.sum()), self.placement.traffic.taken()
        sweeps = played.trace.signs.shape[1]
        return {"signs_said": round(signs / sweeps), "all": round(total / sweeps)}

    def _seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def _record(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.folder.append_metrics(rows)
        if self.scalars is not None:
            self.scalars.add(rows)

    def _call_back(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Pass the rows to the callbacks. An exception of a callback ends the run when the epoch or round is saved."""
        if self._failure is not None:
            return
        try:
            for callback in self.callbacks:
                for row in rows:
                    callback(dict(row))
        except Interrupted:  # a second signal
            raise
        except BaseException as error:
            self._failure = error

    def _write_results(
        self,
        played: Played,
        trace: RoundTrace,
        rows: Sequence[Mapping[str, Any]],
        seconds: float,
        traffic: dict[str, int] | None,
    ) -> None:
        write_results(
            self.folder,
            self.config,
            self.objects,
            trace,
            rows,
            self._bounds(played),
            settings=self.settings,
            edges=self._edges(played.round),
            agreement=self._agreement(),
            round=played.round,
            nats=latent_nats(self.folder.read_metrics()),
            traffic=traffic,
            seconds=round(seconds, 1),
            device=str(self.device),
            language=self._language(trace),
        )

    def _language(self, trace: RoundTrace) -> dict[str, Any] | None:
        """Scores of the final sentences of chain 0; None for single signs."""
        if self.config.sentences is None:
            return None
        agents = {member.name: member.agent for member in self.members if isinstance(member, Member)}
        signs = dict(zip(trace.agent_names, trace.signs[0, -1], strict=True))
        speakers = fit_speakers(self.config, self.objects, agents, signs)
        return language_scores(self.config, self.objects, speakers, partial(load_held_out, self.config))

    def _bounds(self, played: Played) -> dict[str, Loss | None]:
        """ELBO of each agent given its signs."""
        return {
            member.name: member.elbo(self.config.seed, played.round, played.signs[0, m], played.components[m])
            for m, member in enumerate(self.members)
        }

    def _announce(self, round: int) -> None:
        if round > self._announced and self.printer.shows(round, self.config.rounds):
            self.printer.round(round, self.config.rounds)
            self._announced = round

    def _draw(self) -> None:
        """Draw the plots. A plot that fails costs a warning on stderr, not the run."""
        arrays = self.folder.read_npz(run_folder.SIGNS)
        pictures = run_pictures(
            self.folder.read_metrics(),
            {member.name: arrays[f"signs_{member.name}"] for member in self.members},
            self.objects.labels,
            lambda: self.objects.class_names,
            self.config.signs,
            self.folder.read_json(run_folder.SUMMARY).get("kappa_matrix"),
        )
        for name, draw in pictures.items():
            try:
                draw(self.folder.file(run_folder.PLOTS) / name)
            except Exception as error:
                self.printer.note(f"warning: {run_folder.PLOTS}/{name} could not be drawn: {error}")


@contextmanager
def record_status(folder: RunFolder) -> Iterator[None]:
    """Record in the manifest how the run ended. "done" is written after everything else."""
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with ignore_interrupt(), suppress(RunError):  # on a full disk, the error raised below says so
            folder.update_manifest(status=status, error=str(error) or type(error).__name__)
        if is_out_of_memory(error):
            raise RunError(f"not enough memory for these settings (run folder: {folder.path})") from error
        raise
    folder.update_manifest(status="done", error=None)


def precedes(row: Mapping[str, Any], progress: RoundProgress) -> bool:
    """Whether a row of metrics precedes `progress`. A resumed run repeats the other rows."""
    if row["round"] == progress.done and row["kind"] == "epoch":
        return bool(row.get("epoch", 0) <= progress.learned.get(str(row.get("agent")), 0))
    return bool(row["round"] < progress.done)
