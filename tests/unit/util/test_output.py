"""Printing: letters that an encoding lacks, streams that are closed or lost."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.util.output import (
    check_out,
    open_standard_streams,
    print_note,
    streams,
    to_null_device,
    write_out,
)

WORDS = "実験 ± é 😀 \udcff"


class Lost(io.StringIO):
    """A terminal that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


class Left(io.StringIO):
    """A reader that left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8", "shift-jis"])
def test_letters_that_cannot_be_shown_are_escaped_and_json_stays_json(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, file in files.items():
        monkeypatch.setattr(sys, name, file)
    with streams(steady=False):
        print(json.dumps(WORDS, ensure_ascii=False))
        write_out([json.dumps([WORDS], ensure_ascii=False), "\n"], None)
        print_note(WORDS)
        sys.stdout.flush()
    assert sys.stdout is files["stdout"] and sys.stderr is files["stderr"]
    lines = files["stdout"].buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert [json.loads(line) for line in lines] == [WORDS, [WORDS]]
    assert files["stderr"].buffer.getvalue().decode(encoding).count("\\u") == {  # type: ignore[attr-defined]
        "ascii": 7, "cp1252": 5, "utf-8": 1, "shift-jis": 4,
    }[encoding]  # fmt: skip


def test_a_lost_stdout_costs_a_note_where_the_results_are_in_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for stream, note in ((Lost(), "note: stdout cannot be written (Input/output error); the results are in files\n"),
                         (Left(), "")):  # fmt: skip
        monkeypatch.setattr(sys, "stdout", stream)
        with streams(steady=True):
            for _ in range(3):
                print("row")
        assert sys.stdout is stream and capsys.readouterr().err == note
        with pytest.raises(OSError, match=r"Broken pipe|Input"), streams(steady=False):
            print("row")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    with streams(steady=True):
        print("row")
    assert "I/O operation on closed file" in capsys.readouterr().err


def test_a_lost_stderr_never_matters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from tqdm import tqdm

    for stream in (Lost(), None):
        monkeypatch.setattr(sys, "stderr", stream)
        with streams(steady=False):
            print_note("x")
            logging.getLogger("mhng.test").warning("x")
            if stream is not None:
                assert list(tqdm([1, 2], file=sys.stderr)) == [1, 2]
            print("out")
    assert capsys.readouterr().out == "out\n" * 2


def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_out(tmp_path / "file", [])
    check_out(tmp_path / "new" / "file", [])
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match=r"--out .*file: the folder .* cannot be written; give a file in another"):
        check_out(tmp_path / "file", [])


def test_what_is_left_in_a_buffer_does_not_fail_again(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    stream = open("/dev/full", "w")  # noqa: SIM115
    stream.write("row")
    with pytest.raises(OSError, match="No space left"):
        stream.flush()
    to_null_device(stream)
    stream.close()
    to_null_device(None)


def test_a_closed_descriptor_is_not_that_of_the_next_file(tmp_path: Path) -> None:
    kept = os.dup(0)
    try:
        os.close(0)
        open_standard_streams()
        assert os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev
        with (tmp_path / "file").open("w") as file:
            assert file.fileno() > 2
    finally:
        os.dup2(kept, 0)
        os.close(kept)
