"""The gallery in examples/programs runs by the commands that it shows, and shows what it says."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from mhng import cli

HOME = Path(__file__).resolve().parents[2]
GALLERY = HOME / "examples" / "programs"


def shown(name):
    """The commands in the docstring of an example, as words after `python`."""
    text = (GALLERY / f"{name}.py").read_text(encoding="utf-8")
    return [shlex.split(line)[1:] for line in re.findall(r"^    (python .*)$", text, flags=re.MULTILINE)]


def numbers(text, label):
    return [float(number) for number in re.findall(rf"{label}[^\n]*?(-?\d+\.\d+)", text)]


CHECKS = {
    "points_and_counts": lambda out: min(numbers(out, "kinds")) > 0.9,
    "hidden_markov": lambda out: numbers(out, "states right")[0] > 0.8,
    "topics": lambda out: numbers(out, "on one topic")[0] > 0.8 > 0.4 > numbers(out, "on two topics")[0],
    "positions": lambda out: -0.5 < numbers(out, "offset")[0] < 1.0 and len(numbers(out, "object")) == 6,
    "planning": lambda out: numbers(out, "talking")[0] >= 0.95 and max(numbers(out, "alone")) <= 0.6,
    "vae": lambda out: max(numbers(out, "ARI of each chain")) > 0.7,
    "video": lambda out: len(numbers(out, "turns of")) == 2,
}


def test_every_program_is_in_the_gallery():
    assert {file.stem for file in GALLERY.glob("*.py")} == set(CHECKS)
    page = (HOME / "docs" / "programs.md").read_text(encoding="utf-8")
    assert all(f"| `{name}.py` |" in page for name in CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_program_by_its_command(name, monkeypatch, capsys):
    (file,) = shown(name)[0]
    monkeypatch.chdir(HOME)
    monkeypatch.setattr("sys.argv", [file])
    runpy.run_path(file, run_name="__main__")
    out = capsys.readouterr().out
    assert CHECKS[name](out), out


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_proof_by_its_command(name, monkeypatch, capsys):
    (words,) = [words for words in shown(name) if "prove" in words]
    monkeypatch.chdir(HOME)
    assert cli.main(words[1:]) == 0
    assert capsys.readouterr().out.count(": seen") >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_run_folder_by_its_command(name, tmp_path, capsys):
    command = ["play", f"{GALLERY / name}.py:game", "--sweeps", "6", "--burn-in", "2", "--chains", "2"]
    continuous = name == "positions"
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == (2 if continuous else 0)
    if continuous:
        assert "has continuous signs; a run folder holds discrete ones" in capsys.readouterr().err
    else:
        assert cli.main(["diagnose", str(tmp_path / "run"), "--trust-plugins"]) == 0


@pytest.mark.slow
def test_turns_of_frames_segment_a_video_better(capsys):
    module = runpy.run_path(str(GALLERY / "video.py"))
    module["main"](seeds=10)
    frame, stretch = numbers(capsys.readouterr().out, "ARI")
    assert stretch > frame + 0.05
