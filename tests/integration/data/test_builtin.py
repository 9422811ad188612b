"""KMNIST, EMNIST, CIFAR-10 and SVHN from tiny files in the layout that torchvision or their makers give them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from scipy.io import savemat

from mhng import cli
from mhng.experiment.data.builtin import cifar
from mhng.experiment.data.builtin import idx as idx_sets
from mhng.experiment.data.builtin import registry as builtin_registry
from mhng.experiment.data.loading import held_out, load
from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError
from mhng.experiment.util import memory

RNG = np.random.default_rng(0)
N = 8
GREY = RNG.integers(0, 256, (N, 28, 28), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (N, 3, 32, 32), dtype=np.uint8)
EMNIST = [name for name in idx_sets.IDX_SETS if name.startswith("emnist-")]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_folder(name: str, root: Path, labels: np.ndarray, part: str = "train") -> Path:
    its = idx_sets.IDX_SETS[name]
    raw = root / its.folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    images, codes = its.files(part)
    (raw / images).write_bytes(idx(GREY))
    (raw / codes).write_bytes(idx(labels.astype(np.uint8)))
    return raw


def rows(labels: np.ndarray, images: np.ndarray = COLOUR) -> bytes:
    return b"".join(
        bytes([label]) + image.tobytes() for label, image in zip(labels.tolist(), images, strict=True)
    )  # fmt: skip


def cifar_folder(root: Path) -> Path:
    folder = root / cifar.FOLDER
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        for number, file in enumerate(cifar.FILES[part]):
            (folder / file).write_bytes(rows((np.arange(N) + number) % 10, COLOUR + number))
    return folder


def svhn_file(root: Path, name: str = "train_32x32.mat", **changes: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {
        "X": COLOUR.transpose(2, 3, 1, 0), "y": np.array([[10, 1, 2, 3, 4, 9, 10, 5]], dtype=np.uint8).T,
    }  # fmt: skip
    savemat(root / name, {key: value for key, value in (arrays | changes).items() if value is not None})
    return root / name


def publish(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """Make torchvision list the checksum of `file` as that of SVHN's training images."""
    splits = {"train": ["", file.name, md5(file)], "test": ["", "test_32x32.mat", ""]}
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)


def objects(name: str, root: Path, **options: Any) -> Objects:
    defaults: dict[str, Any] = {"download": False, "limit": None, "views": (0.0, 45.0), "seed": 0}
    return load(name, data_root=root, **(defaults | options))


def refusal(name: str, root: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        objects(name, root, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- read as torchvision reads it --------------------------------------------------------------------


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", ["kmnist", *EMNIST])
def test_idx_sets_are_what_torchvision_makes_of_the_files_but_upright(name: str, part: str, tmp_path: Path) -> None:
    its = idx_sets.IDX_SETS[name]
    labels = np.linspace(its.first_label, its.first_label + len(its.class_names) - 1, N).round()
    idx_folder(name, tmp_path, labels, part)
    source = builtin_registry.ON_DISK[name].read(tmp_path, part)
    kind = getattr(torchvision.datasets, its.folder)
    split = {} if its.split is None else {"split": its.split}
    if its.split is None:  # torchvision wants all four of them there
        idx_folder(name, tmp_path, labels, "train")
        idx_folder(name, tmp_path, labels, "test")
    other = kind(tmp_path, train=part == "train", **split)
    theirs = other.data.numpy()
    np.testing.assert_array_equal(source.images[:, 0], theirs.transpose(0, 2, 1) if its.split else theirs)
    assert source.labels is not None and source.labels.min() == 0
    assert source.labels.max() == len(source.class_names) - 1
    found = [source.class_names[code] for code in source.labels]
    assert found == [other.classes[code] for code in other.targets]
    missing = idx_sets.missing(name, tmp_path / "none", part)
    assert missing == tmp_path / "none" / its.folder / "raw" / its.files(part).images


def test_cifar10_is_read_in_the_order_of_files_and_rows(tmp_path: Path) -> None:
    cifar_folder(tmp_path)
    found = objects("cifar10", tmp_path)
    assert found.count == 5 * N and found.views[0].shape == (5 * N, 3, 32, 32)
    for number in range(5):
        part = slice(number * N, (number + 1) * N)
        np.testing.assert_array_equal(found.views[0][part].numpy(), (COLOUR + number).astype(np.float32) / 255)
        assert found.labels is not None and found.labels[part].tolist() == [(n + number) % 10 for n in range(N)]
    assert found.class_names[3] == "cat" and len(found.class_names) == 10
    test, _ = held_out("cifar10", "test", data_root=tmp_path, used=3)
    np.testing.assert_array_equal(test.images, COLOUR)


def test_svhn_is_what_torchvision_makes_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, svhn_file(tmp_path))
    theirs = torchvision.datasets.SVHN(tmp_path)
    source = builtin_registry.ON_DISK["svhn"].read(tmp_path)
    np.testing.assert_array_equal(source.images, theirs.data)
    assert source.labels is not None and source.class_names[source.labels[0]] == "0"
    np.testing.assert_array_equal(source.labels, theirs.labels)


@pytest.mark.parametrize("network", ["mlp", "conv", "conv-large"])
def test_agents_look_at_colours(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, svhn_file(tmp_path / "root"))
    arguments = [
        "--dataset", "svhn", "--data-root", str(tmp_path / "root"), "--network", network, "--epochs", "1",
        "--rounds", "0", "--sweeps", "2", "--burn-in", "0", "--signs", "2", "--latent-dim", "2", "--starts", "1",
        "--chains", "1",
    ]  # fmt: skip
    assert cli.main(["train", *arguments, "--run-dir", str(tmp_path / "run")]) == 0
    assert "categories: 7" in capsys.readouterr().out


# -- refused -----------------------------------------------------------------------------------------


def test_a_label_below_the_first_is_named(tmp_path: Path) -> None:
    idx_folder("emnist-letters", tmp_path, np.array([1, 2, 26, 0, 1, 1, 1, 1]))
    assert "expected 1 to 26" in refusal("emnist-letters", tmp_path)
    assert "has the label 0 at index 3" in refusal("emnist-letters", tmp_path)
    assert "no " in refusal("emnist-digits", tmp_path)  # another set of the same folder is another set


def bombed(shape: tuple[int, ...]) -> bytes:
    head = struct.pack(">4B3I", 0, 0, 8, 3, *shape)
    return gzip.compress(head + bytes(10_000))


def test_what_an_idx_header_promises_must_fit_before_there_is_memory_for_it(tmp_path: Path) -> None:
    raw = idx_folder("kmnist", tmp_path, np.zeros(N))
    file = idx_sets.IDX_SETS["kmnist"].files("train").images
    (raw / file).unlink()
    (raw / f"{file}.gz").write_bytes(bombed((2**31, 2**20, 2**20)))
    assert f"{raw / file}.gz holds 2.2e+12 GiB of data" in refusal("kmnist", tmp_path)
    (raw / f"{file}.gz").write_bytes(bombed((N, 10, 10)))
    assert "but more than 800 bytes follow" in refusal("kmnist", tmp_path)


def test_a_cut_or_foreign_cifar_file_is_named(tmp_path: Path) -> None:
    folder = cifar_folder(tmp_path)
    third = folder / "data_batch_3.bin"
    third.write_bytes(rows(np.arange(N))[:-1])
    assert f"{third} is damaged (its 24583 bytes" in refusal("cifar10", tmp_path)
    third.write_bytes(b"")
    assert f"{third} is damaged (its 0 bytes" in refusal("cifar10", tmp_path)
    third.write_bytes(rows(np.array([1, 2, 3, 4, 5, 10, 7, 8])))
    assert "expected 0 to 9" in refusal("cifar10", tmp_path) and "10 at index 5" in refusal("cifar10", tmp_path)
    third.unlink()
    assert (
        refusal("cifar10", tmp_path) == f"--dataset cifar10: no {third}; pass --data-root DIR, or --download to train"
    )


@pytest.mark.parametrize("content", [b"", bytes(3), bytes(500)])
def test_an_empty_idx_file_or_one_of_zeros_is_damaged(content: bytes, tmp_path: Path) -> None:
    for number in (0, 1):
        raw = idx_folder("kmnist", tmp_path, np.arange(N) % 10)
        file = raw / idx_sets.IDX_SETS["kmnist"].files("train")[number]
        file.write_bytes(content)
        said = (
            f"{file} is damaged (it {'begins with zeros' if content else 'is empty'}); delete it, then use --download"
        )
        assert refusal("kmnist", tmp_path) == f"--dataset kmnist: {said}"
    file.write_bytes(b"<html>")
    assert "it begins with 3c 68 74 6d; expected 00 00 08 01; delete it" in refusal("kmnist", tmp_path)
    assert not idx_sets.is_damaged(file)


def test_a_cifar_file_of_zeros_is_damaged(tmp_path: Path) -> None:
    file = cifar_folder(tmp_path) / "data_batch_2.bin"
    file.write_bytes(bytes(3073 * 4))
    assert f"{file} is damaged (it begins with zeros)" in refusal("cifar10", tmp_path)
    assert not cifar.is_whole(file)


def test_pickles_of_cifar_are_not_executed(tmp_path: Path) -> None:
    class Mark:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    folder = tmp_path / cifar.PICKLES
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(pickle.dumps(Mark()))
    assert "holds pickles, which are not executed; get cifar-10-binary.tar.gz" in refusal("cifar10", tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("changes", [{"X": None}, {"y": np.array(["abcdefgh"])}, {"y": np.array([[{}] * N], object)}])
def test_a_mat_file_with_another_checksum_is_not_parsed(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, svhn_file(tmp_path))
    monkeypatch.setattr("scipy.io.loadmat", None)
    monkeypatch.setattr("scipy.io.whosmat", None)
    file = svhn_file(tmp_path, **changes)
    listed = torchvision.datasets.SVHN.split_list["train"][2]
    said = f"{file} is damaged (its MD5 is not {listed}); delete it, then use --download"
    assert refusal("svhn", tmp_path) == f"--dataset svhn: {said}"


def test_a_mat_file_cut_anywhere_or_too_large_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = svhn_file(tmp_path)
    publish(monkeypatch, file)
    whole = file.read_bytes()
    for length in [0, 3, 100, 127, 128, 130, 180, 400, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:length])
        assert f"{file} is damaged" in refusal("svhn", tmp_path)
    file.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    assert "is damaged" in refusal("svhn", tmp_path)
    file.write_bytes(whole)
    monkeypatch.setattr(memory, "available_memory", lambda: 5000)
    assert "2.29e-05 GiB of data" in refusal("svhn", tmp_path)


def test_data_says_what_is_there_and_how_to_get_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    svhn_file(tmp_path)
    assert cli.main(["data", "--data-root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith(("svhn", "cifar10"))] == ["absent", "present"]
    after = lines[next(n for n, line in enumerate(lines) if line.startswith("cifar10")) + 1]
    how = "--download, or --data-root DIR with cifar-10-batches-bin (from cifar-10-binary.tar.gz) in it"
    assert after.strip() == f"get it: {how}"
    assert any(line.startswith("emnist-letters") for line in lines)


# -- download ----------------------------------------------------------------------------------------


class Mirror(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log of the requests out of pytest's output."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which this machine serves it."""
    place = tmp_path / "mirror"
    place.mkdir()
    handler = functools.partial(Mirror, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield place, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def archive_of_cifar(file: Path, folder: Path) -> None:
    """The makers' files, and members that would lead out of the folder, or where they say they do not."""
    with tarfile.open(file, "w:gz") as archive:
        archive.add(folder, cifar.FOLDER)
        for name in ("../outside.bin", "/tmp/absolute.bin", f"{cifar.FOLDER}/../../up.bin"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{cifar.FOLDER}/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def test_cifar10_is_fetched_once_and_unpacked_where_it_belongs(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, address = mirror
    packed = place / "cifar-10-binary.tar.gz"
    archive_of_cifar(packed, cifar_folder(tmp_path / "made"))
    monkeypatch.setattr(cifar, "URL", address + packed.name)
    root = tmp_path / "deep" / "root"
    assert "--download" in refusal("cifar10", root) and not root.exists()
    monkeypatch.setattr(cifar, "MD5", "0" * 32)
    message = refusal("cifar10", root, download=True)
    assert message.startswith(f"--download: CIFAR-10 cannot be fetched into {root}: ") and "corrupted" in message
    assert list(root.iterdir()) == []
    monkeypatch.setattr(cifar, "MD5", md5(packed))
    first = objects("cifar10", root, download=True)
    assert sorted(file.name for file in root.rglob("*")) == sorted(
        [cifar.FOLDER, *cifar.FILES["train"], *cifar.FILES["test"]]
    )
    assert (root / cifar.FOLDER / "test_batch.bin").read_bytes() == rows(np.arange(N))
    batch = root / cifar.FOLDER / "data_batch_4.bin"
    for content in (bytes(3073), b"", b"x"):
        batch.write_bytes(content)
        assert objects("cifar10", root, download=True).checksum == first.checksum
    packed.unlink()
    assert objects("cifar10", root, download=True).checksum == first.checksum


def test_svhn_is_fetched_by_the_file(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, address = mirror
    root, splits = tmp_path / "root", {}
    for part in ("train", "test"):
        file = svhn_file(place, f"{part}_32x32.mat")
        splits[part] = [address + file.name, file.name, md5(file)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)
    assert objects("svhn", root, download=True).count == N
    assert sorted(file.name for file in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]
    (root / "train_32x32.mat").write_bytes(b"")
    assert objects("svhn", root, download=True).count == N
    (root / "test_32x32.mat").unlink()
    (place / "test_32x32.mat").write_bytes(b"<html>")
    assert "corrupted" in refusal("svhn", root, download=True)
    assert [file.name for file in root.iterdir()] == ["train_32x32.mat"]


def test_emnist_is_fetched_by_torchvision(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, address = mirror
    labels = np.ones(N, np.uint8)
    with zipfile.ZipFile(place / "gzip.zip", "w") as archive:
        for part in ("train", "test"):
            for file, array in zip(idx_sets.IDX_SETS["emnist-letters"].files(part), (GREY, labels), strict=True):
                archive.writestr(f"gzip/{file}.gz", gzip.compress(idx(array)))
    monkeypatch.setattr(torchvision.datasets.EMNIST, "url", f"{address}gzip.zip")
    root = tmp_path / "root"
    assert "corrupted" in refusal("emnist-letters", root, download=True)
    assert list((root / "EMNIST" / "raw").iterdir()) == []
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", md5(place / "gzip.zip"))
    found = objects("emnist-letters", root, download=True)
    np.testing.assert_array_equal(found.views[0][:, 0].numpy(), GREY.transpose(0, 2, 1).astype(np.float32) / 255)
    assert found.class_names[0] == "a" and found.labels is not None and set(found.labels) == {0}
