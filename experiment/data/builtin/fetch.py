"""--download: data sets fetched into --data-root, from the addresses and by the checksums that torchvision knows.

What comes is held against the checksum that the data set's makers published, and has its final name only after that
(`mhng.experiment.data.builtin.http`); what is unpacked of it too. A download that is cut off leaves nothing that a
later run
would read, and the next one goes on with it.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO

from mhng.experiment.data.builtin import cifar, svhn
from mhng.experiment.data.builtin import idx as idx_sets
from mhng.experiment.data.builtin.http import download
from mhng.experiment.data.builtin.source import TEST, TRAIN
from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import atomic_path


def fetch_idx(name: str, root: Path) -> None:
    """Fetch and unpack the files of the idx set `name` that are not there unpacked. `UsageError`."""
    its = idx_sets.IDX_SETS[name]
    raw = root / its.folder / "raw"
    wanted = [file for part in (TRAIN, TEST) for file in its.files(part)]
    gone = [file for file in wanted if idx_sets.existing_file(name, raw / file) != raw / file]
    if not gone:
        return
    import torchvision.datasets

    known = getattr(torchvision.datasets, its.folder)
    with _said(its.folder, root):
        if its.split is None:
            checksums = dict(known.resources)
            for file in gone:
                packed = raw / f"{file}.gz"
                _fetch([mirror + packed.name for mirror in known.mirrors], packed, checksums[packed.name])
                with packed.open("rb") as stream:
                    _unpack(stream, raw / file)
        else:
            # One archive holds all six sets of the folder; it is kept for the others.
            archive = raw / known.url.rsplit("/", 1)[1]
            _fetch([known.url], archive, known.md5)
            with zipfile.ZipFile(archive) as members:
                for file in gone:
                    with members.open(f"gzip/{file}.gz") as stream:
                        _unpack(stream, raw / file)


def _fetch(urls: Sequence[str], file: Path, md5: str) -> None:
    """From the first address that gives it. The last one's complaint, if none does."""
    for url in urls[:-1]:
        try:
            return download(url, file, md5)
        except (OSError, HTTPException, ValueError):
            pass
    download(urls[-1], file, md5)


def _unpack(stream: IO[bytes], file: Path) -> None:
    with atomic_path(file) as beside, gzip.open(stream) as packed, beside.open("wb") as plain:
        shutil.copyfileobj(packed, plain)


def fetch_cifar10(root: Path) -> None:
    """Fetch the binary version of CIFAR-10, unless all its files are there, and unpack those files alone."""
    if all(cifar.missing(root, part) is None for part in (TRAIN, TEST)):
        return
    archive = root / cifar.URL.rsplit("/", 1)[1]
    with _said("CIFAR-10", root):
        download(cifar.URL, archive, cifar.MD5)
        wanted = {f"{cifar.FOLDER}/{file}" for part in (TRAIN, TEST) for file in cifar.FILES[part]}
        with tarfile.open(archive) as members:
            for member in members:
                # Names are compared, never followed: what an archive calls its files is not where we write.
                if member.name in wanted and member.isfile():
                    stream = members.extractfile(member)
                    assert stream is not None
                    with atomic_path(root / cifar.FOLDER / member.name.rsplit("/", 1)[1]) as beside:
                        beside.write_bytes(stream.read())
        archive.unlink()


def fetch_svhn(root: Path) -> None:
    """Fetch the two files of SVHN's cropped digits that are not there."""
    from torchvision.datasets import SVHN

    for part in (TRAIN, TEST):
        file = svhn.missing(root, part)
        if file is not None:
            url, _, md5 = SVHN.split_list[part]
            with _said("SVHN", root):
                download(url, file, md5)


@contextmanager
def _said(title: str, root: Path) -> Iterator[None]:
    """Any failure as a `UsageError` of one line."""
    try:
        yield
    except Exception as error:
        # From URLError to BadZipFile; the last line is a reason.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise UsageError(f"--download: {title} could not be fetched into {root}: {reason}") from error


FETCH: dict[str, Callable[[Path], None]] = {"cifar10": fetch_cifar10, "svhn": fetch_svhn}
