"""Valid files, spoilt at random: what reads them gives a result or one line, and never any other exception.

Bytes are flipped, cut out, doubled, set to what often matters, and files are cut. Each mutant comes from a fixed seed.
A few of each kind are in the normal suite, many in the slow one.
"""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhng.experiment.api import load_run
from mhng.experiment.data.builtin import cifar
from mhng.experiment.data.builtin import idx as idx_sets
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import load
from mhng.experiment.diagnostics.diagnose import build_report
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.config import resolve, to_toml
from mhng.experiment.settings.schema import Config
from mhng.experiment.training.console import Silent
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.training.train import resume

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
TELLING = [b"\0", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\n", b",", b'"', b"[" * 50, b"9" * 40, b"nan", b"-1", b"\x80"]


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """A mutant of `data`."""
    found = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4, 16])):
        if not found:
            break
        at = chance.randrange(len(found))
        kind = chance.randrange(6)
        if kind == 0:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at] = chance.randrange(256)
        elif kind == 2:
            del found[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            found[at:at] = found[at : at + chance.randrange(1, 40)]
        elif kind == 4:
            found[at : at + chance.randrange(3)] = chance.choice(TELLING)
        else:
            del found[at:]
    return bytes(found)


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def stored(**arrays: Any) -> bytes:
    """An .npz of which every byte is read: its checksums do not tell of a spoilt one before it is."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            part = io.BytesIO()
            np.save(part, array)
            archive.writestr(f"{name}.npy", part.getvalue())
    return out.getvalue()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def picture(form: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(out, form)
    return out.getvalue()


def objects(name: str, folder: Path, *data: Path) -> None:
    load(
        name, data_root=folder, download=False, limit=None, views=(0.0, 45.0 if name == "folder" else 0.0), seed=0,
        files=custom_dataset.Files(data),
    )  # fmt: skip


# What is written where, and what reads it.
Kind = tuple[str, bytes, Callable[[Path], object]]


def of_own(name: str, data: bytes, suffix: str) -> Kind:
    return f"own.{suffix}", data, lambda folder: objects(name, folder, folder / f"own.{suffix}")


def of_picture(form: str) -> Kind:
    return f"data/a.{form.lower()}", picture(form), lambda folder: objects("folder", folder, folder / "data")


def of_set(name: str, relative: str, data: bytes) -> Kind:
    return relative, data, lambda folder: objects(name, folder)


def mnist_labels(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    (raw / idx_sets.IDX_SETS["mnist"].files("train").labels).write_bytes(idx(np.arange(6, dtype=np.uint8)))
    objects("mnist", folder)


def cifar_rest(folder: Path) -> None:
    for file in cifar.FILES["train"][1:]:
        (folder / cifar.FOLDER / file).write_bytes(bytes(3073))
    objects("cifar10", folder)


FILES: dict[str, Kind] = {
    "npz images": of_own("npz", npz(images=BYTES, labels=np.arange(6)), "npz"),
    "npz features": of_own("npz", stored(features=RNG.normal(size=(6, 3)), labels=np.array(["a", "b"] * 3)), "npz"),
    "npz views": of_own("npz", stored(view_A=BYTES / 255, view_B=RNG.normal(size=(6, 3))), "npz"),
    "csv": of_own("csv", b"a,b,label\n1,2.5,x\n-3,4e2,y\n5,6,x\n", "csv"),
    "png": of_picture("PNG"),
    "jpeg": of_picture("JPEG"),
    "gif": of_picture("GIF"),
    "tiff": of_picture("TIFF"),
    "webp": of_picture("WEBP"),
    "bmp": of_picture("BMP"),
    "ppm": of_picture("PPM"),
    "idx": (f"MNIST/raw/{idx_sets.IDX_SETS['mnist'].files('train').images}", idx(BYTES), mnist_labels),
    "idx.gz": (
        f"MNIST/raw/{idx_sets.IDX_SETS['mnist'].files('train').images}.gz", gzip.compress(idx(BYTES)), mnist_labels,
    ),
    "cifar": (f"{cifar.FOLDER}/data_batch_1.bin", RNG.integers(0, 10, 2 * 3073, np.uint8).tobytes(), cifar_rest),
    "toml": ("run.toml", to_toml(Config()).encode(), lambda folder: resolve({}, folder / "run.toml")),
}  # fmt: skip


def outcomes(name: str, folder: Path, number: int) -> Counter[str]:
    relative, data, reader = FILES[name]
    found: Counter[str] = Counter()
    chance = random.Random(name)
    for _ in range(number):
        shutil.rmtree(folder, ignore_errors=True)
        file = folder / relative
        file.parent.mkdir(parents=True)
        file.write_bytes(spoilt(data, chance))
        found[outcome(lambda: reader(folder))] += 1
    return found


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except UsageError as error:
        # The line that is printed has no line breaks: `cli.py` takes them out.
        return "refused" if str(error) else "silent"
    return "read"


def judged(name: str, folder: Path, number: int) -> None:
    found = outcomes(name, folder / "fuzz", number)
    print(f"\n{name}: {dict(found)}")  # with -s: docs/reliability.md has the sums
    assert found.keys() <= {"read", "refused"} and found["refused"], found


@pytest.mark.parametrize("name", FILES)
def test_a_few_damaged_data_files(name: str, tmp_path: Path) -> None:
    judged(name, tmp_path, 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_data_files(name: str, tmp_path: Path) -> None:
    judged(name, tmp_path, 2000)


def look(run: Path) -> None:
    loaded = load_run(run)
    repr(loaded)
    for part in ("signs", "labels", "history"):
        outcome(lambda part=part: getattr(loaded, part))
    outcome(lambda: build_report(SavedRun(run)))
    loaded.components("A")


def go_on(run: Path) -> None:
    try:
        resume(run, rounds="1", printer=Silent())
    except RunError:  # numbers that are no weights of anybody's
        raise UsageError("stopped") from None


RUN = {
    run_folder.MANIFEST: look,
    run_folder.CONFIG: look,
    run_folder.METRICS: look,
    run_folder.SIGNS: look,
    run_folder.SUMMARY: look,
    run_folder.POSTERIOR: look,
    run_folder.CHECKPOINT: go_on,
}


def judged_run(name: str, vectors_run: Path, folder: Path, number: int) -> None:
    chance = random.Random(name)
    data = (vectors_run / name).read_bytes()
    found: Counter[str] = Counter()
    for _ in range(number):
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(vectors_run, run)
        (run / run_folder.PREVIOUS).unlink(missing_ok=True)
        (run / name).write_bytes(spoilt(data, chance))
        found[outcome(partial(RUN[name], run))] += 1
    print(f"\n{name}: {dict(found)}")
    assert found.keys() <= {"read", "refused"}, found


@pytest.mark.parametrize("name", RUN)
def test_a_few_damaged_files_of_a_run(name: str, vectors_run: Path, tmp_path: Path) -> None:
    judged_run(name, vectors_run, tmp_path, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_many_damaged_files_of_a_run(name: str, vectors_run: Path, tmp_path: Path) -> None:
    judged_run(name, vectors_run, tmp_path, 200)
