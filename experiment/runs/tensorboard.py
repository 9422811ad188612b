"""--tensorboard: the rows of metrics.jsonl as scalars that TensorBoard shows, in RUN/tensorboard, as they come.

    loss/A, reconstruction/A, kl/A        nats an object; step: the agent's epochs so far
    ari/A, kappa, acceptance/A2B, ...     step: the sweeps of all games so far

The rows are the truth: a run that goes on writes its events anew from those it kept, so that what is repeated after
a stop is shown once, and the option may be given to a run that began without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.runs.metrics_table import entries

# What tells rows apart, or says again what another scalar says.
_NO_SCALARS = {"kind", "round", "agent", "epoch", "sweep", "accepted"}
_FLUSH_SECONDS = 5


def check_tensorboard() -> None:
    """UsageError, with what to do, where the package is not installed or does not work."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except Exception as error:  # of an installation that is broken, anything
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"--tensorboard needs the package tensorboard: pip install tensorboard ({reason})") from error


class Scalars:
    """Adds rows to the event file in `path`."""

    def __init__(self, path: Path, writer: Any) -> None:
        self._path = path
        self._writer = writer
        self._steps: Counter[str] = Counter()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The numbers in the rows, each a step after the last of its name. What is unknown takes a step too."""
        with _disk_errors(self._path):  # of the writer's thread; it raises them here
            for row in rows:
                for quantity, who, value in entries(row):
                    if quantity in _NO_SCALARS or isinstance(value, list):
                        continue
                    whose = who or row.get("agent")
                    tag = f"{quantity}/{whose.replace('->', '2')}" if whose else quantity
                    self._steps[tag] += 1
                    if value is not None:
                        self._writer.add_scalar(tag, value, self._steps[tag])


@contextmanager
def open_scalars(folder: RunFolder, wanted: bool) -> Iterator[Scalars | None]:
    """The scalars of the run, begun with the rows that it holds; None if they are not wanted."""
    if not wanted:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    path = folder.file(run_folder.TENSORBOARD)
    with _disk_errors(path):
        for old in path.glob("events.out.tfevents.*"):
            old.unlink()
        opened = SummaryWriter(str(path), flush_secs=_FLUSH_SECONDS)
    with opened as writer:
        scalars = Scalars(path, writer)
        scalars.add(folder.read_metrics())
        yield scalars


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror or error}") from error
