"""Output of a command: to --out FILE, written atomically, or to stdout and stderr, which may fail at any time."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import atomic_path, error_line

# The largest number of characters in an error message: a path alone may have 4,096.
MAX_MESSAGE = 6_000


class Stream:
    """A text stream that escapes what its encoding lacks and, if `steady`, drops what cannot be written.

    Characters become \\uXXXX, which is valid in JSON. After a failure the descriptor leads to the null device, so that
    what is still buffered does not fail again when the program exits.
    """

    def __init__(self, stream: Any, *, steady: bool) -> None:
        self._stream = stream
        self._steady = steady
        self.error: BaseException | None = None  # the first failure

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            self.write(text.encode(encoding, _ESCAPE).decode(encoding))
        except (OSError, ValueError) as error:  # ValueError: the stream was closed in this process
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._steady:
            raise error
        if self.error is None:
            self.error = error
            to_null_device(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def to_null_device(stream: Any) -> None:
    """Redirect a stream that failed to the null device. Its buffer and all later output are discarded."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def streams(*, steady: bool) -> Iterator[None]:
    """Replace stdout and stderr by a `Stream` for the block; a failure of stderr never matters.

    steady: a failure of stdout does not matter either, because the results are in files. At the end, one line on
    stderr reports the failure, unless the reader of stdout has ended, as `head` does.
    """
    before = sys.stdout, sys.stderr
    out = None if sys.stdout is None else Stream(sys.stdout, steady=steady)
    sys.stdout, sys.stderr = out, None if sys.stderr is None else Stream(sys.stderr, steady=True)
    try:
        yield
    finally:
        if out is not None and steady:
            out.flush()
            if out.error is not None and not isinstance(out.error, BrokenPipeError):
                print_note(f"note: stdout cannot be written ({error_line(out.error)}); the results are in files")
        sys.stdout, sys.stderr = before


def open_standard_streams() -> None:
    """Open the null device in place of a closed stdin, stdout or stderr.

    Else the next file to be opened would take its descriptor, and a library that prints would write into that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free descriptor


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4)), error.end


_ESCAPE = "mhng.escape"
codecs.register_error(_ESCAPE, _escape)


def check_out(out: Path, read: Sequence[Path]) -> None:
    """Raise UsageError unless `out` is a new path or an existing file that is not among the input files `read`."""
    try:
        if out.exists() and not out.is_file():
            raise UsageError(f"--out {out} exists and is not a file")
        if out.parent.exists() and not out.parent.is_dir():
            raise UsageError(f"--out {out}: {out.parent} is not a folder")
        if out.parent.exists() and not os.access(out.parent, os.W_OK):
            raise UsageError(f"--out {out}: the folder {out.parent} cannot be written; give a file in another folder")
        if out.exists() and any(file.exists() and file.samefile(out) for file in read):
            raise UsageError(f"--out {out} is an input file; give another path")
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error


def write_out(parts: Iterable[str], out: Path | None) -> None:
    """Write the parts of a text to the file, or to stdout if `out` is None."""
    # A file name that is not UTF-8 holds lone surrogates. Written as \udcXX they are valid in JSON and CSV.
    data = (part.encode("utf-8", "backslashreplace") for part in parts)
    if out is None:
        for part in data:
            print(part.decode("utf-8"), end="")
        return
    with atomic_path(out) as beside, beside.open("wb") as file:
        file.writelines(data)


def print_report(
    report: Mapping[str, Any], to_lines: Callable[[Mapping[str, Any]], Iterable[str]], *, as_json: bool
) -> None:
    """Print the report of a command on stdout: one JSON object, or lines of text."""
    if as_json:
        print(json.dumps(report, allow_nan=False, ensure_ascii=False, indent=2))
    else:
        for line in to_lines(report):
            print(line)


def is_terminal(stream: Any) -> bool:
    """Whether stdout or stderr is a terminal; it is None if the caller closed it."""
    return stream is not None and bool(stream.isatty())


def print_note(text: str) -> None:
    """Print a line on stderr, if there is a stderr."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def complain(message: str, code: int) -> int:
    """Print one line on stderr; returns `code`. Names in it may come from files, so control characters are escaped."""
    text = " ".join(message.splitlines())
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # a lost terminal
            print(text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}...", file=sys.stderr)
    return code
