"""Hold tests/unit to its rule: no training, no process, no picture file."""

import subprocess
from typing import Any, NoReturn

import pytest

from mhng.experiment.plots import style
from mhng.experiment.training import loop


@pytest.fixture(autouse=True)
def _unit_only(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen.__init__

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("tests/unit starts no process, trains nothing and draws nothing; see CONTRIBUTING.md")

    def start(process: Any, args: Any, *rest: Any, **options: Any) -> None:
        if args[0] != "uname":  # the module platform runs it, for libraries
            refuse()
        popen(process, args, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    monkeypatch.setattr(loop.TrainingLoop, "run", refuse)
    monkeypatch.setattr(style, "FigureCanvasAgg", refuse)
