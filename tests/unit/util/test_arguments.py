"""Values of flags that begin with a dash."""

from __future__ import annotations

import argparse

import pytest

from mhng import cli
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.parsing import read_settings
from mhng.experiment.settings.schema import SETTINGS, flag
from mhng.parser import build_parser, parse

VALUES = ["-45,45", "-1e-3", "-x", "-1", "-45", "-~/a"]


@pytest.mark.parametrize("value", VALUES)
def test_every_setting_takes_a_value_that_begins_with_a_dash(value: str) -> None:
    names = [name for name, setting in SETTINGS.items() if setting.type is not bool and name != "agent"]
    words = [word for name in names for word in (flag(name), value)]
    assert read_settings(words) == dict.fromkeys(names, value)
    parsed = vars(parse(["train", "--resume", value, *words]))
    assert {name: parsed[name] for name in [*names, "resume"]} == dict.fromkeys([*names, "resume"], value)


def test_every_flag_of_every_command_takes_a_value_that_begins_with_a_dash() -> None:
    (commands,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    tried = 0
    for command, parser in commands.choices.items():  # type: ignore[union-attr]
        for action in parser._actions:
            if not action.option_strings or action.nargs is not None or action.type is not None or action.choices:
                continue
            if isinstance(action, argparse._HelpAction | argparse._VersionAction):
                continue
            needed = {"compare": ["--out", "o"], "name": ["run", "--split", "rest"], "train": [], "data": []}
            words = needed.get(command, ["run"])
            if command == "name" and action.dest in ("images", "new"):
                words = ["run"]
            parsed = vars(parse([command, *words, action.option_strings[0], "-v,1"]))
            assert parsed[action.dest] in ("-v,1", ["-v,1"])
            tried += 1
    assert tried > 60


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--views", "--sweeps", "5"],
            "argument --views: expected one argument; a value that begins with --",
        ),
        (["--views"], "argument --views: expected one argument"),
        (["--tensorboard", "-1,2"], "unknown argument '-1,2'"),
        (["--sweeps", "5", "-1,2"], "unknown argument '-1,2'"),
        (["-45,45"], "unknown argument '-45,45'"),
        (["--view", "-45,45"], "unknown argument '--view'; did you mean --views?"),
        (["--out", "runs/x"], "unknown argument '--out'; did you mean --run-dir?"),
        (["--learning-rate=1e-3"], "unknown argument '--learning-rate=1e-3'; did you mean --lr?"),
        (["--clusters", "5"], "unknown argument '--clusters'; did you mean --signs?"),
    ],
)
def test_a_word_that_no_flag_waits_for_is_unknown(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_settings(words)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--out", "x"], "--run-dir"),
        (["play", "RUN", "--run-dir", "x"], "--out"),
        (["study", "serve", "DIR", "--prot", "1"], "--port"),
        (["behaviour", "fit", "DS", "--perceptions", "features"], "--perception"),
    ],
)
def test_an_unknown_flag_suggests_one_of_the_command(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2 and f"; did you mean {meant}?" in capsys.readouterr().err


def test_a_folder_that_begins_with_a_dash_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    for words, hint in ((["report", "-x"], True), (["report"], False), (["report", "--out", "-x"], False)):
        with pytest.raises(SystemExit):
            parse(words)
        err = capsys.readouterr().err
        assert "arguments are required: RUN" in err and ("begins with a dash is written ./-x" in err) == hint


def test_help_stays_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["train", "-h"], ["train", "--help"]):
        with pytest.raises(SystemExit) as stop:
            parse(words)
        assert stop.value.code == 0 and "--views" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        parse(["train", "--views", "-h"])
    assert stop.value.code == 2


def test_a_mistyped_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    assert stop.value.code == 2 and capsys.readouterr().err.endswith("; did you mean train?\n")
