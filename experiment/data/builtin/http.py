"""Downloads that go on where they broke off, and have their final name only when their checksum is right.

What has come so far lies beside the file as .NAME.part, which no reader looks for. The next download asks the server
for the rest (RFC 9110, section 14); a server that cannot do that sends all of it again. Whether what was there and
what came fit together the checksum says, and if they do not, all is fetched anew, once. Neither urllib nor
torchvision's own downloader goes on with a file.
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
# Seconds without a byte after which a server is given up
_PATIENCE = 60.0
_PARTIAL, _NOTHING_THERE = 206, 416


def download(url: str, file: Path, md5: str) -> None:
    """Fetch `url` as `file`, unless it is there and has that checksum.

    OSError, HTTPException or ValueError of one line if it cannot be fetched; what has come so far is kept for the next
    time, unless its checksum is wrong. A second command that fetches the same file waits for the first.
    """
    if has_md5(file, md5):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with _held(part) as stream:
        if has_md5(file, md5):  # fetched while this command waited
            part.unlink()
            return
        begun = stream.seek(0, os.SEEK_END)
        if not ((begun and _md5(stream) == md5) or _is_filled(url, stream, md5)):
            # What was there may be of a file that has changed since.
            stream.truncate(0)
            if not (begun and _is_filled(url, stream, md5)):
                part.unlink()
                raise ValueError(f"what came from {url} is corrupted: its MD5 is not {md5}")
        stream.flush()
        os.fsync(stream.fileno())
        os.replace(part, file)


def has_md5(file: Path, md5: str) -> bool:
    """Whether there is such a file, and it has that checksum."""
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return _md5(stream) == md5


def _md5(stream: BufferedRandom | BufferedReader) -> str:
    stream.seek(0)
    return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextmanager
def _held(part: Path) -> Iterator[BufferedRandom]:
    """The file, opened, which no other command writes to meanwhile."""
    while True:
        with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
            if fcntl is not None:
                fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever had it before may have given it its final name, or removed it.
            if part.exists() and os.path.samestat(part.stat(), os.fstat(stream.fileno())):
                yield stream
                return


def _is_filled(url: str, stream: BufferedRandom, md5: str) -> bool:
    """Append what is missing; whether all of it has that checksum then."""
    at = stream.seek(0, os.SEEK_END)
    headers = {"User-Agent": "mh-naming-game"} | ({"Range": f"bytes={at}-"} if at else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE)
    except HTTPError as error:
        error.close()
        if at and error.code == _NOTHING_THERE:  # there is more here than the server has
            return False
        raise
    with response:
        if at and response.status == _PARTIAL:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {at}-"):
                return False
        else:
            stream.seek(0)
            stream.truncate()
            at = 0
        _copy(response, stream, at)
    return _md5(stream) == md5


def _copy(response: http.client.HTTPResponse, stream: BufferedRandom, at: int) -> None:
    """Append what the server sends, with a bar on a terminal. OSError if it breaks off."""
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
        raise OSError(f"it broke off after {at:,}{of} bytes ({reason}); the same command goes on from there")
