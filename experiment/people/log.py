"""The log of a study: a file for each participant, an event a line, each flushed to the disk before it counts.

A page that is answered is in the log. A process that is killed leaves at most one line without an end; its event was
never confirmed to the browser, and it is cut when the study is opened again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import flush_to_disk
from mhng.experiment.util.jsonable import parse_json_object, to_json_line

VERSION = 1
LOGS = "logs"
# Places of participants who were deleted: their places are not given again.
FORGOTTEN = "forgotten.jsonl"

_PARTICIPANT = re.compile(r"[0-9a-f]{16}")


class Logs:
    """The logs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / LOGS

    def file(self, participant: str) -> Path:
        """The log of a participant."""
        if not is_participant(participant):
            raise ValueError(f"{participant!r} is not the name of a participant")
        return self.folder / f"{participant}.jsonl"

    def participants(self) -> list[str]:
        """All participants that have a log, sorted."""
        try:
            found = [path.stem for path in self.folder.iterdir() if path.suffix == ".jsonl" and path.is_file()]
        except FileNotFoundError:
            return []
        return sorted(filter(is_participant, found))

    def create(self, participant: str, event: Mapping[str, Any]) -> None:
        """Begin a log with its first event. Raises FileExistsError if there is one, OSError if it cannot be kept."""
        self.folder.mkdir(exist_ok=True)
        file = self.file(participant)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(descriptor, event)
            os.fsync(descriptor)
            flush_to_disk(self.folder)
        except OSError:
            file.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def append(self, participant: str, event: Mapping[str, Any]) -> None:
        """Add an event, before `flush`. Raises FileNotFoundError for a deleted log, OSError for a full disk."""
        descriptor = os.open(self.file(participant), os.O_WRONLY | os.O_APPEND)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write(descriptor, event)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def flush(self, participant: str) -> None:
        """Flush a log to the disk. Raises FileNotFoundError for a deleted log, OSError if that fails."""
        flush_to_disk(self.file(participant))

    def read(self, participant: str) -> list[dict[str, Any]]:
        """All events. A last line without an end is left out. Raises UsageError for another damage."""
        file = self.file(participant)
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from error
        lines = data.split(b"\n")[:-1]
        return _events(lines, file)

    def first(self, participant: str) -> dict[str, Any]:
        """The first event. Raises UsageError if it is damaged."""
        file = self.file(participant)
        with file.open("rb") as opened:
            return _events([opened.readline()], file)[0]

    def repair(self) -> list[str]:
        """Cut last lines without an end, and remove logs without a whole line; returns the participants."""
        repaired = []
        for participant in self.participants():
            file = self.file(participant)
            data = file.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole == len(data) > 0:
                continue
            repaired.append(participant)
            if whole == 0:
                file.unlink()
                continue
            with file.open("r+b") as opened:
                opened.truncate(whole)
            flush_to_disk(file)
        return repaired

    def forget(self, participant: str) -> None:
        """Delete a log. Only its place in the order of conditions stays. Raises UsageError without a log."""
        file = self.file(participant)
        if not file.exists():
            raise UsageError(f"{self.folder} holds no participant {participant}")
        try:
            first = self.first(participant)
        except UsageError:  # a damaged log can be deleted too; its place is unknown
            first = {}
        place = {key: first.get(key) for key in ("slot", "bot")}
        if type(place["slot"]) is int:
            self._add_place(place)
        file.unlink()
        flush_to_disk(self.folder)

    def _add_place(self, place: Mapping[str, Any]) -> None:
        descriptor = os.open(self.folder / FORGOTTEN, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write(descriptor, place)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def forgotten(self) -> list[dict[str, Any]]:
        """The places of deleted participants."""
        file = self.folder / FORGOTTEN
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return []
        return _events(data.split(b"\n")[:-1], file)


def is_participant(text: str) -> bool:
    """Whether a text is the name of a participant: 16 hexadecimal digits."""
    return _PARTICIPANT.fullmatch(text) is not None


def _write(descriptor: int, event: Mapping[str, Any]) -> None:
    data = to_json_line(event).encode()
    while data:
        data = data[os.write(descriptor, data) :]


def _events(lines: list[bytes], file: Path) -> list[dict[str, Any]]:
    return [parse_json_object(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]
