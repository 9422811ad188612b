"""The notebooks of examples/ and the page docs/python.md run as they stand, in a folder of their own."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from mhng import load_run
from mhng.experiment.api import LoadedRun

HOME = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((HOME / "examples").glob("*.ipynb"))


def run_cells(file: Path) -> dict[str, Any]:
    """Execute the code cells in order in one namespace."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{file.name}, {cell['id']}", "exec"), names)
    return names


def test_there_are_three_notebooks() -> None:
    assert [file.stem for file in NOTEBOOKS] == ["agents_of_your_own", "first_run", "study_over_seeds"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_small_and_holds_no_outputs(file: Path) -> None:
    book = json.loads(file.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5) and file.stat().st_size < 20_000
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def test_the_notebook_of_a_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_cells(HOME / "examples" / "first_run.ipynb")
    assert min(agent["ari"] for agent in names["run"].scores["agents"].values()) > 0.5
    assert "Converged?" in capsys.readouterr().out and names["played"].config.chains == 4
    assert isinstance(names["run"].plot_game(), Figure)


def test_the_notebook_of_several_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = run_cells(HOME / "examples" / "study_over_seeds.ipynb")["table"]
    assert (table["com"] > table["no-com"] + 0.1).all() and "+-" in capsys.readouterr().out
    assert (tmp_path / "kappa.png").read_bytes().startswith(b"\x89PNG")


def test_the_notebook_of_your_own_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_cells(HOME / "examples" / "agents_of_your_own.ipynb")
    out = capsys.readouterr().out
    alone, together = ([float(number) for number in re.findall(r"-?\d\.\d\d", line)] for line in out.splitlines()[:2])
    assert max(alone[:2]) < 0.8 < 0.85 < min(together)
    near, far = (float(number) for number in re.findall(r"share a sign: (\S+)", out))
    assert near > 0.8 > 0.4 > far


# -- docs/python.md ------------------------------------------------------------------------------------


class TrialPruned(Exception):  # noqa: N818
    """As optuna's."""


class FakeTrial:
    """A trial of Optuna; `patience` is the number of reports before it is pruned."""

    def __init__(self, patience: float) -> None:
        self.reports: list[float] = []
        self.patience = patience

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return (low * high) ** 0.5 if log else (low + high) / 2

    def suggest_int(self, name: str, low: int, high: int) -> int:
        return low + 1

    def report(self, value: float, step: int) -> None:
        self.reports.append(value)

    def should_prune(self) -> bool:
        return len(self.reports) >= self.patience


class FakeStudy:
    """A study of Optuna with two trials; the second is pruned."""

    def __init__(self, direction: str) -> None:
        self.values: list[float | None] = []
        self.trials = [FakeTrial(float("inf")), FakeTrial(3)]

    def optimize(self, objective: Callable[[FakeTrial], float], n_trials: int) -> None:
        for trial in self.trials:
            try:
                self.values.append(objective(trial))
            except TrialPruned:
                self.values.append(None)


class FakeRun:
    """A run of Weights & Biases."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, float] = {}

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


def test_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    logged, returned = FakeRun(), []

    def hydra_main(**options: Any) -> Callable[[Callable[[Any], Any]], Callable[[], None]]:
        return lambda function: lambda: returned.append(function(names["small"]))

    @contextmanager
    def wandb_init(**options: Any) -> Iterator[FakeRun]:
        yield logged

    to_container = SimpleNamespace(to_container=lambda config, resolve: dict(config))
    for name, module in {
        "hydra": SimpleNamespace(main=hydra_main),
        "omegaconf": SimpleNamespace(OmegaConf=to_container),
        "optuna": SimpleNamespace(create_study=FakeStudy, TrialPruned=TrialPruned),
        "wandb": SimpleNamespace(init=wandb_init, Image=lambda figure: figure),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    page = (HOME / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert (tmp_path / "recall.png").exists() and "Converged?" in capsys.readouterr().out
    early = load_run("runs/early")
    assert early.status == "done" and early.scores["rounds"] <= names["small"]["rounds"]
    assert len(returned) == 1 and isinstance(names["run"], LoadedRun)
    assert isinstance(names["study"].values[0], float) and names["study"].values[1] is None
    assert {next(iter(row)) for row in logged.rows} >= {"epoch/A", "epoch/B", "sweep/game", "confusion"}
    assert isinstance(logged.rows[-1]["confusion"], Figure) and logged.summary["kappa"] == names["run"].scores["kappa"]


def test_the_python_page_names_what_a_run_has(digits_run: Path) -> None:
    page = (HOME / "docs" / "python.md").read_text(encoding="utf-8")
    table = page[page.index("| part of a run") : page.index("## Diagnose")]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)", row.split(" | ")[0])}
    run = load_run(digits_run)
    assert len(named) > 20 and [name for name in named if not hasattr(type(run), name)] == []
    keys = {row["kind"]: set(row) - {"kind"} for row in run.metrics}
    for kind, found in keys.items():
        (row,) = re.findall(rf"^\| `{kind}` \|.*?\|(.*?)\|$", page, re.M)
        assert set(re.findall(r"`(\w+)`", row)) <= found, kind
