"""docs/diagnostics.md: its commands, run with less data, get the verdicts that the page quotes."""

import re
import shlex
from pathlib import Path

import pytest

from mhng import cli

HOME = Path(__file__).resolve().parents[3]
PAGE = HOME / "docs" / "diagnostics.md"

# Appended to the page's own flags, of which the last one given counts; and what `diagnose` must say then.
TINY = {
    "runs/healthy": (
        "--limit 400 --ambiguity 0 --starts 6 --sweeps 320",
        ["Converged?  YES", "share a basin", "Agreed?     YES", "Right?      YES"],
    ),
    "runs/stuck": ("--limit 200 --sweeps 120", ["Converged?  NO.", "different basins", "--start merge"]),
    "runs/all": ("--limit 100 --sweeps 60", ["NO TARGET", "there are no basins", "Agreed?     NO", "--mode com"]),
    "runs/short": ("--limit 400 --ambiguity 0 --starts 6", ["NOT YET", "are too few", "constant", "--sweeps"]),
    "runs/exact": ("--chains 40 --sweeps 40", ["243 assignments", "total variation", "independent draws"]),
}


def commands():
    """The arguments of every command in the page's shell blocks, by run folder."""
    found = {}
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line)
            assert words[:2] == ["python", "cli.py"], line
            arguments = words[2:]
            run = arguments[arguments.index("--run-dir") + 1] if "--run-dir" in arguments else arguments[1]
            found.setdefault(run, []).append(arguments)
    return found


def test_the_page_has_the_runs_that_are_tested():
    assert commands().keys() == TINY.keys()
    assert all([words[0] for words in pair] == ["train", "diagnose"] for pair in commands().values())


@pytest.mark.parametrize("run", TINY)
def test_a_run_of_the_page_gets_its_verdict(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    train, diagnose = commands()[run]
    smaller, said = TINY[run]
    assert cli.main([*train, *smaller.split()]) == 0
    capsys.readouterr()
    assert cli.main([*diagnose, "--no-plots"]) == 0
    out = " ".join(capsys.readouterr().out.split("\n"))
    for words in said:
        assert words in re.sub(r" +(?=\S)", lambda gap: gap.group() if len(gap.group()) < 12 else " ", out), words
