"""TensorBoard event files for --tensorboard: the rows of metrics.jsonl as scalars in RUN/tensorboard.

    loss/A, reconstruction/A, kl/A        nats per object; step: epochs of the agent so far
    ari/A, kappa, acceptance/A2B, ...     step: sweeps of all games so far

Events are derived from metrics.jsonl. A resumed run writes all events anew from the rows it keeps, so that repeated
epochs and sweeps appear once. The option can also be given to a run that started without it.
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

# Keys that identify a row, and counts that repeat another scalar.
_NO_SCALARS = {"kind", "round", "agent", "epoch", "sweep", "accepted"}
_FLUSH_SECONDS = 5


def check_tensorboard() -> None:
    """Raise UsageError with the remedy if the package tensorboard is missing or broken."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except Exception as error:  # a broken installation can raise any error
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"--tensorboard requires tensorboard: pip install tensorboard ({reason})") from error


class Scalars:
    """Adds rows to the event file in `path`."""

    def __init__(self, path: Path, writer: Any) -> None:
        self._path = path
        self._writer = writer
        self._steps: Counter[str] = Counter()

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add every number in the rows at the next step of its tag. A missing value advances the step, too."""
        with _disk_errors(self._path):  # raised here for the thread of the writer
            for row in rows:
                for quantity, source, value in entries(row):
                    if quantity in _NO_SCALARS or isinstance(value, list):
                        continue
                    source = source or row.get("agent")
                    tag = f"{quantity}/{source.replace('->', '2')}" if source else quantity
                    self._steps[tag] += 1
                    if value is not None:
                        self._writer.add_scalar(tag, value, self._steps[tag])


@contextmanager
def open_scalars(folder: RunFolder, wanted: bool) -> Iterator[Scalars | None]:
    """Yield an event writer that already holds the present rows of the run; None if not `wanted`."""
    if not wanted:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    path = folder.file(run_folder.TENSORBOARD)
    with _disk_errors(path):
        for old in path.glob("events.out.tfevents.*"):
            old.unlink()
        events = SummaryWriter(str(path.absolute()), flush_secs=_FLUSH_SECONDS)
    with events as writer:
        scalars = Scalars(path, writer)
        scalars.add(folder.read_metrics())
        yield scalars


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror or error}") from error
