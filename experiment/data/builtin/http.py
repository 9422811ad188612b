"""Resumable downloads with checksums.

An incomplete download is kept beside the file as .NAME.part. The next download requests the remaining range (RFC 9110,
section 14); a server without ranges sends the whole file. If the checksum does not match, the file is fetched once
more from the start. Neither urllib nor torchvision's downloader resumes a file.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom, BufferedReader
from pathlib import Path
from urllib.error import HTTPError

from mhng.experiment.util.locks import fcntl

_CHUNK = 1 << 18
# Seconds without a byte after which a download fails
_TIMEOUT = 60.0
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


def download(url: str, file: Path, md5: str) -> None:
    """Download `url` to `file`, unless the file exists with that checksum.

    A second command that downloads the same file waits for the first. Raises OSError, HTTPException or ValueError with
    one line; the incomplete part is kept, unless its checksum is wrong.
    """
    if has_md5(file, md5):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with _locked(part) as stream:
        if has_md5(file, md5):  # another command fetched it meanwhile
            part.unlink()
            return
        size = stream.seek(0, os.SEEK_END)
        if not ((size and _md5(stream) == md5) or _resume(url, stream, md5)):
            # The old part may belong to another version of the file.
            stream.truncate(0)
            if not (size and _resume(url, stream, md5)):
                part.unlink()
                raise ValueError(f"the download from {url} is corrupted: its MD5 is not {md5}")
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(part, file)


def has_md5(file: Path, md5: str) -> bool:
    """Whether the file exists and has that MD5."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return _md5(stream) == md5


def _md5(stream: BufferedRandom | BufferedReader) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _locked(part: Path) -> Iterator[BufferedRandom]:
    """Open the file and lock it against other commands."""
    while True:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            # The previous holder of the lock may have renamed or removed the file.
            if part.exists() and os.path.samestat(part.stat(), os.fstat(stream.fileno())):
                yield stream
                return


def _resume(url: str, stream: BufferedRandom, md5: str) -> bool:
    """Append the missing bytes. Returns whether the whole then has that MD5."""
    at = stream.seek(0, os.SEEK_END)
    headers = {"User-Agent": "mh-naming-game"} | ({"Range": f"bytes={at}-"} if at else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()
        if at and error.code == _RANGE_NOT_SATISFIABLE:  # the part is longer than the file
            return False
        raise
    with response:
        if at and response.status == _PARTIAL_CONTENT:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {at}-"):
                return False
        else:
            stream.seek(0)
            stream.truncate()
            at = 0
        _copy(response, stream, at)
    return _md5(stream) == md5


def _copy(response: http.client.HTTPResponse, stream: BufferedRandom, at: int) -> None:
    """Append the response, with a progress bar on a terminal. Raises OSError if the connection breaks."""
    from tqdm import tqdm

    length = response.length
    total = None if length is None else at + length
    reason = "the connection was closed"
    with tqdm(total=total, initial=at, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        try:
            while piece := response.read(_CHUNK):
                stream.write(piece)
                at += len(piece)
                bar.update(len(piece))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            total = total or -1
    stream.flush()
    if total is not None and at != total:
        of = f" of {total:,}" if total > 0 else ""
        raise OSError(f"the download stopped after {at:,}{of} bytes ({reason}); repeat the command to resume it")
