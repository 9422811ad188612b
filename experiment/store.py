"""The run folder: what a run leaves, written so that a kill or a full disk costs no more than the last step.

    with RunFolder.create(path, overwrite=False) as run:
        run.start_manifest({"seed": 0})
        run.write_text("config.toml", text)
        run.append_metrics(rows)
        run.save_checkpoint(state)
        run.update_manifest(status="done")

Every whole file is written beside its final name, flushed to the disk and renamed, so a name always holds
either the old contents or the new. `metrics.jsonl` is appended to instead; a torn last line is dropped when
it is next read or written. An exclusive lock on `.lock` keeps a second run out. Faults of the folder that
the user chose are `UsageError`, found before training; a disk that fills up later is a `RunError`; both
name the file.

torch is imported by the two checkpoint functions only: commands that read a run must start quickly.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import logging
import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any, Self

from experiment.errors import RunError, UsageError

try:
    import fcntl
except ImportError:  # Windows: no lock there, and nothing else differs
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.toml"
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
SIGNS = "signs.npz"
POSTERIOR = "posterior.nc"
CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.prev.pt"
SUMMARY = "summary.json"
REPORT = "report.html"
PLOTS = "plots"

# All that a run writes, and therefore all that `overwrite` may remove.
RUN_FILES = (CONFIG, METRICS, SIGNS, POSTERIOR, CHECKPOINT, PREVIOUS, SUMMARY, REPORT)
LOCK = ".lock"

# How a manifest is known to be ours, and not the manifest.json of a web page.
MADE_BY = "mh-naming-game"
STATUSES = ("running", "done", "failed", "interrupted")

log = logging.getLogger("mhng")


class RunFolder:
    """A run folder that this process holds, at `path`. Close it, or use it as a context manager."""

    def __init__(self, path: Path, lock: int | None = None) -> None:
        self.path = path
        self._lock = lock
        self._made: list[Path] = []  # folders that `create` made, removed again if the run writes nothing
        self._newest_damaged = False

    # -- opening and closing -----------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, overwrite: bool) -> RunFolder:
        """Take `path` for a new run: an empty or absent folder, or with `overwrite` an earlier run's.

        Overwriting removes what a run writes (`RUN_FILES`, plots/) and nothing else, and only in a folder
        with a manifest of ours. A refusal is a `UsageError` that names --run-dir, and leaves everything as
        it was.
        """
        path = Path(path)
        run = cls(path)
        try:
            with _folder_errors(f"--run-dir {path}"):
                run._made = _make_folders(path)
                # An existing lock is tried first ("in use" says more than "not empty"), an absent one is
                # made last (a folder that is refused must not get a file of ours), and then one looks
                # again.
                if (path / LOCK).exists():
                    run._lock = _take_lock(path)
                _refuse_unless_free(path, overwrite)
                if run._lock is None:
                    run._lock = _take_lock(path)
                    _refuse_unless_free(path, overwrite)
                _try_writing(path)
                _sign_lock(run._lock)
                if _contents(path):
                    # Before the rest goes, the manifest stops saying "done" but still says whose folder
                    # this is.
                    run.start_manifest({})
                    _remove_run(path)
                _remove_leftovers(path)
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: Path, *, lock: bool = True) -> RunFolder:
        """An existing run. `lock=False` is for commands that only read, also while the run goes on."""
        path = Path(path)
        run = cls(path)
        try:
            with _folder_errors(f"run folder {path}"):
                if not path.is_dir():
                    raise FileNotFoundError("it is a file" if path.exists() else "there is no such folder")
                for name in (MANIFEST, CONFIG):
                    if not (path / name).is_file():
                        raise FileNotFoundError(f"it holds no {name}, so it is not a run")
                run.read_manifest()
                if lock:
                    run._lock = _take_lock(path)
                    _sign_lock(run._lock)
                    _remove_leftovers(path)
        except BaseException:
            run.close()
            raise
        return run

    def close(self) -> None:
        """Give the lock back. A folder into which nothing was written is left as it was found."""
        if self._lock is not None:
            with suppress(OSError):
                if not _contents(self.path):
                    (self.path / LOCK).unlink()
            _release_lock(self._lock)
            self._lock = None
        _remove_folders(self._made)
        self._made = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file(self, name: str) -> Path:
        """The path of the run's file `name`."""
        return self.path / name

    # -- whole files -------------------------------------------------------------------------------

    def write_text(self, name: str, text: str) -> Path:
        """Write `text` as UTF-8."""
        # A file name that is not UTF-8 reaches us as lone surrogates; written as \udcXX they stay valid JSON.
        return self._write(name, lambda file: file.write(text.encode("utf-8", "backslashreplace")))

    def write_json(self, name: str, obj: object) -> Path:
        """Write `obj` as strict JSON: NaN and infinities become null, arrays and tensors plain numbers."""
        return self.write_text(
            name, json.dumps(to_plain(obj), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        )

    def read_json(self, name: str) -> dict[str, Any]:
        """The JSON object in the run's file `name`. `UsageError` naming the file if there is none."""
        file = self.path / name
        try:
            value = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {_short(error)}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{file} holds no JSON object")
        return value

    def write_npz(self, name: str, **arrays: Any) -> Path:
        """Write named arrays, compressed; None is left out. Object arrays, which need pickle, are refused."""
        import numpy as np

        given = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
        for key, value in given.items():
            if value.dtype.hasobject:
                raise TypeError(f"{name}: {key!r} is an object array; give numbers or text")
        # mypy takes the names of arrays for the flag allow_pickle
        return self._write(name, lambda file: np.savez_compressed(file, **given))  # type: ignore[arg-type]

    def _write(self, name: str, write: Callable[[IO[bytes]], object]) -> Path:
        target = self.path / name
        with atomic_path(target) as beside, beside.open("wb") as file:
            write(file)
        return target

    # -- checkpoint --------------------------------------------------------------------------------

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Save `state`, tensors and plain values only, as checkpoint.pt; the last one becomes
        checkpoint.prev.pt.

        At every instant one of the two is whole. A value that the safe loader would refuse is a TypeError
        now, with its place in `state`, and not at the resume that needs it.
        """
        import torch

        _check_plain(state, "state")
        # In memory first: on a full disk torch's own writer hides the OSError behind a RuntimeError of its
        # own.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        newest, previous = self.path / CHECKPOINT, self.path / PREVIOUS
        with atomic_path(newest) as beside:
            with beside.open("wb") as file:
                file.write(buffer.getbuffer())
            _flush_to_disk(beside)  # before `_keep`: a disk that is full only now costs no older checkpoint
            # A newest one known to be damaged must not push out the whole one before it.
            if newest.exists() and not self._newest_damaged:
                _keep(newest, previous)
        self._newest_damaged = False

    def load_checkpoint(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The newest whole checkpoint, read with `weights_only=True`: a foreign pickle is never executed.

        A damaged newest one is reported on the "mhng" logger and the previous one is returned. `UsageError`
        naming the file if neither can be read.
        """
        import torch

        faults: list[str] = []
        for name in (CHECKPOINT, PREVIOUS):
            file = self.path / name
            if not file.exists():
                continue
            try:
                state = torch.load(file, map_location=map_location, weights_only=True)
                if not isinstance(state, dict):
                    raise TypeError(f"it holds a {type(state).__name__}, not a dict")
            except Exception as error:
                # The readers' errors for a cut or foreign file range from EOFError to RuntimeError.
                faults.append(f"{file} cannot be read ({_short(error)})")
                self._newest_damaged |= name == CHECKPOINT
                continue
            if name == PREVIOUS:
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
        """The manifest as a dict."""
        manifest = _read_manifest(self.path)
        if manifest is None:
            raise UsageError(f"{self.path / MANIFEST} is missing, damaged or not of this program")
        return manifest

    # -- metrics -----------------------------------------------------------------------------------

    def append_metrics(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Append one JSON line a row. Either all rows are added or, on a full disk, none and a `RunError`."""
        text = "".join(_line(row) for row in rows)
        if not text:
            return
        file = self.path / METRICS
        left = memoryview(text.encode("utf-8", "backslashreplace"))
        # Unbuffered: after a failure a buffer would still be written when the file is closed.
        with _disk_errors(file), file.open("ab", buffering=0) as out:
            end = _end_of_last_line(file)
            try:
                out.truncate(end)
                while left:
                    left = left[out.write(left) :]
            except BaseException:
                with suppress(OSError):
                    out.truncate(end)
                raise

    def truncate_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Rewrite with the rows that `keep` wants: a resumed run repeats those after its checkpoint."""
        if (self.path / METRICS).exists():
            self.write_text(METRICS, "".join(_line(row) for row in self.read_metrics() if keep(row)))

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows; none if there is no file. A torn last line is left out; other damage: `UsageError`."""
        file = self.path / METRICS
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UsageError(f"{file}: {_short(error)}") from error
        lines = data.split(b"\n")[:-1]  # what follows the last newline is nothing, or torn
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                raise UsageError(f"{file}, line {number} is not a JSON object") from error
            rows.append(row)
        return rows


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to: renamed to `target` at the end, removed if the block fails.

    For writers that want a path (netCDF, PNG). OSError becomes a `RunError` that names `target`.
    """
    target = Path(target)
    # The process number: two commands may make the same plot at once, and each must rename a file of its own.
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with _disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            _flush_to_disk(beside)
            os.replace(beside, target)
            _flush_to_disk(target.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def to_plain(value: Any) -> Any:
    """`value` as JSON knows it: NaN and infinities become None, arrays and tensors lists."""
    if value is None or isinstance(value, str | bool):
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "tolist"):  # numpy and torch alike, without importing either
        return to_plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")


# -- the folder ------------------------------------------------------------------------------------


def _make_folders(path: Path) -> list[Path]:
    """Make `path` and its parents: those that were absent, outermost first. All or none."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError("it is a file, not a folder")
    absent = [folder for folder in (path, *path.parents) if not folder.exists()]
    made: list[Path] = []
    try:
        for folder in reversed(absent):
            folder.mkdir(exist_ok=True)
            made.append(folder)
    except BaseException:
        _remove_folders(made)
        raise
    return made


def _remove_folders(made: list[Path]) -> None:
    for folder in reversed(made):
        with suppress(OSError):  # somebody has put a file there meanwhile: it stays
            folder.rmdir()


def _contents(path: Path) -> list[str]:
    """What the folder holds, apart from our lock and the unfinished files of a killed run."""
    return [name for name in sorted(os.listdir(path)) if name != LOCK and not _is_leftover(name)]


def _is_leftover(name: str) -> bool:
    return name.endswith(".tmp") and any(name.startswith(f".{file}.") for file in (MANIFEST, *RUN_FILES))


def _remove_leftovers(path: Path) -> None:
    for name in os.listdir(path):
        if _is_leftover(name):
            (path / name).unlink(missing_ok=True)


def _remove_run(path: Path) -> None:
    """Remove what an earlier run wrote, except its manifest."""
    for name in RUN_FILES:
        (path / name).unlink(missing_ok=True)
    plots = path / PLOTS
    if plots.is_symlink():
        plots.unlink()  # what it points at is not ours
    elif plots.is_dir():
        shutil.rmtree(plots)


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest, or None if it is absent, damaged or somebody else's."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("made_by") == MADE_BY else None


def _refuse_unless_free(path: Path, overwrite: bool) -> None:
    """`UsageError` unless the folder is empty or, with `overwrite`, holds a run."""
    if not _contents(path):
        return
    if not overwrite:
        raise UsageError(f"--run-dir {path} is not empty: give another folder, or --resume or --overwrite it")
    if _read_manifest(path) is None:
        raise UsageError(
            f"--run-dir {path} is not empty and holds no {MANIFEST} of a run: --overwrite only replaces a run"
        )


def _try_writing(path: Path) -> None:
    """Write, flush and remove 64 KiB: an unwritable or full folder is found before an hour of training."""
    probe = path / f".{MANIFEST}.{os.getpid()}.tmp"
    try:
        probe.write_bytes(bytes(65536))
        _flush_to_disk(probe)
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _take_lock(path: Path) -> int:
    """Lock `path`/.lock for this process: its descriptor. `BlockingIOError` if another run has it."""
    file = path / LOCK
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(lock, path)
            # The holder before us may have removed the file while we opened it; a lock on that locks nobody
            # out.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(file)):
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _lock(lock: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise BlockingIOError(errno.EWOULDBLOCK, f"it is in use by another run (pid {holder})") from None
    except OSError as error:
        # Some network file systems have no locks. Running there unguarded is better than not at all.
        log.warning("%s cannot be locked (%s): do not aim two runs at it", path, _short(error))


def _sign_lock(lock: int) -> None:
    """Write our process number, for the message that the next one gets."""
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _release_lock(lock: int) -> None:
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)  # worker processes may still hold a copy of the descriptor
    os.close(lock)


# -- files -----------------------------------------------------------------------------------------


def _flush_to_disk(path: Path) -> None:
    """fsync a file, or a folder so that a rename in it lasts."""
    folder = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    except OSError:
        if folder:  # Windows opens no folders; the rename is done all the same
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _keep(newest: Path, previous: Path) -> None:
    """Make `previous` a second name of `newest`, in one step."""
    link = previous.with_name(f".{previous.name}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(newest, link)
    except OSError:
        # No hard links here (FAT, some network file systems): `newest` is absent for a moment, `previous`
        # is whole.
        os.replace(newest, previous)
        return
    try:
        os.replace(link, previous)
    finally:
        link.unlink(missing_ok=True)


def _check_plain(value: Any, place: str) -> None:
    """Raise TypeError at the first value that `torch.load(weights_only=True)` would refuse."""
    import torch

    plain = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
    # Exact types: numpy.float64 is a float to isinstance, and refused by the loader.
    if type(value) in plain or isinstance(value, torch.Tensor):
        return
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_plain(key, f"a key of {place}")
            _check_plain(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple, set):
        for index, item in enumerate(value):
            _check_plain(item, f"{place}[{index}]")
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{place} is a {kind}: a checkpoint holds tensors and plain values only")


def _line(row: Mapping[str, object]) -> str:
    return json.dumps(to_plain(row), ensure_ascii=False, allow_nan=False) + "\n"


def _end_of_last_line(file: Path) -> int:
    """The length of `file` without a torn last line. Reads backwards: the file may be long, a line is not."""
    with file.open("rb") as lines:
        end = lines.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - 4096)
            lines.seek(begin)
            newline = lines.read(end - begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            end = begin
    return 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _short(error: BaseException) -> str:
    """The first line of an error, short enough for a message of one line."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().split("\n")[0][:120].rstrip(". ") or type(error).__name__


@contextmanager
def _disk_errors(file: Path) -> Iterator[None]:
    """The run had begun: a file that cannot be written ends it, with one line."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{file} could not be written: {_short(error)}") from error


@contextmanager
def _folder_errors(name: str) -> Iterator[None]:
    """The run has not begun: a folder that cannot be used is the user's to change."""
    try:
        yield
    except (OSError, RunError, ValueError) as error:  # ValueError: a null byte in the name
        raise UsageError(f"{name} cannot be used: {_short(error)}") from error
