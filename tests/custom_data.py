"""Custom data for tests: small arrays, files of each kind, the settings of a short run, and a check of refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhng import cli

_RNG = np.random.default_rng(0)
BYTES = _RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
FLOATS = _RNG.random((12, 5, 4, 3))
NUMBERS = _RNG.normal(size=(12, 6))
QUICK = [
    "--rounds",
    "0",
    "--epochs",
    "1",
    "--sweeps",
    "5",
    "--burn-in",
    "1",
    "--starts",
    "1",
    "--chains",
    "1",
    "--signs",
    "3",
]


def npz(folder: Path, **arrays: Any) -> Path:
    file = folder / "own.npz"
    np.savez(file, **arrays)
    return file


def text(folder: Path, content: str, name: str = "own.csv") -> Path:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return file


def table(numbers: np.ndarray, extra: list[str] | None = None) -> str:
    rows = [",".join(f"{value:.6g}" for value in row) for row in numbers]
    return "\n".join(row if extra is None else f"{row},{extra[n]}" for n, row in enumerate(rows)) + "\n"


def image(file: Path, value: int, size: tuple[int, int] = (6, 6), mode: str = "L") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(file)
    return file


def image_folder(root: Path) -> Path:
    """Three classes; what is passed over lies among them."""
    for n, name in enumerate(["10/a.png", "2/b.PNG", "2/deep/a.png", "9/é.png", "2/a.bmp"]):
        image(root / name, 50 * n)
    for junk in ("2/._b.png", ".DS_Store", "2/Thumbs.db", ".ipynb_checkpoints/a.png"):
        (root / junk).parent.mkdir(exist_ok=True)
        (root / junk).write_bytes(b"junk")
    (root / "empty").mkdir()
    return root


def refused(arguments: list[str], folder: Path, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line with all that must be said, and nothing written."""
    before = sorted(folder.rglob("*"))
    assert cli.main([*arguments, "--run-dir", str(folder / "run")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    for part in said:
        assert part in err
    assert sorted(folder.rglob("*")) == before
