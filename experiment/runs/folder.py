"""The run folder: what a run leaves, written so that a kill or a full disk costs no more than the last step.

    with RunFolder.create(path, overwrite=False) as run:
        run.start_manifest({"seed": 0})
        run.write_text("config.toml", text)
        run.append_metrics(rows)
        run.save_checkpoint(state)
        run.update_manifest(status="done")

Every whole file is written beside its final name, flushed to the disk and renamed, so a name always holds
either the old contents or the new. `metrics.jsonl` is appended to instead; a last line that a kill has torn
is left out when it is read, and cut off when the run is opened to go on. An exclusive lock on `.lock` keeps a
second run out. Faults of the folder that the user chose are `UsageError`, found before training; a disk that
fills up later is a `RunError`; both name the file.
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
SUMMARY = "summary.json"
RECALL = "recall.json"
REPORT = "report.html"
PLOTS = "plots"
TENSORBOARD = "tensorboard"

# All that a run writes, and therefore all that `overwrite` may remove.
RUN_FILES = (CONFIG, METRICS, SIGNS, POSTERIOR, CHECKPOINT, PREVIOUS, EPOCHS, SUMMARY, RECALL, REPORT)

# How a manifest is known to be ours, and not the manifest.json of a web page.
MADE_BY = "mh-naming-game"
STATUSES = ("running", "done", "failed", "interrupted")
# What a manifest cannot say: the run was to go on, and nobody holds its folder.
KILLED = "killed"

log = logging.getLogger("mhng")


class RunFolder:
    """A run folder that this process holds, at `path`. Close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._lock: int | None = None
        self._newest_damaged = False

    # -- opening and closing -----------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, overwrite: bool) -> RunFolder:
        """Take `path` for a new run: an empty or absent folder, or with `overwrite` an earlier run's.

        Overwriting removes what a run writes (`RUN_FILES`, plots/, tensorboard/) and nothing else, and only in a
        folder with a manifest of ours. A refusal is a `UsageError` that names --run-dir and changes no file.
        """
        run = cls(path)
        with run._opening(f"--run-dir {path}"):
            run.path.mkdir(parents=True, exist_ok=True)
            run._refuse_unless_free(overwrite)
            run._lock = take_lock(run.path)
            run._refuse_unless_free(overwrite)  # another run may have come and gone before we had the lock
            if _contents(run.path):
                # Before the rest goes, the manifest stops saying "done" but still says whose folder it is.
                run.start_manifest({})
            _remove_run(run.path)
        return run

    @classmethod
    def open(cls, path: Path, *, lock: bool = True) -> RunFolder:
        """An existing run. `lock=False` is for commands that only read, also while the run goes on."""
        run = cls(path)
        with run._opening(f"run folder {path}"):
            if not run.path.is_dir():
                raise FileNotFoundError("it is a file" if run.path.exists() else "there is no such folder")
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
        """The run has not begun: a folder that cannot be used is the user's to change, and is let go."""
        try:
            yield
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | RunError | ValueError):  # ValueError: a null byte in the name
                raise UsageError(f"{name} cannot be used: {error_line(error)}") from error
            raise

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None

    def _refuse_unless_free(self, overwrite: bool) -> None:
        """`UsageError` unless the folder is empty or, with `overwrite`, holds a run."""
        if not _contents(self.path):
            return
        name = f"--run-dir {self.path} is not empty"
        if not overwrite:
            raise UsageError(f"{name}: give another folder, or --resume or --overwrite it")
        try:
            self.read_manifest()
        except UsageError:
            reason = f"holds no {MANIFEST} of a run: --overwrite only replaces a run"
            raise UsageError(f"{name} and {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file(self, name: str) -> Path:
        """The path of the run's file `name`."""
        return self.path / name

    def result(self, name: str) -> Path:
        """The path of a file that the last round writes; `UsageError` if it is not there."""
        file = self.path / name
        if not file.exists():
            raise UsageError(
                f"{file}: there is no such file; the last round writes it, and the run's status is {self.status!r}"
            )
        return file

    @property
    def status(self) -> str:
        """What the manifest says, one of `STATUSES`, or "killed": it says "running", and no process holds the run."""
        status: str = self.read_manifest()["status"]
        return KILLED if status == "running" and self._lock is None and is_unlocked(self.path) else status

    # -- whole files -------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> Path:
        """Write `text` as UTF-8."""
        target = self.path / name
        with atomic_path(target) as beside:
            # A file name that is not UTF-8 reaches us as lone surrogates; as \udcXX they stay valid JSON.
            beside.write_bytes(text.encode("utf-8", "backslashreplace"))
        return target

    def write_json(self, name: str, obj: object) -> Path:
        """Write `obj` as strict JSON: NaN and infinities become null, arrays and tensors plain numbers."""
        text = json.dumps(to_plain(obj), ensure_ascii=False, allow_nan=False, indent=2)
        return self.write_text(name, text + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the run's file `name`. `UsageError` naming the file if there is none."""
        return parse_json_object(self._read(name), str(self.path / name))

    def write_npz(self, name: str, **arrays: Any) -> Path:
        """Write named arrays, compressed; None is left out. Object arrays, which need pickle, are refused."""
        import numpy as np

        given = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
        for key, value in given.items():
            if value.dtype.hasobject:
                raise TypeError(f"{name}: {key!r} is an object array; give numbers or text")
        target = self.path / name
        with atomic_path(target) as beside, beside.open("wb") as file:
            # mypy takes the names of arrays for the flag allow_pickle
            np.savez_compressed(file, **given)  # type: ignore[arg-type]
        return target

    def read_npz(self, name: str) -> dict[str, Any]:
        """The arrays in the run's file `name`; no pickle is executed. `UsageError` naming the file if it is unfit."""
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
        """Save `state`, tensors and plain values only, as checkpoint.pt; keep the one before it.

        At every instant one of the two is whole. A value that the safe loader would refuse is a TypeError
        now, with its place in `state`, and not at the resume that needs it.
        """
        data = checkpoint_bytes(state)
        newest, previous = self.path / CHECKPOINT, self.path / PREVIOUS
        with atomic_path(newest) as beside:
            beside.write_bytes(data)
            flush_to_disk(beside)  # before the older one goes: the disk may be full only now
            # A newest one known to be damaged must not push out the whole one before it.
            if newest.exists() and not self._newest_damaged:
                os.replace(newest, previous)
        self._newest_damaged = False
        with suppress(OSError):  # of the round that is over now; one that stays is known by its round
            (self.path / EPOCHS).unlink(missing_ok=True)

    def save_epochs(self, state: dict[str, Any]) -> None:
        """Save `state`, of the midst of a round, beside those of whole rounds; the next of these removes it."""
        data = checkpoint_bytes(state)
        with atomic_path(self.path / EPOCHS) as beside:
            beside.write_bytes(data)

    def load_epochs(self) -> dict[str, Any] | None:
        """What `save_epochs` saved last, or None. A damaged one is reported on the "mhng" logger, and is None."""
        file = self.path / EPOCHS
        if not file.exists():
            return None
        try:
            return read_checkpoint(file)
        except Exception as error:  # as in `load_checkpoint`
            log.warning("%s cannot be read (%s); going on from the end of a round", file, error_line(error))
            return None

    def load_checkpoint(self, *, previous: bool = False) -> dict[str, Any]:
        """The newest whole checkpoint, on the CPU, read by the safe loader, which executes no pickle.

        `previous` asks for the one before it. A damaged newest one is reported on the "mhng" logger and the
        previous one is returned. `UsageError` naming the file if neither can be read.
        """
        faults: list[str] = []
        for name in (PREVIOUS,) if previous else (CHECKPOINT, PREVIOUS):
            file = self.path / name
            if not file.exists():
                continue
            try:
                state = read_checkpoint(file)
            except Exception as error:
                # The readers' errors for a cut or foreign file range from EOFError to RuntimeError.
                faults.append(f"{file} cannot be read ({error_line(error)})")
                self._newest_damaged |= name == CHECKPOINT
                continue
            if name == PREVIOUS and not previous:
                reason = faults[0] if faults else f"{self.path / CHECKPOINT} is missing"
                log.warning("%s; going on from the one before, %s", reason, file)
            return state
        raise UsageError("; ".join(faults) if faults else f"{self.path / CHECKPOINT}: there is no checkpoint")

    # -- manifest ----------------------------------------------------------------------------------

    def start_manifest(self, fields: Mapping[str, object]) -> None:
        """Write a new manifest: `fields`, status "running" and the time (ISO 8601, UTC)."""
        now = _now()
        head = {"made_by": MADE_BY, "status": "running", "started": now, "updated": now}
        self.write_json(MANIFEST, head | dict(fields))

    def update_manifest(self, **fields: object) -> None:
        """Change `fields` of the manifest. A status other than "running" also sets the time it finished."""
        manifest = self.read_manifest()
        status = fields.get("status", manifest["status"])
        if status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}; it was {status!r}")
        manifest |= fields
        manifest["updated"] = _now()
        if status == "running":
            manifest.pop("finished", None)
        elif "status" in fields:
            manifest["finished"] = manifest["updated"]
        self.write_json(MANIFEST, manifest)

    def read_manifest(self) -> dict[str, Any]:
        """The manifest as a dict. `UsageError` if it is absent, damaged or another program's."""
        manifest = self.read_json(MANIFEST)
        if manifest.get("made_by") != MADE_BY:
            raise UsageError(f"{self.path / MANIFEST} is not of a run of this program")
        if manifest.get("status") not in STATUSES:
            raise UsageError(f"{self.path / MANIFEST} is damaged: its status is {manifest.get('status')!r}")
        return manifest

    # -- metrics -----------------------------------------------------------------------------------

    def append_metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append one JSON line a row. Either all rows are added or, on a full disk, none and a `RunError`."""
        text = "".join(to_json_line(row) for row in rows)
        file = self.path / METRICS
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        # Unbuffered: after a failure a buffer would still be written when the file is closed.
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
        """Rewrite with the rows that `keep` wants: a resumed run repeats those after its checkpoint."""
        self.write_text(METRICS, "".join(to_json_line(row) for row in self.read_metrics() if keep(row)))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows; none if there is no file. A torn last line is left out; other damage: `UsageError`."""
        file = self.path / METRICS
        if not file.exists():
            return []
        lines = self._read(METRICS).split(b"\n")[:-1]  # what follows the last newline is nothing, or torn
        return [parse_json_object(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]


# -- the folder ------------------------------------------------------------------------------------


def is_free(path: Path) -> bool:
    """Whether a new run may begin in `path`: it is absent, or a folder with no more than a killed run's dregs."""
    return not path.exists() or (path.is_dir() and not _contents(path))


def _contents(path: Path) -> set[Path]:
    """What the folder holds, apart from our lock and the unfinished files of a killed run."""
    return set(path.iterdir()) - _leftovers(path) - {path / LOCK}


def _leftovers(path: Path) -> set[Path]:
    """The unfinished files of a killed run."""
    return {file for name in (MANIFEST, *RUN_FILES) for file in path.glob(f".{name}.*.tmp")}


def _remove_run(path: Path) -> None:
    """Remove what an earlier run wrote, except its manifest."""
    for file in {path / name for name in RUN_FILES} | _leftovers(path):
        file.unlink(missing_ok=True)
    for folder in (path / PLOTS, path / TENSORBOARD):
        if folder.is_symlink():
            folder.unlink()  # what it points at is not ours
        elif folder.is_dir():
            shutil.rmtree(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
