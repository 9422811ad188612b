"""--download: data sets fetched into --data-root, by torchvision's own downloaders where it has one.

What comes is held against the checksum that the data set's makers published, and has its final name only after that:
a download that is cut off leaves nothing that a later run would read.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from experiment.data import cifar, idx_sets, svhn
from experiment.data.source import TEST, TRAIN
from experiment.errors import UsageError
from experiment.store import atomic_path


def idx(name: str, root: Path) -> None:
    """Let torchvision fetch the idx set `name`, unless its unpacked training files are there. `UsageError`."""
    its = idx_sets.IDX_SETS[name]
    raw = root / its.folder / "raw"
    # Packed files do not count: an interrupted download leaves half of one; torchvision checks them.
    if all(idx_sets.found(name, raw / file) == raw / file for file in its.files(TRAIN)):
        return
    import torchvision.datasets

    # torchvision leaves a file whose checksum is wrong where the next run would read it.
    with _said(its.folder, root), _swept(raw, "*.gz"), _swept(raw, "*.zip"):
        options = {} if its.split is None else {"split": its.split}
        getattr(torchvision.datasets, its.folder)(root, download=True, **options)


def cifar10(root: Path) -> None:
    """Fetch the binary version of CIFAR-10, unless all its files are there, and unpack those files alone."""
    if all(cifar.missing(root, part) is None for part in (TRAIN, TEST)):
        return
    archive = root / cifar.URL.rsplit("/", 1)[1]
    with _said("CIFAR-10", root):
        _fetch(cifar.URL, archive, cifar.MD5)
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


def svhn_digits(root: Path) -> None:
    """Fetch the two files of SVHN's cropped digits that are not there."""
    from torchvision.datasets import SVHN

    for part in (TRAIN, TEST):
        file = svhn.missing(root, part)
        if file is not None:
            url, _, md5 = SVHN.split_list[part]
            with _said("SVHN", root):
                _fetch(url, file, md5)


def _fetch(url: str, file: Path, md5: str) -> None:
    """Fetch `url` as `file`, which a whole one of that checksum already may be."""
    from torchvision.datasets.utils import check_integrity, download_url

    if check_integrity(str(file), md5):
        return
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        download_url(url, str(part.parent), part.name, md5)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _said(title: str, root: Path) -> Iterator[None]:
    """Any failure as a `UsageError` of one line."""
    try:
        yield
    except Exception as error:
        # From URLError to RuntimeError, over as many lines as there are mirrors: the last line is a reason.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise UsageError(f"--download: {title} could not be fetched into {root}: {reason}") from error


@contextmanager
def _swept(folder: Path, pattern: str) -> Iterator[None]:
    """After a failure, files of that pattern that were not there before are removed."""
    before = set(folder.glob(pattern))
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for file in set(folder.glob(pattern)) - before:
                file.unlink()
        raise


FETCH: dict[str, Callable[[Path], None]] = {"cifar10": cifar10, "svhn": svhn_digits}
