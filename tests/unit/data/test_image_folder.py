"""Image files in folders: which are read, in what order and shape, and a line for each that cannot be."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.data.loading import load
from mhng.experiment.data.objects import Objects
from tests.custom_data import image, image_folder, refused


def read(*folders: Path, **options: int) -> Objects:
    files = custom_dataset.Files(folders, **options)
    return load("folder", data_root=None, download=False, limit=None, views=(0.0, 0.0), seed=0, files=files)


def test_classes_order_and_names(tmp_path: Path) -> None:
    objects = read(image_folder(tmp_path), image_size=6)
    assert objects.files == ("10/a.png", "2/a.bmp", "2/b.PNG", "2/deep/a.png", "9/é.png")
    assert objects.class_names == ("2", "9", "10") and objects.labels is not None
    assert objects.labels.tolist() == [2, 0, 0, 0, 1]
    values = (objects.views[0][:, 0, 0, 0] * 255).round().int().tolist()
    assert values == [0, 200, 50, 100, 150]


def test_classes_whose_names_are_no_text_are_told_as_bytes(tmp_path: Path) -> None:
    """Two of them stay two, and pictures and pages can write them."""
    for name in (b"b\xff", b"b\xfe", b"a"):
        image(tmp_path / os.fsdecode(name) / "1.png", 9)
    objects = read(tmp_path)
    assert objects.class_names == ("a", r"b\udcfe", r"b\udcff") and objects.labels is not None
    assert objects.labels.tolist() == [0, 1, 2]


def test_sizes_and_colours_are_made_one(tmp_path: Path) -> None:
    image(tmp_path / "a.png", 255, (10, 20))
    image(tmp_path / "b.png", 255, (3, 3), "RGB")
    image(tmp_path / "c.png", 255, (40, 40), "RGBA")
    objects = read(tmp_path)
    assert objects.views[0].shape == (3, 1, 28, 28) and objects.labels is None
    tall = objects.views[0][0, 0].numpy()
    assert tall[14, 14] == 1 and tall[14, 2] == 0 and tall[1, 14] == 1  # black is added at the sides
    assert (objects.views[0][1:] > 0.999).all()
    assert read(tmp_path, image_size=32, channels=3).views[0].shape == (3, 3, 32, 32)


def test_a_folder_for_each_agent(tmp_path: Path) -> None:
    for n, name in enumerate(["b", "a", "c"]):
        image(tmp_path / "A" / "x" / f"{name}.png", n)
        image(tmp_path / "B" / "x" / f"{name}.jpg", 200, (9, 9))
    objects = read(tmp_path / "A", tmp_path / "B", image_size=8)
    assert objects.paired and objects.files == ("x/a.png", "x/b.png", "x/c.png")
    assert (objects.views[0][:, 0, 0, 0] * 255).round().tolist() == [1, 0, 2]
    assert (objects.views[1] > 0.7).all()


# -- refusals --------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(root: Path) -> str:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (image(root / "1/a.png", 3).parent / "b.png").write_bytes(start)
    return str(root)


def half(root: Path) -> str:
    file = image(root / "1/a.png", 3, (100, 100))
    file.write_bytes(file.read_bytes()[:60])
    return str(root)


def content(data: bytes) -> Callable[[Path], str]:
    def make(root: Path) -> str:
        image(root / "1/a.png", 3)
        (root / "1/b.png").write_bytes(data)
        return str(root)

    return make


def twice(root: Path) -> str:
    image(root / "1/a.png", 3)
    image(root / "1/a.bmp", 3)
    return str(root)


def mixed(root: Path) -> str:
    image(root / "1/a.png", 3)
    image(root / "b.png", 3)
    return str(root)


def unequal(root: Path) -> str:
    for name in ("A/x.png", "A/y.png", "B/x.png", "B/z.png"):
        image(root / name, 3)
    return f"{root / 'A'},{root / 'B'}"


def loop(root: Path) -> str:
    image(root / "1/a.png", 3)
    (root / "1/again").symlink_to(root, target_is_directory=True)
    return str(root)


def dangling(root: Path) -> str:
    image(root / "1/a.png", 3)
    (root / "1/b.png").symlink_to(root / "nowhere.png")
    return str(root)


def pipe(root: Path) -> str:
    image(root / "1/a.png", 3)
    os.mkfifo(root / "1/b.png")
    return str(root)


def whole(root: Path) -> str:
    return str(image_folder(root))


FAULTS: dict[str, tuple[Callable[[Path], str], list[str], list[str]]] = {
    "absent": (lambda root: str(root / "none"), [], ["none", "No such file"]),
    "a file": (lambda root: str(image(root / "a.png", 3)), [], ["a.png", "Not a directory"]),
    "no image": (str, [], ["holds no image"]),
    "cut": (half, [], ["1/a.png cannot be read", "damaged"]),
    "nothing in it": (content(b""), [], ["1/b.png cannot be read"]),
    "a text": (content(b"hello"), [], ["1/b.png cannot be read", "not an image"]),
    "a bomb": (bomb, [], ["1/b.png", "25,000,000 pixels"]),
    "one name twice": (twice, [], ["1/a.bmp", "1/a.png", "differ only in suffix"]),
    "files beside classes": (mixed, [], ["b.png is in no class folder", "1/a.png"]),
    "names differ": (unequal, [], ["y.png of", "is not in"]),
    "a loop": (loop, [], ["1/again", "a link to a folder that contains it"]),
    "a link to nothing": (dangling, [], ["1/b.png", "a link to a missing file"]),
    "a pipe": (pipe, [], ["1/b.png is not a file"]),
    "two channels": (whole, ["--channels", "2"], ["--channels is 2; expected 1 or 3"]),
    "tiny": (whole, ["--image-size", "3"], ["--image-size", "4 or more"]),
    "three agents": (lambda root: f"{whole(root)},{root}", ["--agents", "3"], ["2 agents", "--agents is 3"]),
    "too many": (whole, ["--limit", "6"], ["--limit is 6", "5 objects"]),
    "identity": (whole, ["--likelihood", "identity"], ["--likelihood identity", "images"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unfit_folders_are_refused(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, extra, said = FAULTS[fault]
    refused(["train", "--dataset", "folder", "--data", make(tmp_path), *extra], tmp_path, said, capsys)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mhng.experiment.data.custom.image_folder.os.scandir", denied)
    with pytest.raises(Exception, match="cannot be read: Permission denied"):
        read(tmp_path)


def test_size_goes_with_folders_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        ["train", "--dataset", "digits", "--channels", "3"], tmp_path, ["--channels requires --dataset folder"], capsys
    )
