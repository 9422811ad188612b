"""Paths as users type them: `~` in every place where a path can be given."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from pathlib import Path

import pytest

from mhng import cli
from mhng.experiment.errors import UsageError
from mhng.experiment.settings.config import from_flags, from_keywords, from_table
from mhng.experiment.settings.schema import SETTINGS
from mhng.experiment.util.paths import typed_path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, and another current folder with a folder that is named ~."""
    for folder in ("home", "here/~/x"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_and_dot_slash_tilde_is_a_name(home: Path) -> None:
    here = Path.cwd()
    assert typed_path("~", "X") == home and typed_path("~/a/b", "X") == home / "a/b"
    assert typed_path(Path("~/a"), "X") == home / "a"
    assert typed_path("./~/x", "X") == here / "~/x"
    assert typed_path("a/~", "X") == Path("a/~") and typed_path("/a", "X") == Path("/a")
    with pytest.raises(UsageError, match=r"^--out is '~nobody-/x', but there is no home folder ~nobody-; write"):
        typed_path("~nobody-/x", "--out")
    (here / "~nobody-").mkdir()
    assert typed_path("~nobody-", "X") == here / "~nobody-"


def test_every_path_setting_knows_the_home_folder(home: Path) -> None:
    paths = [name for name, setting in SETTINGS.items() if setting.type is Path]
    assert {"run_dir", "data_root"} <= set(paths)
    for name in paths:
        for values in (
            from_flags({name: "~/a"}),
            from_table({name.replace("_", "-"): "~/a"}, "file"),
            from_keywords({name: "~/a"}),
            from_keywords({name: Path("~/a")}),
        ):
            assert values[name] == home / "a"


def test_every_path_of_a_list_knows_the_home_folder(home: Path) -> None:
    (home / "a&b.csv").touch()
    for values in (
        from_flags({"data": "~/a.csv,~/b.csv&~/c.csv,~/a&b.csv"}),
        from_table({"data": ["~/a.csv", ["~/b.csv", "~/c.csv"], "~/a&b.csv"]}, "file"),
    ):
        assert values["data"] == (home / "a.csv", (home / "b.csv", home / "c.csv"), home / "a&b.csv")
    (home / "edges.txt").write_text("A B\n")
    values = from_flags({"meet": "~/edges.txt", "meet_later": "3=~/edges.txt"})
    assert values["meet"].text == str(home / "edges.txt")
    assert values["meet_later"].text == f"3={home / 'edges.txt'}"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--config=~/none.toml"],
        ["train", "--resume=~/none"],
        ["diagnose", "~/none"],
        ["name", "~/none", "--split=rest"],
        ["recall", "~/none"],
        ["corpus", "~/none"],
        ["report", "~/none"],
        ["compare", "--out=x", "--config=~/none.toml"],
        ["data", "--data-root=~/none.toml"],
    ],
    ids=" ".join,
)
def test_every_path_of_a_command_knows_the_home_folder(
    words: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "none.toml").mkdir() if words[0] != "data" else (home / "none.toml").touch()
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert str(home) in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["study", "status", ""], ["compare", "--out="], ["train", "--config="], ["report", ""]], ids=" ".join
)
def test_an_empty_path_is_refused(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert "is ''; expected a path" in err and err.count("\n") == 1 and not any(home.iterdir())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "a\udcff.npz"),
        ("data", "ok.npz,a.csv&b\udcff.csv"),
        ("data_root", "\udc80"),
        ("label_column", "caf\udce9"),
        ("meet", "edges\udcff.txt"),
        ("weights", "x\udcff"),
    ],
)
def test_text_that_is_not_utf8_is_refused_where_it_would_be_saved(name: str, value: str) -> None:
    for given in (lambda: from_flags({name: value}), lambda: from_keywords({name: value})):
        with pytest.raises(UsageError, match=r"not valid UTF-8; rename the file, or set a UTF-8 locale") as caught:
            given()
        assert str(caught.value).startswith(("--" + name.replace("_", "-"), name))
    assert from_flags({"run_dir": "\udcff"})["run_dir"] == Path("\udcff")  # config.toml does not hold it


def test_a_current_folder_that_is_not_utf8_is_refused_for_relative_data(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "\udcff").mkdir()
    monkeypatch.chdir(tmp_path / "\udcff")
    with pytest.raises(UsageError, match=r"--data is .*not valid UTF-8"):
        from_flags({"data": "a.npz"})


@pytest.mark.parametrize("wrong", [None, 3, b"runs", ["runs"], {}])
def test_what_is_no_path_is_refused_in_one_line(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"^X is .*; expected a path in quotes$"):
        typed_path(wrong, "X")  # type: ignore[arg-type]


def test_members_of_an_enum_are_plain_values() -> None:
    values = from_keywords({"mode": StrEnum("E", {"a": "com"}).a, "signs": IntEnum("I", {"b": 3}).b})
    assert values == {"mode": "com", "signs": 3} and [type(value) for value in values.values()] == [str, int]
