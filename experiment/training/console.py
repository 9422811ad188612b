"""Printed lines of `train`: results on stdout in the form of the public reference's log, a progress bar on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mhng.experiment.data import modalities
from mhng.experiment.data.views import View
from mhng.experiment.training.progress import Progress
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.output import is_terminal, print_note
from mhng.experiment.util.text import decimal

if TYPE_CHECKING:
    from mhng.experiment.data.objects import Objects
    from mhng.inference.svi import Loss


# Printed are the first epoch or sweep, every N-th, and the last.
EPOCH_STEP = 25
SWEEP_STEP = 10
# With more rounds than this, only every tenth is printed.
ROUND_STEP = 10


def is_shown(number: int, total: int, step: int) -> bool:
    """Whether to print item `number` (from 1) of `total`: the first, every `step`-th, and the last."""
    return number in (1, total) or number % step == 0


class Printer:
    """Prints the progress and the results of a run (`mhng.inference.rounds.Watcher`)."""

    def __init__(self) -> None:
        self.bars = is_terminal(sys.stderr)

    def write(self, text: str) -> None:
        """Print a line of results on stdout, if there is a stdout."""
        if self.bars and sys.stdout is not None:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Print a line about the run on stderr."""
        if self.bars:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
        else:
            print_note(text)

    def objects(self, objects: Objects, views: Sequence[View], signs: int) -> None:
        """Print the data set and the views of the agents."""
        self.write(f"Dataset: {objects.name}")
        categories = "unknown" if objects.categories is None else objects.categories
        self.write(f"Objects: {objects.count}, categories: {categories}, signs: {signs}")
        shapes = ["x".join(map(str, view.shape[1:])) for view in objects.views]
        shape = shapes[0]
        if any(len(group) > 1 for group in objects.modalities):
            views_text = "; ".join(
                f"{name} {modalities.describe_modalities(group, objects.count)}"
                for name, group in zip(agent_names(len(views)), objects.modalities, strict=True)
            )
            self.write(f"Views: {views_text}")
        elif objects.paired:
            views_text = ", ".join(
                f"{name} {shape}" for name, shape in zip(agent_names(len(views)), shapes, strict=True)
            )
            self.write(f"Views: separate data for each agent: {views_text}")
        elif objects.views[0].dim() == 4:
            views_text = ", ".join(f"{name} {view}" for name, view in zip(agent_names(len(views)), views, strict=True))
            how = "seen as" if any(isinstance(view.text, str) for view in views) else "turned by degrees"
            self.write(f"Views: {shape}, {how}: {views_text}")
        else:
            self.write(f"Views: {shape} features each")

    def shows(self, round: int, rounds: int) -> bool:
        """Whether to print the lines of `round` out of `rounds`."""
        return rounds <= ROUND_STEP or is_shown(round, rounds, ROUND_STEP)

    def round(self, round: int, rounds: int) -> None:
        """Print the heading of a round."""
        self.write(f"---- round {round} of {rounds} ----")

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """Print the average loss of an epoch of one agent."""
        if is_shown(epoch, epochs, EPOCH_STEP):
            self.write(
                f"Agent {member} epoch {epoch}/{epochs} average loss: {loss.total:.4f} "
                f"(reconstruction {-loss.reconstruction:.4f}, KL {loss.kl:.4f})"
            )

    def progress(self, left: Mapping[str, int], done: Mapping[str, int]) -> Progress:
        """Start the progress of a run with these steps, by stage (see `Progress`)."""
        return Progress(left, done, None if is_terminal(sys.stdout) else self.write)

    def start(self, scores: Sequence[float], learns: bool) -> None:
        """Print which chain counts. scores: the score of the best start of each chain."""
        if len(scores) > 1:
            others = ", ".join(f"{score:.1f}" for score in scores[1:9]) + ", ..." * (len(scores) > 9)
            use = "agents learn from it, and scores are its scores" if learns else "scores are its scores"
            self.write(
                f"Chain 0 of {len(scores)} has the largest score after the starts: {scores[0]:.1f} "
                f"(others: {others}); {use}"
            )

    def sweeps(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print the scores of the game of one round, by sweep."""
        for row in rows:
            if not is_shown(row["sweep"], len(rows), SWEEP_STEP):
                continue
            parts = [f"iteration {row['sweep']}/{len(rows)}"]
            for name, scores in row["agents"].items():
                parts.append(f"ARI_{name}: {decimal(scores['ari'])}")
            parts.append(f"Kappa: {decimal(row['kappa'])}")
            for direction, count in (row["accepted"] or {}).items():
                parts.append(f"{direction.replace('->', '2')}: {count}")
            self.write(", ".join(parts))

    def prior_scales(self, scales: Mapping[str, float]) -> None:
        """Print W of each agent's prior, which --prior did not give."""
        texts = ", ".join(f"{name} {scale:.3g}" for name, scale in scales.items())
        self.write(f"Prior scale W, from the data: {texts}")

    def summary(self, summary: Mapping[str, Any], folder: str) -> None:
        """Print the scores of the run, its warnings and its folder."""
        for name, scores in summary["agents"].items():
            self.write(
                f"Agent {name}: ARI {decimal(scores['ari'])} (mean after burn-in {decimal(scores['ari_mean'])}), "
                f"NMI {decimal(scores['nmi'])}, accuracy {decimal(scores['accuracy'])}, "
                f"ELBO {decimal(scores['elbo'], 2)}"
            )
        accepted = ", ".join(f"{name} {decimal(rate)}" for name, rate in (summary["acceptance"] or {}).items())
        self.write(f"Kappa: {decimal(summary['kappa'])}" + (f"; acceptance: {accepted}" if accepted else ""))
        if traffic := summary.get("traffic"):
            self.write(
                f"Bytes per sweep: {traffic['signs_said']:,} for signs between agents, {traffic['all']:,} in total "
                "with the record of the run"
            )
        for text in summary["warnings"]:
            self.note(f"warning: {text}")
        self.write(f"Run folder: {folder} ({summary['seconds']:.0f} s)")


class Quiet(Printer):
    """Prints notes and warnings only, for runs from Python."""

    def __init__(self) -> None:
        self.bars = False

    def write(self, text: str) -> None:
        """Drop the line."""


class Silent(Quiet):
    """Prints nothing."""

    def note(self, text: str) -> None:
        """Drop the note."""

    def progress(self, left: Mapping[str, int], done: Mapping[str, int]) -> Progress:
        """Progress that is counted and not shown."""
        return Progress(left, done, None, bar=False)
