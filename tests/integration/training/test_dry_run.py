"""`train --dry-run` and `train --quick`."""

import json
from pathlib import Path

import pytest

from mhng import cli

FLAGS = ["train", "--dataset", "digits", "--limit", "40", "--chains", "2", "--run-dir", "run"]


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*FLAGS, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for words in (
        "Chosen: likelihood gaussian (",
        'likelihood = "gaussian"  # chosen: ',
        "Memory: about ",
        "Time: about ",
    ):
        assert words in out
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["train", "--dataset", "synthetic", "--limit", "30", "--dry-run"]) == 0
    assert "(learning 0 s, game" in capsys.readouterr().out


def test_a_quick_run_says_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [*FLAGS, "--quick", "--epochs", "1", "--rounds", "1"]
    assert cli.main(flags) == 0
    note = json.loads(Path("run/manifest.json").read_text())["notes"][0]
    assert note.startswith("preset quick: ") and note.endswith("its scores are no result")
    assert f"note: {note}" in capsys.readouterr().err
    assert "sweeps = 20\n" in Path("run/config.toml").read_text()
    for word in ("--dry-run", "--quick"):
        assert cli.main(["train", "--resume", "run", word]) == 2
        assert "--resume does not support" in capsys.readouterr().err
