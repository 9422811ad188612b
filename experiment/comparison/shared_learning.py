"""Files through which the runs of a comparison share the learning of round 0 (see `training.learned`)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from mhng.experiment.comparison.grid import Run

_FOLDER = ".learned"


class SharedLearning:
    """One file for the new runs of a variant and a seed, in a hidden folder of `out`, removed when they have ended.

    runs: those that begin; resumed runs have learned or learn alone.
    """

    def __init__(self, out: Path, runs: Sequence[Run]) -> None:
        self._folder = (out / _FOLDER).absolute()
        self._left: dict[str, set[str]] = {}  # folders of runs that have not ended, by file
        for run in runs:
            self._left.setdefault(_name(run), set()).add(run.folder)
        self._alone = {name for name, folders in self._left.items() if len(folders) == 1}

    def file(self, run: Run) -> Path | None:
        """The file of a run; None if no other run shares its learning."""
        name = _name(run)
        return None if run.config.program is not None or name in self._alone else self._folder / name

    def finished(self, run: Run) -> None:
        """Note that a run has ended; remove its file after the last."""
        name = _name(run)
        left = self._left.get(name, set())
        left.discard(run.folder)
        if not left:
            (self._folder / name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self._remove()  # files of a killed comparison may be of an older version
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _name(run: Run) -> str:
    return f"{run.folder.removeprefix(run.mode)}.pt"
