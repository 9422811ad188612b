"""What `train` prints: lines in the manner of the public reference's log on stdout, progress bars on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mhng.experiment.data import modalities
from mhng.experiment.data.views import View, format_view
from mhng.experiment.util.agent_names import agent_names
from mhng.experiment.util.text import decimal

if TYPE_CHECKING:
    from mhng.experiment.data.objects import Objects
    from mhng.inference.svi import Loss


# A line for the first, every so manieth, and the last.
EPOCH_STEP = 25
SWEEP_STEP = 10
# Of more rounds than this, every so manieth is printed.
ROUND_STEP = 10


def is_shown(number: int, total: int, step: int) -> bool:
    """Whether the line of `number` (from 1) of `total` is printed."""
    return number in (1, total) or number % step == 0


class Printer:
    """The `Watcher` of a run at a terminal or in a log file."""

    def __init__(self) -> None:
        # Closed by the caller, stderr is None
        self.bars = sys.stderr is not None and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One line of results."""
        if self.bars:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """One line about the run, not a result."""
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)

    def objects(self, objects: Objects, views: Sequence[View], signs: int) -> None:
        """What the agents look at."""
        self.say(f"Dataset: {objects.name}")
        categories = "unknown" if objects.categories is None else objects.categories
        self.say(f"Objects: {objects.count}, categories: {categories}, signs: {signs}")
        shapes = ["x".join(map(str, view.shape[1:])) for view in objects.views]
        shape = shapes[0]
        if any(len(own) > 1 for own in objects.modalities):
            told = "; ".join(
                f"{name} {modalities.describe_modalities(own, objects.count)}"
                for name, own in zip(agent_names(len(views)), objects.modalities, strict=True)
            )
            self.say(f"Views: {told}")
        elif objects.paired:
            told = ", ".join(f"{name} {own}" for name, own in zip(agent_names(len(views)), shapes, strict=True))
            self.say(f"Views: of each agent's own data: {told}")
        elif objects.views[0].dim() == 4:
            told = ", ".join(
                f"{name} {format_view(view)}" for name, view in zip(agent_names(len(views)), views, strict=True)
            )
            how = "seen as" if any(isinstance(view, str) for view in views) else "turned by degrees"
            self.say(f"Views: {shape}, {how}: {told}")
        else:
            self.say(f"Views: {shape} features each")

    def shows(self, round: int, rounds: int) -> bool:
        """Whether the lines of `round` of `rounds` are printed."""
        return rounds <= ROUND_STEP or is_shown(round, rounds, ROUND_STEP)

    def round(self, which: int, rounds: int) -> None:
        """A round begins."""
        self.say(f"---- round {which} of {rounds} ----")

    def epoch(self, round: int, member: str, epoch: int, epochs: int, loss: Loss) -> None:
        """An epoch of one agent is over."""
        if is_shown(epoch, epochs, EPOCH_STEP):
            self.say(
                f"Agent {member} epoch {epoch}/{epochs} average loss: {loss.total:.4f} "
                f"(reconstruction {-loss.reconstruction:.4f}, KL {loss.kl:.4f})"
            )

    def progress(self, steps: Iterable[int], title: str) -> Iterable[int]:
        """A bar on a terminal; nothing in a log file, where the lines themselves show the progress."""
        if not self.bars:
            return steps
        from tqdm import tqdm

        return tqdm(steps, desc=title, leave=False, file=sys.stderr)

    def sweeps(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The game of one round."""
        for row in rows:
            if not is_shown(row["sweep"], len(rows), SWEEP_STEP):
                continue
            parts = [f"iteration {row['sweep']}/{len(rows)}"]
            for name, own in row["agents"].items():
                parts.append(f"ARI_{name}: {decimal(own['ari'])}")
            parts.append(f"Kappa: {decimal(row['kappa'])}")
            for direction, count in (row["accepted"] or {}).items():
                parts.append(f"{direction.replace('->', '2')}: {count}")
            self.say(", ".join(parts))

    def summary(self, summary: Mapping[str, Any], folder: str) -> None:
        """The scores at the end."""
        for name, own in summary["agents"].items():
            self.say(
                f"Agent {name}: ARI {decimal(own['ari'])} (mean after burn-in {decimal(own['ari_mean'])}), "
                f"NMI {decimal(own['nmi'])}, accuracy {decimal(own['accuracy'])}, ELBO {decimal(own['elbo'], 2)}"
            )
        accepted = ", ".join(f"{name} {decimal(rate)}" for name, rate in (summary["acceptance"] or {}).items())
        self.say(f"Kappa: {decimal(summary['kappa'])}" + (f"; acceptance: {accepted}" if accepted else ""))
        if traffic := summary.get("traffic"):
            self.say(
                f"Bytes a sweep: {traffic['signs_said']:,} of signs from agent to agent, {traffic['all']:,} in all "
                "with what the record needs"
            )
        for text in summary["warnings"]:
            self.note(f"warning: {text}")
        self.say(f"Run folder: {folder} ({summary['seconds']:.0f} s)")
