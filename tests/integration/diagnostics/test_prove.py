"""`prove FILE.py:NAME`: verdict, exit codes, and one line for every mistake."""

import pytest

from mhng import cli

GAME = """
import pyro, pyro.distributions as dist, torch
from mhng import NamingGame, ProgramPlayer

PI = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

def seen(x, spread=None):
    theta = 0.0 if spread is None else pyro.sample("theta", dist.Normal(0.0, spread))
    with pyro.plate("objects", len(x)):
        w = pyro.sample("w", dist.Categorical(PI))
        pyro.sample("x", dist.Normal(w.double() + theta, 1.0), obs=x)

X, Y = torch.randn(2, 2, dtype=torch.float64)
game = NamingGame({"A": ProgramPlayer(seen, X), "B": ProgramPlayer(seen, Y)})

def approximate():
    players = {"A": ProgramPlayer(seen, X, 1.0, beliefs="svi"), "B": ProgramPlayer(seen, Y)}
    return NamingGame(players)

def wrong():
    from mhng.inference.programs.faults import SpeakersRatio
    class Wrong(SpeakersRatio):
        pass
    return Wrong(game.players)

def large():
    X, Y = torch.randn(2, 13, dtype=torch.float64)
    return NamingGame({"A": ProgramPlayer(seen, X), "B": ProgramPlayer(seen, Y)})

twin = game

def with_argument(N):
    return game

def without_site():
    return NamingGame({"A": ProgramPlayer(seen, X)}, sign="word")

def fails():
    return X / "two"

number = 3
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "games.py").write_text(GAME)
    (tmp_path / "syntax.py").write_text("x = (\n")
    (tmp_path / "package.py").write_text("\nimport no_such_package\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "folder.py").mkdir()
    return tmp_path / "games.py"


def test_a_right_game_is_proved(file, capsys):
    assert cli.main(["prove", "games.py:game", "--sweeps", "10"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the game has its law (by enumeration") and "speaker's ratio: seen" in out


def test_the_twin_of_a_large_game_is_proved(file, capsys):
    assert cli.main(["prove", "games.py:large", "--sweeps", "10"]) == 0
    first, verdict, *_ = capsys.readouterr().out.splitlines()
    assert first == "games.py:large has more than 10^6 assignments of signs; this is the proof of games.py:twin"
    assert verdict.startswith("the game has its law (by enumeration")


def test_a_wrong_game_is_rejected(file, capsys):
    assert cli.main(["prove", f"{file}:wrong", "--chains", "4000", "--sweeps", "10"]) == 1
    assert capsys.readouterr().out.startswith("the game does NOT have its law")


def test_an_approximate_game_is_not_provable(file, capsys):
    assert cli.main(["prove", "games.py:approximate"]) == 1
    assert "prove: not provable: the game is approximate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:game", "none.py: no such file"),
        ("folder.py:game", "folder.py: it is not a file"),
        ("games.py", "games.py: expected FILE.py:NAME"),
        ("games.py:", "expected FILE.py:NAME"),
        ("games.py:gane", "games.py has no 'gane'; did you mean game?"),
        ("games.py:number", "games.py:number is of type int; expected a NamingGame"),
        ("games.py:with_argument", "requires the argument 'N'; expected a function without arguments"),
        ("games.py:without_site", "games.py, line 36: agent A: the program has no site 'word'; did you mean 'w'?"),
        ("games.py:fails", "games.py, line 39: TypeError: "),
        ("syntax.py:game", "syntax.py, line 1: SyntaxError: '(' was never closed"),
        ("package.py:game", "package.py, line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("exits.py:game", "exits.py, line 1: SystemExit: 3"),
    ],
)
def test_mistakes_are_one_line(file, capsys, name, message):
    assert cli.main(["prove", name]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("option", [["--chains", "0"], ["--chains", "20"], ["--sweeps", "-1"]])
def test_bad_numbers_are_one_line(file, capsys, option):
    assert cli.main(["prove", "games.py:game", *option]) == 2
    assert f"{option[0]} is {option[1]}; expected" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "9" * 30])
def test_bad_seeds_are_one_line(file, capsys, value):
    with pytest.raises(SystemExit) as stop:
        cli.main(["prove", "games.py:game", "--seed", value])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert f"argument --seed: it is '{value}'; expected an integer from 0" in err and err.count("\n") == 1
