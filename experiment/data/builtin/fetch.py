"""Download data sets into --data-root (`--download`).

Addresses and checksums are those of torchvision or of the data set's page. A file gets its final name only after its
checksum is verified (`mhng.experiment.data.builtin.http`). An interrupted download leaves no file that a run would
read, and the next download resumes it.
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
    """Fetch and unpack the absent and damaged files of the idx set `name`. Raises UsageError."""
    idx_set = idx_sets.IDX_SETS[name]
    raw = root / idx_set.folder / "raw"
    files = [file for part in (TRAIN, TEST) for file in idx_set.files(part)]
    with _usage_errors(idx_set.folder, root):
        absent = [
            file
            for file in files
            if idx_sets.existing_file(name, raw / file) != raw / file or idx_sets.is_damaged(raw / file)
        ]
    if not absent:
        return
    import torchvision.datasets

    published = getattr(torchvision.datasets, idx_set.folder)
    with _usage_errors(idx_set.folder, root):
        if idx_set.split is None:
            checksums = dict(published.resources)
            for file in absent:
                packed = raw / f"{file}.gz"
                _fetch_any([mirror + packed.name for mirror in published.mirrors], packed, checksums[packed.name])
                with packed.open("rb") as stream:
                    _unpack(stream, raw / file)
        else:
            # The archive holds all six EMNIST sets; it is kept for the other five.
            archive = raw / published.url.rsplit("/", 1)[1]
            download(published.url, archive, published.md5)
            with zipfile.ZipFile(archive) as members:
                for file in absent:
                    with members.open(f"gzip/{file}.gz") as stream:
                        _unpack(stream, raw / file)


def _fetch_any(urls: Sequence[str], file: Path, md5: str) -> None:
    """Fetch from the first address that works. Raises the error of the last address if none does."""
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
    """Fetch the binary version of CIFAR-10, unless all its files are whole, and unpack those files only."""
    archive = root / cifar.URL.rsplit("/", 1)[1]
    with _usage_errors("CIFAR-10", root):
        if all(cifar.is_whole(root / cifar.FOLDER / file) for part in (TRAIN, TEST) for file in cifar.FILES[part]):
            return
        download(cifar.URL, archive, cifar.MD5)
        wanted = {f"{cifar.FOLDER}/{file}" for part in (TRAIN, TEST) for file in cifar.FILES[part]}
        with tarfile.open(archive) as members:
            for member in members:
                # Names are compared, never used as paths: a member such as ../x must not be written.
                if member.name in wanted and member.isfile():
                    stream = members.extractfile(member)
                    assert stream is not None
                    with atomic_path(root / cifar.FOLDER / member.name.rsplit("/", 1)[1]) as beside:
                        beside.write_bytes(stream.read())
        archive.unlink()


def fetch_svhn(root: Path) -> None:
    """Fetch the files of SVHN's cropped digits that are absent, or have another checksum."""
    from torchvision.datasets import SVHN

    for part in (TRAIN, TEST):
        url, _, md5 = SVHN.split_list[part]
        with _usage_errors("SVHN", root):
            download(url, root / svhn.FILES[part], md5)


@contextmanager
def _usage_errors(title: str, root: Path) -> Iterator[None]:
    """Turn any failure into a UsageError of one line."""
    try:
        yield
    except Exception as error:
        # Many types, from URLError to BadZipFile. The last line of a long message holds the reason.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise UsageError(f"--download: {title} cannot be fetched into {root}: {reason}") from error


FETCH: dict[str, Callable[[Path], None]] = {"cifar10": fetch_cifar10, "svhn": fetch_svhn}
