"""Downloads from a server on this machine that breaks off, knows no ranges, or has other bytes than before."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets

from mhng.experiment.data.builtin.http import download
from mhng.experiment.data.loading import load
from mhng.experiment.errors import UsageError
from tests.integration.data.test_builtin import svhn_file

CONTENT = np.random.default_rng(0).integers(0, 256, 1_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server:
    """What the server has and how it behaves, and what it was asked for: the Range of each request, or None."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"/file.bin": CONTENT}
        self.ranges = True
        self.wrong_start = False  # sends another part than the one that it was asked for
        self.tells_length = True
        self.most: int | None = None  # bytes of a body, after which the connection is closed
        self.asked: list[str | None] = []
        self.waits: threading.Event | None = None
        self.address = ""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        its: Server = self.server.its
        wanted = self.headers["Range"]
        its.asked.append(wanted)
        if its.waits is not None:
            its.waits.wait(30)
        data = its.files.get(self.path)
        if data is None:
            return self.send_error(404)
        start = 0
        if wanted and its.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if start >= len(data):
                return self.send_error(416)
            start -= its.wrong_start
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[start:]
        if its.tells_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: its.most])

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log of the requests out of pytest's output."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        its = Server()
        listening.its = its  # type: ignore[attr-defined]
        its.address = f"http://127.0.0.1:{listening.server_port}"
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield its
        listening.shutdown()


def get(server: Server, file: Path, md5: str = MD5) -> None:
    download(f"{server.address}/file.bin", file, md5)


def part_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.part")


def is_done(file: Path, content: bytes = CONTENT) -> bool:
    return file.read_bytes() == content and [one.name for one in file.parent.iterdir()] == [file.name]


def test_a_whole_file_comes_at_once_and_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "new" / "file.bin"
    get(server, file)
    assert is_done(file) and server.asked == [None]
    get(server, file)
    assert server.asked == [None]


@pytest.mark.parametrize("cut", [1, 300_000, len(CONTENT) - 1])
def test_a_download_that_broke_off_goes_on_from_there(cut: int, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.most = cut
    with pytest.raises(OSError, match=rf"stopped after {cut:,} of 1,000,000 bytes .* resume it"):
        get(server, file)
    assert not file.exists() and part_of(file).read_bytes() == CONTENT[:cut]
    server.most = None
    get(server, file)
    assert is_done(file) and server.asked == [None, f"bytes={cut}-"]


def test_it_may_break_off_many_times(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.most = 210_000
    for _ in range(4):
        with pytest.raises(OSError, match="the download stopped"):
            get(server, file)
    get(server, file)
    assert is_done(file) and server.asked == [None, *(f"bytes={n * 210_000}-" for n in range(1, 5))]


def test_nothing_at_all_came(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.most = 0
    with pytest.raises(OSError, match="stopped after 0 of 1,000,000 bytes"):
        get(server, file)
    server.most = None
    get(server, file)
    assert is_done(file) and server.asked == [None, None]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.ranges, server.most = False, 300_000
    for _ in range(2):
        with pytest.raises(OSError, match="stopped after 300,000 of"):
            get(server, file)
    server.most = None
    get(server, file)
    assert is_done(file) and server.asked == [None, "bytes=300000-", "bytes=300000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_has_changed_since_is_fetched_anew(ranges: bool, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    part_of(file).write_bytes(bytes(300_000))  # of what it was before
    server.ranges = ranges
    get(server, file)
    assert is_done(file) and server.asked == ["bytes=300000-", None][: 1 + ranges]


def test_more_than_the_server_has_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    part_of(file).write_bytes(CONTENT + b"more")
    get(server, file)
    assert is_done(file) and server.asked == ["bytes=1000004-", None]


def test_what_came_whole_before_a_kill_is_taken_without_a_word(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    part_of(file).write_bytes(CONTENT)
    get(server, file)
    assert is_done(file) and server.asked == []


def test_a_server_that_sends_another_part_than_it_was_asked_for_is_not_believed(
    server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "file.bin"
    part_of(file).write_bytes(CONTENT[:5000])
    server.wrong_start = True
    get(server, file)
    assert is_done(file) and server.asked == ["bytes=5000-", None]


def test_a_server_that_tells_no_length_is_held_to_the_checksum(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.tells_length, server.most = False, 5000
    with pytest.raises(ValueError, match="corrupted: its MD5 is not"):
        get(server, file)
    assert list(tmp_path.iterdir()) == []
    server.most = None
    get(server, file)
    assert is_done(file)


@pytest.mark.parametrize("before", [None, 1000])
def test_wrong_bytes_leave_nothing(before: int | None, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    if before is not None:
        part_of(file).write_bytes(CONTENT[:before])
    server.files["/file.bin"] = bytes(len(CONTENT))
    with pytest.raises(ValueError, match="corrupted"):
        get(server, file)
    assert list(tmp_path.iterdir()) == []
    assert server.asked == ([None] if before is None else ["bytes=1000-", None])  # once anew, and not for ever


def test_wrong_bytes_under_the_final_name_are_replaced(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT[:-1])
    get(server, file)
    assert is_done(file)


def test_what_has_come_stays_where_there_is_no_server_any_more(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    part_of(file).write_bytes(CONTENT[:1000])
    server.files.clear()
    with pytest.raises(OSError, match="404"):
        get(server, file)
    with pytest.raises(OSError, match="refused"):
        download("http://127.0.0.1:9/file.bin", file, MD5)
    assert part_of(file).read_bytes() == CONTENT[:1000] and not file.exists()


def test_two_commands_fetch_a_file_once(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file.bin"
    server.waits = threading.Event()
    both = [threading.Thread(target=get, args=(server, file)) for _ in range(2)]
    for one in both:
        one.start()
    while not server.asked:
        both[0].join(0.01)
    server.waits.set()
    for one in both:
        one.join(60)
    assert is_done(file) and server.asked == [None]


# -- what a user sees --------------------------------------------------------------------------------


def test_a_data_set_that_broke_off_is_one_line_and_goes_on(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, splits = tmp_path / "root", {}
    for part in ("train", "test"):
        file = svhn_file(tmp_path, f"{part}_32x32.mat")
        server.files[f"/{file.name}"] = file.read_bytes()
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        splits[part] = [f"{server.address}/{file.name}", file.name, md5]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", splits)

    def svhn(download: bool) -> Any:
        return load("svhn", data_root=root, download=download, limit=None, views=(0.0, 0.0), seed=0)

    server.most = 20_000
    said = (
        rf"^--download: SVHN cannot be fetched into {root}: the download stopped after 20,000 of [\d,]+ bytes "
        r"\(the connection was closed\); repeat the command to resume it$"
    )
    with pytest.raises(UsageError, match=said):
        svhn(download=True)
    assert [file.name for file in root.iterdir()] == [".train_32x32.mat.part"]
    # Nobody takes the part for the whole, and without being asked nothing is fetched.
    asked = list(server.asked)
    with pytest.raises(UsageError, match=r"no .*train_32x32\.mat; pass --data-root DIR, or --download to train"):
        svhn(download=False)
    assert server.asked == asked
    server.most = None
    assert svhn(download=True).count == svhn(download=False).count > 0
    assert server.asked == [None, "bytes=20000-", None]  # the rest, and the other file
    assert sorted(file.name for file in root.iterdir()) == ["test_32x32.mat", "train_32x32.mat"]


def test_the_next_mirror_goes_on_where_the_first_broke_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gzip

    from tests.unit.data.test_loading import CLASSES, IMAGES, LABELS

    resources = []
    for split in ("train", "t10k"):
        for name, content in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
            packed = gzip.compress(content)
            server.files[f"/good/{split}-{name}.gz"] = packed
            resources.append((f"{split}-{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr("torchvision.datasets.MNIST.resources", resources)
    mirrors = [f"{server.address}/bad/", f"{server.address}/good/"]
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", mirrors)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    first = resources[0][0]
    (raw / f".{first}.part").write_bytes(server.files[f"/good/{first}"][:7])
    found = load("mnist", data_root=tmp_path, download=True, limit=None, views=(0.0, 0.0), seed=0)
    assert found.count == len(CLASSES) and server.asked[:2] == ["bytes=7-", "bytes=7-"] and len(server.asked) == 8
    assert sorted(file.name for file in raw.iterdir()) == sorted(
        name for packed, _ in resources for name in (packed, packed.removesuffix(".gz"))
    )
    for damage in (b"", bytes(100), IMAGES[:-1], IMAGES[:7]):
        (raw / "train-images-idx3-ubyte").write_bytes(damage)
        (raw / first).write_bytes(damage)  # the packed file too
        again = load("mnist", data_root=tmp_path, download=True, limit=None, views=(0.0, 0.0), seed=0)
        assert again.checksum == found.checksum


def test_what_is_unpacked_has_its_name_only_when_it_is_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while a file is unpacked: the packed one is there, and the next command unpacks it."""
    import gzip
    import shutil

    from mhng.experiment.data.builtin import fetch as fetched
    from tests.unit.data.test_loading import IMAGES, LABELS

    contents = {
        f"{split}-{name}.gz": gzip.compress(content)
        for split in ("train", "t10k")
        for name, content in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS))
    }
    server.files = {f"/{name}": packed for name, packed in contents.items()}
    resources = [(name, hashlib.md5(packed).hexdigest()) for name, packed in contents.items()]
    monkeypatch.setattr("torchvision.datasets.MNIST.resources", resources)
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"{server.address}/"])

    def full(source: Any, target: Any) -> None:
        target.write(source.read(5))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", full)
        with pytest.raises(UsageError, match=r"^--download: MNIST .*No space left on device"):
            fetched.fetch_idx("mnist", tmp_path)
    raw = tmp_path / "MNIST" / "raw"
    assert [file.name for file in raw.iterdir()] == ["train-images-idx3-ubyte.gz"]
    fetched.fetch_idx("mnist", tmp_path)
    assert len(server.asked) == 4 and (raw / "train-images-idx3-ubyte").read_bytes() == IMAGES
