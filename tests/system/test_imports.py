"""Imports in a fresh process: quick commands and light modules load no heavy package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchvision", "pyro", "sklearn", "arviz", "matplotlib", "pandas", "mlxtend", "jinja2"}
LIGHT = [
    ("experiment.runs.posterior", HEAVY),
    ("experiment.runs.folder", HEAVY | {"numpy"}),
    ("experiment.diagnostics.summary", HEAVY),
    ("experiment.metrics.relabel", HEAVY),
    ("experiment.util.process", HEAVY),
]
COMMANDS = [["--help"], ["models"], ["data"]]
COMMANDS += [[command, "--help"] for command in ("train", "name", "compare", "report")]


def loaded(code: str, heavy: set[str], arguments: list[str], folder: Path) -> str:
    """The heavy packages that are loaded after `code` has run in a fresh process: a line, empty without any."""
    start = f"import sys; sys.path.insert(0, {str(HOME)!r})\n"
    end = f"\nprint(*sorted({heavy} & set(sys.modules)), file=sys.stderr)"
    command = [sys.executable, "-c", start + code + end, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize(("module", "heavy"), LIGHT, ids=[module for module, _ in LIGHT])
def test_a_module_loads_nothing_heavy(module: str, heavy: set[str], tmp_path: Path) -> None:
    assert loaded(f"import mhng.{module}", heavy, [], tmp_path) == ""


def test_data_sets_are_listed_without_heavy_packages(tmp_path: Path) -> None:
    code = "from mhng.experiment.data import loading; loading.describe(None)"
    assert loaded(code, HEAVY, [], tmp_path) == ""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_quick_command_loads_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = "from mhng import cli\ntry: cli.main(sys.argv[1:])\nexcept SystemExit: pass"
    assert loaded(code, HEAVY, arguments, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_heavy_packages_are_seen(tmp_path: Path) -> None:
    assert "torch" in loaded("import torch", HEAVY, [], tmp_path)
