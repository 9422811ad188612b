"""Trials from any place that holds them: a study folder, a Psych-DS folder, or a CSV file."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mhng.experiment.people import export, study, trials
from mhng.experiment.people.design import DESIGN, Design
from mhng.experiment.people.trials import Trials


@dataclass(frozen=True)
class Study:
    """A study folder and what its participants did: `Study.load("studies/first").trials`."""

    design: Design
    trials: Trials

    @classmethod
    def load(
        cls, path: Path | str, *, bots: bool = False, everyone: bool = False, trust_plugins: bool = False
    ) -> Self:
        """Read a study folder. Raises UsageError if it is damaged, or no session is finished.

        bots: trials of bots instead of people. everyone: also sessions that are not finished.
        """
        opened = study.Study.open(Path(path), trust_plugins=trust_plugins)
        with tempfile.TemporaryDirectory(prefix="mhng-study-") as folder:
            export.export(opened, Path(folder) / "ds", bots=bots, everyone=everyone)
            return cls(opened.design, trials.load(Path(folder) / "ds"))


def load(path: Path | str) -> Trials:
    """Read the trials of a study folder (finished sessions), of a Psych-DS folder, or of a CSV file."""
    path = Path(path)
    return Study.load(path).trials if (path / DESIGN).is_file() else trials.load(path)
