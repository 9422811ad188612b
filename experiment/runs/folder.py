"""The run folder: all files of a run, written so that a kill or a full disk loses at most the last step.

    with RunFolder.create(path, overwrite=False) as run:
        run.start_manifest({"seed": 0})
        run.write_text("config.toml", text)
        run.append_metrics(rows)
        run.save_checkpoint(state)
        run.update_manifest(status="done")

Whole files are written atomically, so that a name always holds the old or the new contents. Rows are appended to
`metrics.jsonl`. Readers skip a last line torn by a kill, and a resumed run removes it. An exclusive lock on `.lock`
keeps a second run out. A folder that cannot be used is a `UsageError`, raised before training. A disk that fills up
later is a `RunError`. Both name the file.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs.checkpoint_io import checkpoint_bytes, read_checkpoint
from mhng.experiment.util.files import atomic_path, disk_errors, error_line, flush_to_disk
from mhng.experiment.util.jsonable import parse_json_object, to_json_line, to_plain
from mhng.experiment.util.locks import LOCK, is_unlocked, release_lock, take_lock

CONFIG = "config.toml"
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
SIGNS = "signs.npz"
POSTERIOR = "posterior.nc"
CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.prev.pt"
EPOCHS = "checkpoint.epochs.pt"
# The checkpoint of the round that the results come from, while a complete run continues with more rounds.
FINISHED = "checkpoint.results.pt"
SUMMARY = "summary.json"
RECALL = "recall.json"
REPORT = "report.html"
PLOTS = "plots"
TENSORBOARD = "tensorboard"

# All files that a run writes. `overwrite` removes these files only.
RUN_FILES = (CONFIG, METRICS, SIGNS, POSTERIOR, CHECKPOINT, PREVIOUS, EPOCHS, FINISHED, SUMMARY, RECALL, REPORT)

# Marks a manifest as written by this program. Web pages have a manifest.json, too.
MADE_BY = "mh-naming-game"
STATUSES = ("running", "done", "failed", "interrupted")
# Status "running" in the manifest, but no process holds the lock.
KILLED = "killed"

log = logging.getLogger("mhng")


class RunFolder:
    """A run folder at `path`, locked by this process. Close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        self._newest_damaged = False

    # -- opening and closing -----------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, overwrite: bool, option: str = "--run-dir", *, resumable: bool = False) -> RunFolder:
        """Create and lock a new run folder; `path` is absent, empty or, with `overwrite`, the folder of a run.

        Overwriting removes the files of a run only (`RUN_FILES`, plots/, tensorboard/, runs of `play`), and only in a
        folder with a manifest of this program. Raises UsageError naming `option` for any other folder and changes no
        file. resumable: the error mentions --resume.
        """
        run = cls(path)
        with run._opening(f"{option} {path}"):
            run.path.mkdir(parents=True, exist_ok=True)
            run._refuse_unless_free(overwrite, option, resumable)
            run._lock = take_lock(run.path)
            # Another run may have used the folder before the lock was taken.
            run._refuse_unless_free(overwrite, option, resumable)
            if _contents(run.path):
                # Before files are removed, the manifest leaves the status "done" but still marks the folder.
                run.start_manifest({})
            _remove_run(run.path)
        return run

    @classmethod
    def open(cls, path: Path, *, lock: bool = True) -> RunFolder:
        """Open the folder of a run. `lock=False` is for commands that only read, also during the run."""
        run = cls(path)
        with run._opening(f"run folder {path}"):
            if not run.path.is_dir():
                raise FileNotFoundError("it is not a folder" if run.path.exists() else "no such folder")
            for name in (MANIFEST, CONFIG):
                if not run.file(name).is_file():
                    raise FileNotFoundError(f"it holds no {name}, so it is not a run")
            run.read_manifest()
            if lock:
                run._lock = take_lock(run.path)
                for file in _leftovers(run.path):
                    file.unlink(missing_ok=True)
                if run.file(METRICS).exists() and not (rows := run._read(METRICS)).endswith(b"\n"):
                    os.truncate(run.file(METRICS), rows.rfind(b"\n") + 1)
        return run

    @contextmanager
    def _opening(self, name: str) -> Iterator[None]:
        """Close the folder on an error, and raise UsageError beginning with `name` if the folder cannot be used."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | RunError | ValueError):  # ValueError: a null byte in the name
                raise UsageError(f"{name} cannot be used: {error_line(error)}") from error
            raise

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None

    def _refuse_unless_free(self, overwrite: bool, option: str, resumable: bool) -> None:
        """Raise UsageError unless the folder is empty or, with `overwrite`, holds a run."""
        if not _contents(self.path):
            return
        name = f"{option} {self.path} is not empty"
        if not overwrite:
            resume = "--resume or " if resumable else ""
            raise UsageError(f"{name}; give another folder, or {resume}--overwrite")
        try:
            self.read_manifest()
        except UsageError:
            raise UsageError(f"{name} and holds no {MANIFEST} of a run; --overwrite replaces only a run") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file(self, name: str) -> Path:
        """Path of the file `name` in the run folder."""
        return self.path / name

    def result(self, name: str) -> Path:
        """Path of a file that the last round writes. Raises UsageError if it does not exist."""
        file = self.path / name
        if not file.exists():
            raise UsageError(
                f"{file} does not exist; the last round writes it, and the status of the run is {self.status!r}"
            )
        return file

    @property
    def status(self) -> str:
        """Status from the manifest (`STATUSES`), or "killed" if it is "running" but no process holds the lock."""
        status: str = self.read_manifest()["status"]
        return KILLED if status == "running" and self._lock is None and is_unlocked(self.path) else status

    # -- whole files -------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> Path:
        """Write `text` as UTF-8."""
        target = self.path / name
        with atomic_path(target) as beside:
            # A file name that is not UTF-8 holds lone surrogates. Written as \udcXX they are valid JSON.
            beside.write_bytes(text.encode("utf-8", "backslashreplace"))
        return target

    def write_json(self, name: str, obj: object) -> Path:
        """Write `obj` as strict JSON. NaN and infinities become null, arrays and tensors become lists."""
        text = json.dumps(to_plain(obj), ensure_ascii=False, allow_nan=False, indent=2)
        return self.write_text(name, text + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read the JSON object in the file `name`. Raises UsageError naming the file."""
        return parse_json_object(self._read(name), str(self.path / name))

    def write_npz(self, name: str, **arrays: Any) -> Path:
        """Write named arrays, compressed; leave out None. Raises TypeError for object arrays, which need pickle."""
        import numpy as np

        present = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
        for key, value in present.items():
            if value.dtype.hasobject:
                raise TypeError(f"{name}: {key!r} is an object array; give numbers or text")
        target = self.path / name
        with atomic_path(target) as beside, beside.open("wb") as file:
            # mypy mistakes the array names for the flag allow_pickle
            np.savez_compressed(file, **present)  # type: ignore[arg-type]
        return target

    def read_npz(self, name: str) -> dict[str, Any]:
        """Read the arrays in the file `name` without executing pickles. Raises UsageError naming the file."""
        from mhng.experiment.util import npz
        from mhng.experiment.util.memory import check_fits

        file = self.path / name
        with npz.open_archive(file, str(file)) as archive:
            headers = {key: npz.read_header(archive, key, str(file)) for key in npz.array_names(archive)}
            check_fits(str(file), sum(header.bytes for header in headers.values()))
            for key, header in headers.items():
                if header.dtype.hasobject:
                    raise UsageError(f"{file} cannot be read: {key} holds pickles, which are not executed")
            return {key: npz.read_array(archive, key) for key in headers}

    def _read(self, name: str) -> bytes:
        file = self.path / name
        try:
            return file.read_bytes()
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error_line(error)}") from error

    # -- checkpoint --------------------------------------------------------------------------------

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Save `state` (tensors and plain values) as checkpoint.pt, and the previous one as checkpoint.prev.pt.

        One of the two is whole at any time. Raises TypeError for a value that the safe loader would refuse on resume.
        """
        data = checkpoint_bytes(state)
        newest, previous = self.path / CHECKPOINT, self.path / PREVIOUS
        with atomic_path(newest) as beside:
            beside.write_bytes(data)
            flush_to_disk(beside)  # a full disk may show only here, so flush before the old file is replaced
            # A damaged checkpoint must not replace the whole previous one.
            if newest.exists() and not self._newest_damaged:
                os.replace(newest, previous)
        self._newest_damaged = False
        with suppress(OSError):  # obsolete after the round; a leftover file is recognised by its round number
            (self.path / EPOCHS).unlink(missing_ok=True)

    def save_epochs(self, state: dict[str, Any]) -> None:
        """Save `state` between two epochs of a round, in a separate file that `save_checkpoint` removes."""
        data = checkpoint_bytes(state)
        with atomic_path(self.path / EPOCHS) as beside:
            beside.write_bytes(data)

    def keep_checkpoint(self) -> None:
        """Copy checkpoint.pt to checkpoint.results.pt, because later rounds replace it before they have results."""
        with atomic_path(self.path / FINISHED) as beside:
            shutil.copyfile(self.path / CHECKPOINT, beside)

    def load_epochs(self) -> dict[str, Any] | None:
        """Read the file of `save_epochs`; None if it is missing or, with a warning in the log, if it is damaged."""
        try:
            return self._load_if_present(EPOCHS)
        except UsageError as error:
            log.warning("%s; resuming from the last completed round", error)
            return None

    def load_finished(self) -> dict[str, Any] | None:
        """Read the file of `keep_checkpoint`; None if it is missing. Raises UsageError if it is damaged."""
        return self._load_if_present(FINISHED)

    def _load_if_present(self, name: str) -> dict[str, Any] | None:
        """Read a checkpoint; None if it is missing. Raises UsageError if it is damaged."""
        file = self.path / name
        if not file.exists():
            return None
        try:
            return read_checkpoint(file)
        except Exception as error:  # as in `load_checkpoint`
            raise UsageError(f"{file} cannot be read ({error_line(error)})") from error

    def load_checkpoint(self, *, previous: bool = False) -> dict[str, Any]:
        """Read the newest whole checkpoint to the CPU with the safe loader, which executes no pickle.

        If the newest checkpoint is damaged, logs a warning and reads the previous one. `previous` reads the previous
        one directly. Raises UsageError naming the files if none can be read.
        """
        faults: list[str] = []
        for name in (PREVIOUS,) if previous else (CHECKPOINT, PREVIOUS):
            file = self.path / name
            if not file.exists():
                continue
            try:
                state = read_checkpoint(file)
            except Exception as error:
                # Errors for a truncated or foreign file range from EOFError to RuntimeError.
                faults.append(f"{file} cannot be read ({error_line(error)})")
                self._newest_damaged |= name == CHECKPOINT
                continue
            if name == PREVIOUS and not previous:
                reason = faults[0] if faults else f"{self.path / CHECKPOINT} is missing"
                log.warning("%s; using the previous checkpoint, %s", reason, file)
            return state
        if not faults:
            faults = [f"{self.path / CHECKPOINT} does not exist: the run has no checkpoint yet"]
        raise UsageError("; ".join(faults))

    # -- manifest ----------------------------------------------------------------------------------

    def start_manifest(self, fields: Mapping[str, object]) -> None:
        """Write a new manifest with `fields`, the status "running" and the time (ISO 8601, UTC)."""
        now = _now()
        head = {"made_by": MADE_BY, "status": "running", "started": now, "updated": now}
        self.write_json(MANIFEST, head | dict(fields))

    def update_manifest(self, **fields: object) -> None:
        """Update `fields` of the manifest. A status other than "running" also sets the time "finished"."""
        manifest = self.read_manifest()
        status = fields.get("status", manifest["status"])
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; it is {status!r}")
        manifest |= fields
        manifest["updated"] = _now()
        if status == "running":
            manifest.pop("finished", None)
        elif "status" in fields:
            manifest["finished"] = manifest["updated"]
        self.write_json(MANIFEST, manifest)

    def read_manifest(self) -> dict[str, Any]:
        """Read the manifest. Raises UsageError if it is missing, damaged or from another program."""
        manifest = self.read_json(MANIFEST)
        if manifest.get("made_by") != MADE_BY:
            raise UsageError(f"{self.path / MANIFEST} was not written by this program")
        if manifest.get("status") not in STATUSES:
            raise UsageError(f"{self.path / MANIFEST} is damaged: its status is {manifest.get('status')!r}")
        return manifest

    # -- metrics -----------------------------------------------------------------------------------

    def append_metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append one JSON line per row: all rows or, on a full disk, none. Raises RunError."""
        text = "".join(to_json_line(row) for row in rows)
        file = self.path / METRICS
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        # Unbuffered, because closing the file after a failure would still write the buffer.
        with disk_errors(file), file.open("ab", buffering=0) as out:
            end = out.seek(0, os.SEEK_END)
            try:
                while left:
                    left = left[out.write(left) :]
            except BaseException:
                with suppress(OSError):
                    out.truncate(end)
                raise

    def truncate_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep the rows for which `keep` is true. A resumed run repeats the rows after its checkpoint."""
        self.write_text(METRICS, "".join(to_json_line(row) for row in self.read_metrics() if keep(row)))

    def read_metrics(self) -> list[dict[str, Any]]:
        """Read all rows, without a torn last line; none if the file is missing. Raises UsageError for other damage."""
        file = self.path / METRICS
        if not file.exists():
            return []
        lines = self._read(METRICS).split(b"\n")[:-1]  # the part after the last newline is empty or torn
        return [parse_json_object(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


# -- contents of a folder --------------------------------------------------------------------------


def files_of(path: Path) -> list[Path]:
    """The files of the run in `path`."""
    return [path / name for name in (MANIFEST, *RUN_FILES)]


def new_path(name: str) -> Path:
    """The path `name` in runs/, with a number if it exists."""
    path, number = Path("runs") / name, 1
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{name}-{number}")
    return path


def is_free(path: Path) -> bool:
    """Whether a new run can start in `path`: absent, or without files except leftovers of a killed run."""
    return not path.exists() or (path.is_dir() and not _contents(path))


def _contents(path: Path) -> set[Path]:
    """Contents of the folder without the lock file and the leftovers of a killed run."""
    return set(path.iterdir()) - _leftovers(path) - {path / LOCK}


def _leftovers(path: Path) -> set[Path]:
    """Temporary files of a killed run."""
    return {file for name in (MANIFEST, *RUN_FILES) for file in path.glob(f".{name}.*.tmp")}


def _remove_run(path: Path) -> None:
    """Remove all files of an earlier run except its manifest."""
    for file in {path / name for name in RUN_FILES} | _leftovers(path):
        file.unlink(missing_ok=True)
    for folder in (path / PLOTS, path / TENSORBOARD, *_played_runs(path)):
        if folder.is_symlink():
            folder.unlink()  # its target does not belong to the run
        elif folder.is_dir():
            shutil.rmtree(folder)


def _played_runs(path: Path) -> list[Path]:
    """Folders of the command `play`, whose agents are those of the run in `path`."""
    played = []
    for manifest in path.glob(f"play-*/{MANIFEST}"):
        with suppress(UsageError):
            if "played_from" in RunFolder(manifest.parent).read_manifest():
                played.append(manifest.parent)
    return played


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
