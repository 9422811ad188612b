"""What is wrong with what users give: each is one line that names flag, key, file or index, exit code 2, and no trace.

A case makes its input in an empty folder and gives the command line; words of what must be said stand beside it. The
folder must hold the same afterwards, to the last byte.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from mhng import cli
from mhng.experiment.runs import folder as run_folder

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
NUMBERS = RNG.normal(size=(12, 3))
DIGITS = ["train", "--dataset", "digits", "--limit", "20"]

Make = Callable[[Path], list[str]]
CASES: dict[str, tuple[Make, list[str]]] = {}


def everything(folder: Path) -> dict[str, tuple[bytes | None, int]]:
    return {
        str(file.relative_to(folder)): (file.read_bytes() if file.is_file() else None, file.lstat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.name != run_folder.LOCK
    }


def check(make: Make, said: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = make(folder)
    before = everything(folder)
    capsys.readouterr()
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1 and "Traceback" not in err and len(err) < 1000
    for words in said:
        assert words in err, err
    assert everything(folder) == before


# -- flags and files of settings ---------------------------------------------------------------------


def flags(name: str, *words: str, said: str) -> None:
    CASES[f"flag: {name}"] = (lambda folder: [*DIGITS, *words], [said])


def toml(name: str, text: str | bytes, *said: str) -> None:
    def make(folder: Path) -> list[str]:
        file = folder / "run.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return ["train", "--config", str(file)]

    CASES[f"config: {name}"] = (make, ["run.toml", *said])


flags("no sign", "--signs", "0", said="--signs is 0; expected 1 or more")
flags("signs in words", "--signs", "ten", said="--signs is 'ten'; expected a whole number")
flags("half a sign", "--signs", "2.5", said="--signs is '2.5'; expected a whole number")
flags("signs of 5,000 digits", "--signs", "9" * 5000, said="--signs is ")
flags("a negative seed", "--seed=-1", said="--seed is -1; expected 0 or more")
flags(
    "a large seed",
    "--seed",
    "9223372036854775808",
    said="--seed is 9223372036854775808; expected 9223372036854775807 or less",
)
flags("no step", "--lr", "0", said="--lr is 0.0; expected more than 0")
flags("a step that is none", "--lr", "nan", said="--lr is nan; expected a finite number")
flags("an endless step", "--lr", "inf", said="--lr is inf; expected a finite number")
flags("a negative jitter", "--jitter=-0.1", said="--jitter is -0.1; expected 0 or more")
flags("no batch", "--batch-size", "0", said="--batch-size is 0; expected 1 or more")
flags("no dimension", "--latent-dim", "0", said="--latent-dim is 0; expected 1 or more")
flags("one agent", "--agents", "1", said="--agents is 1; expected 2 or more")
flags("no chain", "--chains", "0", said="--chains is 0; expected 1 or more")
flags(
    "hold-out of nothing", "--dataset", "attributes:2x2", "--words", "2", "--hold-out", "0.5",
    said="--hold-out 0.5 keeps no combination of attributes:2x2 from the agents",
)  # fmt: skip
flags("two classes", "--dataset", "synthetic", "--classes", "2", said="--classes is 2; expected 3 or more")
flags(
    "ambiguity of 1.5", "--dataset", "synthetic", "--ambiguity", "1.5", said="--ambiguity is 1.5; expected 1 or less"
)
flags("classes of other data", "--classes", "4", said="--classes requires --dataset synthetic; --dataset is digits")
flags("ambiguity of other data", "--ambiguity", "0.5", said="--ambiguity requires --dataset synthetic")
flags("dimension of other data", "--dimension", "3", said="--dimension requires --dataset synthetic")
flags("mistyped graph", "--agents", "3", "--meet", "rng", said="; did you mean ring?")
flags("mistyped view", "--views", "blurr:2,0", said="; did you mean blur?")
flags("no draw left", "--sweeps", "5", "--burn-in", "5", said="--burn-in is 5; expected less than --sweeps, 5")
flags("no object", "--limit", "0", said="--limit is 0; expected 1 or more")
flags("objects that are not there", "--limit", "2000", said="--limit is 2000, but digits has 1797 objects")
flags("a mode that is none", "--mode", "gibs", said="did you mean gibbs?")
flags("an empty mode", "--mode", "", said="--mode is ''; expected one of com")
flags("a rule beyond one", "--acceptance", "constant:2", said="--acceptance")
flags("a rule without its number", "--acceptance", "constant:", said="--acceptance")
flags("an inner game of nothing", "--recursion", "ll:0", said="--recursion")
flags("a graph that is none", "--meet", "rnig", said="--meet")
flags("a view too many", "--views", "0,45,90", said="--views has 3 entries; expected one for each agent, 2")
flags("no view", "--views", "", said="--views")
flags("a view that is none", "--views", "0,spin:3", said="'spin:3'")
flags("an endless turn", "--views", "0,inf", said="--views")
flags("no picture further on", "--views", "0,ahead:0", said="expected ahead:J with a whole number J from 1 to 999999")
flags("a digit that turns", "--views", "0,ahead:30", said="--views ahead:30 requires --dataset folder")
flags("a patch outside", "--views", "0,patch:3.0/3", said="expected patch:R.C/G with R and C from 0 to G - 1")
flags("steps nobody shares", "--split-merge", "1", said="--split-merge 1 requires --mode gibbs")
flags(
    "a topline in many processes",
    "--engine",
    "ray",
    "--mode",
    "gibbs",
    said="--engine ray does not support --mode gibbs",
)
flags("a start for one process", "--engine", "ray", "--start", "split", said="does not support --start split")
flags(
    "weights for one process", "--engine", "ray", "--weights", "sticks:1", said="does not support --weights sticks:1"
)
flags(
    "who ends it, afar", "--engine=ray", "--agents=3", "--views=0,1,2", "--recursion=exact", said="--recursion exact"
)
flags("an engine that is none", "--engine", "rya", said="did you mean ray?")
flags(
    "many processes that would need each other's tables",
    "--engine",
    "ray",
    "--mode",
    "variational",
    said="--engine ray does not support --mode variational: its agents need one process",
)
flags(
    "a variational game of weights",
    "--mode",
    "variational",
    "--weights",
    "dirichlet:1",
    said="--mode variational requires --weights uniform; --weights is dirichlet:1",
)
flags(
    "a variational game without closed forms",
    "--mode",
    "variational",
    "--agent",
    "B: --mixture student-t",
    said="--mode variational does not support --mixture student-t of agent B (no closed-form expectations)",
)
flags("a cluster for one process", "--address", "auto", said="--address requires --engine ray")
flags("a device that is none", "--device", "cuda:-1", said="--device is 'cuda:-1'; expected auto, cpu, cuda or cuda:N")
flags("a device that is not there", "--device", "cuda:99", said="--device is cuda:99")
flags("false for no", "--download", "False", said="'False'")
flags("nought for no", "--tensorboard=0", said="--tensorboard")
flags("a flag's beginning", "--epoch", "3", said="did you mean --epochs?")
flags("data of one's own for a known set", "--data", "x.npz", said="--data requires --dataset")
flags("a folder with a null byte", "--run-dir", "a\0b", said="--run-dir")
flags("settings with a null byte", "--config", "a\0b", said="--config")
flags("a root with a null byte", "--dataset", "mnist", "--data-root", "a\0b", said="--data-root")
flags("more than there is memory", "--chains", "9999", "--sweeps", "9999999", said="--chains 9999 and --sweeps")
flags("a checkpoint every no time", "--checkpoint-minutes=-1", said="--checkpoint-minutes is -1.0; expected 0 or more")

toml("a misspelt key", "epoch = 5\n", "unknown key 'epoch'; did you mean epochs?")
toml("a key in a section", "[learning]\nepochs = 5\n", "unknown key 'learning'")
toml("a number in words", 'epochs = "three"\n', "epochs is 'three'; expected a whole number")
toml("half an epoch", "epochs = 3.5\n", "epochs is 3.5; expected a whole number")
toml("a step as text", 'lr = "1e-3"\n', "lr is '1e-3'; expected a number")
toml("a truth as a number", "agents = true\n", "agents is True; expected a whole number")
toml("a number as a truth", "download = 1\n", "download is 1; expected true or false")
toml("a date", "seed = 1979-05-27\n", "seed is datetime.date(1979, 5, 27); expected a whole number")
toml("a key twice", "epochs = 5\nepochs = 6\n", "not valid TOML")
toml("a key of two lines", '"a\\nb" = 1\n', "unknown key 'a\\nb'")
toml("no TOML", "epochs: 5\n", "not valid TOML")
toml("a NaN", "lr = nan\n", "lr is nan; expected a finite number")
toml("a number of 400 digits", f"ambiguity = {'9' * 400}\n", "ambiguity is too large")
toml("a number of 5,000 digits", f"seed = {'9' * 5000}\n", "not valid TOML")
toml("no views", "views = []\n", "views is empty; expected one entry for each agent")
toml("a truth as a view", "views = [true, 0]\n", "views is [True, 0]; expected a list of numbers or texts")
toml("a number as data", 'dataset = "npz"\ndata = [1]\n', "data is [1]; expected a path in quotes")
toml("no data in a list", 'dataset = "npz"\ndata = []\n', "data is ''; expected a path")
toml("a path with a null byte", 'dataset = "npz"\ndata = "a\\u0000b"\n', "expected a path without null bytes")
toml("bytes that are no text", b"epochs = 5 # \xff\n", "not valid TOML")
toml("nested without end", "a = " + "[" * 5000, "not valid TOML")
flags("a value that looks like a flag", "--views", "--0,45", said="expected one argument; a value that begins with --")
flags("a negative number in words", "--lr", "-1e-3", said="--lr is -0.001; expected more than 0")
flags("views beyond the agents", "--views", "-45,45,90", said="--views has 3 entries; expected one for each agent, 2")
flags("a file that begins with a dash", "--dataset", "npz", "--data", "-x.npz", said="-x.npz")
NOT_UTF8 = "which is not valid UTF-8; rename the file, or set a UTF-8 locale"
flags("data whose name is not UTF-8", "--dataset=npz", "--data=a\udcff.npz", said=NOT_UTF8)
flags("a folder whose name is not UTF-8", "--data-root=\udcff", said=NOT_UTF8)
flags("a graph whose name is not UTF-8", "--meet=\udcff", said=NOT_UTF8)
flags("the home of nobody", "--run-dir=~nobody-/x", said="there is no home folder ~nobody-; write ./~nobody-/x")
toml("the home of nobody", 'run-dir = "~nobody-/x"', "run-dir is '~nobody-/x', but there is no home folder ~nobody-")
CASES["config: in the home of nobody"] = (
    lambda folder: ["train", "--config", "~nobody-/a.toml"],
    ["--config is '~nobody-/a.toml', but there is no home folder"],
)
CASES["compare: threads"] = (
    lambda folder: ["compare", "--out", str(folder / "x"), "--threads", "two"],
    ["argument --threads: it is 'two'; expected auto or a number from 1 on"],
)
CASES["config: a folder"] = (lambda folder: ["train", "--config", str(folder)], ["--config", "Is a directory"])
CASES["config: absent"] = (lambda folder: ["train", "--config", str(folder / "no.toml")], ["no.toml", "No such file"])


# -- data of one's own -------------------------------------------------------------------------------


def npz(name: str, *said: str, words: list[str] | None = None, **arrays: Any) -> None:
    def make(folder: Path) -> list[str]:
        np.savez(folder / "own.npz", **arrays)
        return ["train", "--dataset", "npz", "--data", str(folder / "own.npz"), *(words or [])]

    CASES[f"npz: {name}"] = (make, ["own.npz", *said])


def archive(name: str, members: dict[str, bytes], *said: str) -> None:
    def make(folder: Path) -> list[str]:
        with zipfile.ZipFile(folder / "own.npz", "w", zipfile.ZIP_DEFLATED) as out:
            for member, data in members.items():
                out.writestr(member, data)
        return ["train", "--dataset", "npz", "--data", str(folder / "own.npz")]

    CASES[f"npz: {name}"] = (make, ["own.npz", *said])


def csv(name: str, content: str | bytes, *said: str, words: list[str] | None = None) -> None:
    def make(folder: Path) -> list[str]:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / "own.csv").write_bytes(data)
        return [
            "train", "--dataset", "csv", "--data", str(folder / "own.csv"), "--likelihood", "identity", *(words or []),
        ]  # fmt: skip

    CASES[f"csv: {name}"] = (make, ["own.csv", *said])


def images(name: str, files: dict[str, bytes], *said: str) -> None:
    def make(folder: Path) -> list[str]:
        for relative, data in files.items():
            (folder / "data" / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / "data" / relative).write_bytes(data)
        return ["train", "--dataset", "folder", "--data", str(folder / "data")]

    CASES[f"images: {name}"] = (make, [*said])


def header(text: str, after: bytes = b"") -> bytes:
    """An .npy file with a header of one's own."""
    padded = text.ljust(118).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + after


def claim(shape: str, descr: str = "'|u1'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", bytes(1000))


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def png(width: int = 5, height: int = 4) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (height, width), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a picture of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


class Touch:
    """A pickle that, if it is executed, leaves a file in the folder where the test is."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


archive("10**12 elements", {"images.npy": claim("(1000000000000, 1, 1)")}, "931 GiB of data")
archive("10**30 elements", {"features.npy": claim("(10**15, 10**15)".replace("10**15", "1" + "0" * 15))}, "of data")
archive("a negative size", {"features.npy": claim("(-5, 3)", "'<f8'")}, "features must be numbers (N, D)")
archive("a text of 10**8 letters", {"images.npy": npy(BYTES), "labels.npy": claim("(12,)", "'<U100000000'")},
        "labels is larger than 1 GiB")  # fmt: skip
archive("a header that is a program", {"images.npy": header("__import__('pathlib').Path('executed').touch()")},
        "not an .npz file, or damaged")  # fmt: skip
archive("a header of truths", {"images.npy": claim("(True, 3, 3)")}, "")
archive("bytes missing", {"images.npy": claim("(12, 20, 20)")}, "damaged")
archive("names that lead out", {"../images.npy": npy(BYTES), "/images.npy": npy(BYTES)}, "must hold one of images")
archive("no arrays", {}, "it holds nothing")
archive("a pickle", {"images.npy": header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2, 2), }",
                                          pickle.dumps(Touch()))}, "images must be uint8")  # fmt: skip
archive("a pickle for labels",
        {"images.npy": npy(BYTES), "labels.npy": header("{'descr': '|O', 'fortran_order': False, 'shape': (12,), }",
                                                        pickle.dumps(Touch()))}, "labels must be 12")  # fmt: skip
npz("a record array", "features must be numbers", features=np.zeros(3, dtype=[("a", "f4"), ("b", "f4")]))
npz("complex features", "features must be numbers", features=NUMBERS + 1j)
npz("dates", "features must be numbers", features=np.zeros((3, 2), "datetime64[s]"))
npz("a NaN pixel", "images[3] has nan", images=np.where(np.arange(12)[:, None, None] == 3, np.nan, BYTES / 255))
npz("an inf feature", "[5, 1] is inf", features=np.where(np.arange(36).reshape(12, 3) == 16, np.inf, NUMBERS))
npz("pixels to 255 as floats", "images[0] has", "uint8 may go to 255", images=BYTES.astype(np.float32))
npz("negative pixels", "images[0] has -", images=-(BYTES / 255))
npz("labels in Latin", "labels[1] must be text in UTF-8; it is b'\\xe9'", images=BYTES,
    labels=np.array([b"e", b"\xe9", b"z"] * 4))  # fmt: skip
npz("pixels of 0 and 1 as bytes", "images is uint8, where 255 is white", images=(BYTES > 99).astype(np.uint8))
npz("one number", "features must be numbers (N, D)", features=np.array(5.0))
npz("a negative label of half", "labels[0] must be a whole number", images=BYTES, labels=np.full(12, -0.5))
npz("a label short", "labels must be 12", images=BYTES, labels=np.zeros(11, int))
npz("labels of one-hot", "labels must be 12", images=BYTES, labels=np.eye(12))
npz("conv of features", features=NUMBERS, words=["--likelihood", "gaussian", "--network", "conv"])
CASES["npz: conv of features"][1][:] = ["--network conv requires images; the objects of npz are features"]
CASES["npz: one .npy"] = (
    lambda folder: (
        [(folder / "own.npz").write_bytes(npy(BYTES)), "train"][1:]
        + ["--dataset", "npz", "--data", str(folder / "own.npz")]
    ),
    ["own.npz cannot be read: not an .npz file, or damaged"],
)
csv("a null byte", b"1,2\n3,\0\n", "own.csv")
csv("UTF-16", "1,2\n3,4\n".encode("utf-16"), "not text in UTF-8")
csv("a field without end", b'1,"' + b"x" * 200_000 + b"\n", "field larger than field limit")
csv("a row too short", "1,2\n3\n", "line 2", "1 columns; the first row has 2")
csv("a quote that is not closed", 'a,b,label\n1,2,"eel\n3,4,eel\n5,6,ant\n', "line 4", "a line break; is a quote")
csv("two quotes that are not closed", 'a,b,label\n1,2,"eel\n3,4,eel\n5,6,ant"\n7,8,b\n', "line 4", "a line break")
csv("a quote of a name that is not closed", 'a,b,"label\n1,2,eel"\n5,6,ant\n', "the name 'label", "a line break")
csv("two label columns", "a,Label,Labels\n1,2,3\n", "has 2 columns called 'label'")
csv("a label column that no header has", "a,b,label\n1,2,x\n", "--label-column Label: no column of",
    words=["--label-column", "Label"])  # fmt: skip
csv("a number beyond floats", "1,2\n3,1e400\n", "line 2", "must be a finite number")
csv("semicolons", "1;2\n3;4\n", "own.csv")
csv("no row", "", "own.csv is empty")
csv("a label column that is not there", "a,b\n1,2\n", "--label-column kind", words=["--label-column", "kind"])
images("no image", {"readme.txt": b"x"}, "the folder holds no image")
images("text as a picture", {"a/x.png": b"hello"}, "x.png cannot be read: not an image")
images("nothing as a picture", {"a/x.png": b""}, "x.png cannot be read")
images("half a picture", {"a/x.png": png(60, 60)[:700]}, "x.png cannot be read")
images("a bomb", {"a/x.png": png_that_claims(200_000, 200_000)}, "x.png has more than 25,000,000 pixels")
images("a long line", {"a/x.png": png_that_claims(20_000, 1)}, "20000 x 1", "10,000 on a side")
images("a picture of programs", {"a/x.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"}, "x.png cannot be")
images("files beside classes", {"a/x.png": png(), "y.png": png()}, "y.png is in no class folder")
images("one name twice", {"a/x.png": png(), "a/x.PNG": png()}, "x.PNG and a/x.png differ only in suffix")
CASES["images: a flat folder that turns"] = (
    lambda folder: (
        [(folder / f"{n}_100.png").write_bytes(png()) for n in range(3)][:0]
        + ["train", "--dataset", "folder", "--data", str(folder), "--views", "0,ahead:1"]
    ),
    ["--views ahead:1 requires a subfolder for every rotating object"],
)
CASES["images: things of one picture that turn"] = (
    lambda folder: (
        [(folder / f"{n}").mkdir() or (folder / f"{n}/0_100.png").write_bytes(png()) for n in range(3)][:0]
        + ["train", "--dataset", "folder", "--data", str(folder), "--views", "0,ahead:1"]
    ),
    ["--views ahead:1 maps every picture of --data", "to itself", "longest circle has 1"],
)
CASES["images: a file for a folder"] = (
    lambda folder: ["train", "--dataset", "folder", "--data", str(folder), "--data", __file__],
    ["cannot be read: Not a directory"],
)


def set_file(name: str, dataset: str, relative: str, data: bytes, *said: str) -> None:
    def make(folder: Path) -> list[str]:
        file = folder / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return ["train", "--dataset", dataset, "--data-root", str(folder)]

    CASES[f"set: {name}"] = (make, [f"--dataset {dataset}", *said])


set_file("half of MNIST", "mnist", "MNIST/raw/train-images-idx3-ubyte", b"", "no ", "train-labels-idx1-ubyte")
set_file("a MATLAB file of text", "svhn", "train_32x32.mat", b"MATLAB 5.0 MAT-file" * 20, "train_32x32.mat is damaged")
set_file("one batch of five", "cifar10", "cifar-10-batches-bin/data_batch_1.bin", bytes(3073), "data_batch_2.bin")
set_file(
    "a folder for a file", "kmnist", "KMNIST/raw/train-images-idx3-ubyte/x", b"", "no ", "KMNIST/raw/train-images"
)


@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_is_one_line_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check(*CASES[name], tmp_path, capsys)


# -- run folders -------------------------------------------------------------------------------------

Spoil = Callable[[Path], Any]
RUNS: dict[str, tuple[Spoil, list[str], list[str]]] = {}
RESUME = ["train", "--resume", "run", "--rounds", "2"]


def run(name: str, spoil: Spoil, *said: str, words: list[str] | None = None) -> None:
    RUNS[name] = (spoil, words or RESUME, list(said))


def manifest(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        file = folder / run_folder.MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def checkpoint(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        for name in (run_folder.CHECKPOINT, run_folder.PREVIOUS):
            if (folder / name).exists():
                state = torch.load(folder / name, weights_only=True)
                change(state)
                torch.save(state, folder / name)

    return spoil


def both(data: bytes | None) -> Spoil:
    """Newest and previous checkpoint replaced by some bytes, or folders."""

    def spoil(folder: Path) -> None:
        for name in (run_folder.CHECKPOINT, run_folder.PREVIOUS):
            (folder / name).unlink(missing_ok=True)
            (folder / name).mkdir() if data is None else (folder / name).write_bytes(data)

    return spoil


def text(name: str, content: str | bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def arrays(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        with np.load(folder / run_folder.SIGNS) as found:
            kept = {key: found[key] for key in found.files} | changes
        np.savez(folder / run_folder.SIGNS, **{key: value for key, value in kept.items() if value is not None})

    return spoil


def huge(folder: Path) -> None:
    with h5py.File(folder / run_folder.POSTERIOR, "a") as file:
        file["posterior"].create_dataset("huge", (10**6, 10**6), "f8", chunks=(100, 100))


def layout(folder: Path) -> None:
    with h5py.File(folder / run_folder.POSTERIOR, "a") as file:
        del file["posterior"].attrs["layout"]


def elsewhere(folder: Path) -> None:
    with h5py.File(folder / run_folder.POSTERIOR, "a") as file:
        file["posterior"].create_dataset("theirs", (4,), "i1", external=[("/etc/passwd", 0, 4)])


def claims(folder: Path) -> None:
    with zipfile.ZipFile(folder / run_folder.SIGNS, "w") as out:
        out.writestr("index.npy", claim("(1000000000000,)"))


run(
    "no manifest", lambda folder: (folder / run_folder.MANIFEST).unlink(), "holds no manifest.json, so it is not a run"
)
run("another program's manifest", text(run_folder.MANIFEST, '{"name": "web"}'), "manifest.json was not written by")
run("a manifest of text", text(run_folder.MANIFEST, "hello"), "manifest.json is not a JSON object")
run("a manifest of bytes", text(run_folder.MANIFEST, b"\xff\xfe\x00"), "manifest.json is not a JSON object")
run("an unknown status", manifest(status="finished"), "manifest.json is damaged: its status is 'finished'")
run("a status that is a list", manifest(status=["done"]), "manifest.json is damaged: its status is ['done']")
run("settings that are a list", manifest(settings=[1]), "manifest.json is damaged: it holds no settings")
run("settings of others", manifest(settings={"seed": 7}), "config.toml", "the run was started with")
run("other objects", manifest(checksum="0" * 64), "the objects of synthetic are not those of the run")
run("edges to nowhere", manifest(edges=[[0, 99]]), "manifest.json is damaged: its edges are not pairs of agents")
run("edges of text", manifest(edges="../../etc"), "manifest.json is damaged: its edges are not pairs of agents")
run("no settings", lambda folder: (folder / run_folder.CONFIG).unlink(), "holds no config.toml")
run("settings that are no TOML", text(run_folder.CONFIG, "seed = "), "config.toml: not valid TOML")
run(
    "rows of others",
    text(run_folder.METRICS, '{"step": 1}\n'),
    "metrics.jsonl, line 1 is not a row of a run",
)
run("rows of text", text(run_folder.METRICS, "loss 3\n"), "metrics.jsonl, line 1 is not a JSON object")
run("a pickle for a checkpoint", both(pickle.dumps(Touch())), "checkpoint.pt cannot be read")
run("an old pickle for a checkpoint", both(pickle.dumps(Touch(), 0)), "checkpoint.pt cannot be read")
run("nothing for a checkpoint", both(b""), "checkpoint.pt cannot be read")
run("zeros for a checkpoint", both(bytes(5000)), "checkpoint.pt cannot be read")
run("a folder for a checkpoint", both(None), "checkpoint.pt cannot be read")
run("another format", checkpoint(lambda state: state.update(format=7)), "checkpoint.pt has the format 7")
run("no agent", checkpoint(lambda state: state["members"].pop("B")), "checkpoint.pt does not fit")
run("a sign too large", checkpoint(lambda state: state["signs"].fill_(99)), "checkpoint.pt", "signs must be 0 to 2")
run("a negative sign", checkpoint(lambda state: state["signs"].fill_(-1)), "checkpoint.pt", "signs must be 0 to 2")
run("half signs", checkpoint(lambda state: state.update(signs=state["signs"] / 2)), "checkpoint.pt", "64-bit integers")
run("too few signs", checkpoint(lambda state: state.update(signs=state["signs"][..., :5])), "its signs have the shape")
run("too many chains", checkpoint(lambda state: state.update(signs=state["signs"].repeat(3, 1, 1))),
    "its signs have the shape")  # fmt: skip
run("rounds in words", checkpoint(lambda state: state.update(done="one")), "its number of rounds is 'one'")
run("no seconds", checkpoint(lambda state: state.update(seconds=None)), "checkpoint.pt does not fit")
run("a NaN for a mind", checkpoint(lambda state: state["components"][0][0].fill_(torch.nan)), "not finite")
run("a stream of others", checkpoint(
    lambda state: state["members"]["A"]["streams"].update(play=torch.zeros(3, dtype=torch.uint8))
), "checkpoint.pt does not fit")  # fmt: skip
run("a checkpoint of another seed", checkpoint(lambda state: state["run"]["settings"].update(seed=7)),
    "checkpoint.pt belongs to another run: its seed is 7; this run has 0")  # fmt: skip
run("a checkpoint of other data", checkpoint(lambda state: state["run"].update(checksum="0")),
    "checkpoint.pt belongs to another run: it was trained on other data")  # fmt: skip
run("a checkpoint of nobody", checkpoint(lambda state: state.update(run=[])), "does not say which run it is from")
run("a checkpoint without its settings", checkpoint(lambda state: state["run"].pop("settings")),
    "does not say which run it is from")  # fmt: skip
run("signs of another round", arrays(round=np.int64(7)), "summary.json is from round 0, signs.npz from round 7",
    "the status of the run is 'done'", words=["corpus", "run"])  # fmt: skip
run("signs of a later round than the draws", arrays(round=np.int64(7)), "signs.npz is from round 7",
    words=["diagnose", "run"])  # fmt: skip
run("signs of several rounds", arrays(round=np.arange(3)), "signs.npz is damaged: round must be one integer",
    words=["corpus", "run"])  # fmt: skip
run("the home of nobody", lambda folder: None, "RUN is '~nobody-/run', but there is no home folder ~nobody-",
    words=["report", "~nobody-/run"])  # fmt: skip
run("fewer rounds than done", lambda folder: None, "--rounds", words=["train", "--resume", "run", "--rounds", "-1"])
run("a folder in use by nobody's run", lambda folder: None, "--run-dir run is not empty",
    words=[*DIGITS, "--run-dir", "run"])  # fmt: skip
run("another setting on resuming", lambda folder: None, "--resume does not support --signs",
    words=["train", "--resume", "run", "--signs", "4"])  # fmt: skip
run("signs too large", arrays(signs_A=np.full(20, 9)), "signs.npz is damaged: signs_A must hold 20 signs from 0 to 2",
    words=["corpus", "run"])  # fmt: skip
run("signs of objects", text(run_folder.SIGNS, b""), "signs.npz", words=["corpus", "run"])
run("signs missing", arrays(signs_B=None), "signs.npz is damaged: signs_B", words=["corpus", "run"])
for command in ("report", "diagnose", "recall"):
    run(f"signs missing: {command}", arrays(signs_B=None), "signs.npz is damaged: signs_B", words=[command, "run"])
    run(f"signs of some: {command}", arrays(signs_A=np.zeros(10, int)), "signs.npz is damaged: signs_A",
        words=[command, "run"])  # fmt: skip
    run(f"labels of some: {command}", arrays(label=np.zeros(10, int)), "signs.npz is damaged: label",
        words=[command, "run"])  # fmt: skip
run("signs that a pickle holds", arrays(signs_A=np.array([Touch()] * 20, dtype=object)), "signs.npz",
    words=["corpus", "run"])  # fmt: skip
run("a posterior of text", text(run_folder.POSTERIOR, "hello"), "posterior.nc", words=["diagnose", "run"])
run("a posterior cut", lambda folder: (folder / run_folder.POSTERIOR).write_bytes(
    (folder / run_folder.POSTERIOR).read_bytes()[:3000]), "posterior.nc", words=["diagnose", "run"])  # fmt: skip
run("a posterior of 10**12 draws", huge, "posterior.nc holds", "GiB of data", words=["diagnose", "run"])
run("a posterior in another file", elsewhere, "is stored in another file", words=["diagnose", "run"])
for _command in (["diagnose", "run"], ["report", "run"], ["corpus", "run", "--draws", "all"]):
    run(f"a posterior of another layout: {_command[0]}", layout, "has the layout of another version of this program",
        words=_command)  # fmt: skip
run("signs of 10**12 objects", claims, "signs.npz holds", "GiB of data", words=["corpus", "run"])
run("a summary of a list", text(run_folder.SUMMARY, "[]"), "summary.json", words=["diagnose", "run"])
run("a summary of nothing", text(run_folder.SUMMARY, "{}"), "summary.json", words=["report", "run"])
run("images for agents of features", lambda folder: None, "observes feature vectors",
    words=["name", "run", "--images", "run/plots/game.png"])  # fmt: skip
for _name, _words, _said in (
    ("chains that are none", ["--chains", "0"], "--chains is 0; expected 1 or more"),
    ("sweeps in words", ["--sweeps", "many"], "--sweeps is 'many'; expected a whole number"),
    ("no draw left", ["--sweeps", "1"], "--burn-in is 1; expected less than --sweeps, 1"),
    ("a mode that is none", ["--mode", "gibs"], "did you mean gibbs?"),
    ("a rule beyond one", ["--acceptance", "constant:2"], "--acceptance"),
    ("steps nobody shares", ["--split-merge", "1"], "--split-merge 1 requires --mode gibbs"),
    ("a graph that is none", ["--meet", "rnig"], "--meet"),
    ("learning", ["--epochs", "3"], "unknown argument '--epochs'"),
    ("other agents", ["--agents", "3"], "unknown argument '--agents'"),
    ("its own folder", ["--out", "run", "--overwrite"], "--out run is, or holds, the run whose agents play"),
    ("nothing to overwrite", ["--overwrite"], "--overwrite requires --out DIR"),
    ("a device that is none", ["--device", "tpu"], "--device is 'tpu'"),
):
    run(f"play: {_name}", lambda folder: None, _said, words=["play", "run", *_words])


def used(folder: Path) -> None:
    (folder / "used").mkdir()
    (folder / "used" / "notes.txt").write_text("mine")


run("play: a folder that is used", used, "--out run/used is not empty", words=["play", "run", "--out", "run/used"])
run("play: what is no run", used, "holds no manifest.json", words=["play", "run", "--out", "run/used", "--overwrite"])
run("play: a stopped run", manifest(status="interrupted"), "is 'interrupted'; play requires a finished run",
    words=["play", "run"])  # fmt: skip
run(
    "play: no agents", lambda folder: (folder / run_folder.CHECKPOINT).unlink(), "checkpoint.pt", words=["play", "run"]
)
run("resuming a play", manifest(played_from="there"), "play made this run, without learning; resume there")
run("rows where no folder is", lambda folder: None, "--out", words=["corpus", "run", "--out", "run"])
run("rows over what is read", lambda folder: None, "--out", words=["corpus", "run", "--out", "run/signs.npz"])
run(
    "a temperature that is none", lambda folder: None, "--temperature", words=["recall", "run", "--temperature", "nan"]
)
run("a page where a folder is", lambda folder: None, "--out", words=["report", "run", "--out", "run"])
run("a comparison in a run", lambda folder: None, "run", words=["compare", "--out", "run/config.toml"])
run("a comparison of no seed", lambda folder: None, "--seeds", words=["compare", "--out", "new", "--seeds", "5-1"])


@pytest.mark.parametrize("name", RUNS)
def test_a_bad_run_folder_is_one_line_and_stays_as_it_is(
    name: str,
    vectors_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil, words, said = RUNS[name]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(vectors_run, tmp_path / "run")
    spoil(tmp_path / "run")
    check(lambda folder: words, said, tmp_path, capsys)


def test_the_tables_are_long_enough() -> None:
    assert len(CASES) > 60 and len(RUNS) > 35
