"""Read features of the user from CSV files: one row per object, and one file for all agents or one per agent.

`--label-column` gives the number (-1 is the last) or the name of the label column. By default it is the column `label`
or `labels`, if there is one; `none` means no label column. With several files, row n must be the same object in all of
them. If several files have labels, the labels must be equal.

The first row is a header if no cell outside the label column is a number. It is also a header if these cells count the
columns (0, 1, 2, ... or 1, 2, 3, ...) and there are four or more of them, because pandas writes such headers for
columns without names. `--header yes | no` overrides this rule.

Empty lines are skipped, and so are rows of empty cells at the end. A row of empty cells before another row is an
error. If the file is one of several modalities of an agent, a row whose features are all empty or nan is an object
without this modality.
"""

from __future__ import annotations

import csv
import math
import re
import string
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.data.custom.base import EXACT, CustomData, check_distinct, counting_notes, finite_features
from mhng.experiment.data.labels import LABEL_NAMES, encode_labels
from mhng.experiment.errors import UsageError
from mhng.experiment.util.memory import check_fits
from mhng.experiment.util.paths import check_regular

HEADERS = ("auto", "yes", "no")
# Value of --label-column: no column holds labels
NO_LABELS = "none"
# Column names that often mean classes; a note asks about them
_LABEL_LIKE = ("class", "classes", "target", "targets", "category", "species", "y")
# No name, or the name that pandas gives to a column without one
_UNNAMED = re.compile(r"(Unnamed: [0-9]+(_level_[0-9]+)?)?")
# Least number of cells that count the columns in a header; a shorter row, such as 0, 1, may be an object.
_LEAST_COUNTED = 4


class _Table(NamedTuple):
    features: NDArray[np.floating]  # (N, D)
    labels: list[str] | None
    lines: array[int]  # line number of each row in the file, from 1
    notes: tuple[str, ...]


class Columns(NamedTuple):
    """Columns of a file. titles: names of the features, or None. width: number of columns. labelled: has labels."""

    titles: list[str] | None
    width: int
    labelled: bool

    @property
    def counting(self) -> bool:
        """Whether the names count the columns, so that the row may also be an object."""
        return self.titles is not None and all(_value(title) is not None for title in self.titles)


def read(
    files: Sequence[Path],
    label_column: str | None,
    header: str,
    may_lack: Sequence[bool] = (),
    *,
    flag: str = "--data",
) -> CustomData:
    """Read the objects in `files`. Raises UsageError naming file, line and column of a bad cell.

    may_lack: for each file, whether an object may be missing in it. flag: the option that names the files.
    """
    may_lack = may_lack or [False] * len(files)
    if label_column not in (None, NO_LABELS) and not any(
        read_columns(file, label_column, header, lack, flag=flag).labelled
        for file, lack in zip(files, may_lack, strict=True)
    ):
        raise UsageError(
            f"--label-column {label_column}: no column of {flag} {', '.join(map(str, files))} has this name"
        )
    each = zip(files, may_lack, strict=True)
    tables = [_read(f"{flag} {file}", file, label_column, header, lack) for file, lack in each]
    for file, table in zip(files, tables, strict=True):
        if len(table.features) != len(tables[0].features):
            raise UsageError(
                f"{flag} {files[0]} has {len(tables[0].features)} rows and {file} {len(table.features)}; row n must "
                "be the same object in all files"
            )
    labelled = [(file, table) for file, table in zip(files, tables, strict=True) if table.labels is not None]
    features = tuple(table.features for table in tables)
    notes = tuple(note for table in tables for note in table.notes)
    if not labelled:
        return CustomData(features, None, (), notes=notes)
    (first, one), *others = labelled
    assert one.labels is not None
    labels, class_names = encode_labels(f"{flag} {first}: label", one.labels)
    for file, other in others:
        assert other.labels is not None
        codes, other_names = encode_labels(f"{flag} {file}: label", other.labels)
        differ = np.flatnonzero(np.asarray(class_names)[labels] != np.asarray(other_names)[codes])
        if len(differ):
            n = int(differ[0])
            raise UsageError(
                f"{flag} {file}, line {other.lines[n]}: the label is {other.labels[n]!r} and in {first} "
                f"{one.labels[n]!r}; row n must be the same object in all files"
            )
    return CustomData(features, labels, class_names, notes=notes)


def read_columns(
    file: Path, label_column: str | None, header: str, may_lack: bool, *, flag: str = "--data"
) -> Columns:
    """Read the columns from the first row. Raises UsageError as `read` does."""
    place = f"{flag} {file}"
    with _opened(place, file) as reader:
        first = _first(_rows(reader, may_lack, place), place)
        label, named = _head(first, place, label_column, header, may_lack)
        return Columns(
            [clean_title(title) for number, title in enumerate(first) if number != label] if named else None,
            len(first),
            label is not None,
        )


def _read(place: str, file: Path, label_column: str | None, header: str, may_lack: bool) -> _Table:
    with _opened(place, file) as reader:
        # A number and its comma take at least two characters in the file, and eight bytes as a float.
        check_fits(place, 4 * file.stat().st_size)
        return _parse(reader, place, label_column, header, may_lack)


@contextmanager
def _opened(place: str, file: Path) -> Iterator[Any]:
    """Open the file as CSV rows for the block. Errors of reading become a UsageError that begins with `place`."""
    check_regular(file, place)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            try:
                yield reader
            except csv.Error as error:
                raise UsageError(f"{place}, line {reader.line_num}: {error}") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{place} cannot be read: it is not text in UTF-8") from error


def _parse(reader: Any, place: str, label_column: str | None, header: str, may_lack: bool) -> _Table:
    rows = _rows(reader, may_lack, place)
    first = _first(rows, place)
    width = len(first)
    column, named = _head(first, place, label_column, header, may_lack)
    values, lines = array("d"), array("q")
    labels: list[str] | None = None if column is None else []
    large: dict[int, tuple[Decimal, Decimal]] = {}  # smallest and largest number of columns with numbers beyond EXACT

    def take(row: list[str]) -> None:
        if len(row) != width:
            raise UsageError(f"{place}, line {reader.line_num}: {len(row)} columns; the first row has {width}")
        lacks = may_lack and all(_is_missing(cell) for number, cell in enumerate(row) if number != column)
        for number, cell in enumerate(row):
            if number == column:
                assert labels is not None
                if not cell.strip():
                    raise UsageError(f"{place}, line {reader.line_num}: the label is empty")
                if _is_broken(cell):
                    raise UsageError(
                        f"{place}, line {reader.line_num}: the label has a line break; is a quote not closed?"
                    )
                labels.append(cell.strip())
                continue
            value = _value(cell)
            if lacks:
                value = math.nan
            elif value is None or value - value != 0:  # NaN and infinities
                title = f" ({first[number].strip()[:40]})" if named else ""
                raise UsageError(
                    f"{place}, line {reader.line_num}: column {number + 1}{title} must be a finite number; "
                    f"it is {cell[:40]!r}" + ("" if lines or named else " (--header yes, if that row is a header)")
                )
            elif abs(value) > EXACT:
                exact = Decimal(cell.strip())
                least, most = large.get(number, (exact, exact))
                large[number] = min(least, exact), max(most, exact)
            values.append(value)
        lines.append(reader.line_num)

    if not named:
        take(first)
    for row in rows:
        take(row)
    if not lines:
        raise UsageError(f"{place} has a header and no rows")
    features = np.frombuffer(values, np.float64).reshape(len(lines), -1)
    for number, (least, most) in large.items():
        whole = features[:, number - (column is not None and column < number)]
        if np.all(np.abs(whole[~np.isnan(whole)]) > EXACT):
            check_distinct(f"{place}: column {number + 1}", least, most)
    finite = finite_features(place, features, may_lack=may_lack)
    titles = [clean_title(title) for number, title in enumerate(first) if number != column] if named else []
    notes = counting_notes(place, finite, titles)
    if label_column != NO_LABELS:
        suspicious = LABEL_NAMES + (_LABEL_LIKE if labels is None else ())
        notes += tuple(
            f"{place}: agents see the column {title!r} as a feature; if it is the label, pass --label-column {title}"
            for title in titles
            if title.casefold() in suspicious
        )
    return _Table(finite, labels, lines, notes)


def _rows(reader: Any, may_lack: bool, place: str) -> Iterator[list[str]]:
    """The rows with content. Raises UsageError for a row of empty cells before another row."""
    width, empty = 0, 0
    for row in reader:
        if any(cell.strip() for cell in row) or (may_lack and len(row) > 1):
            if empty:
                raise UsageError(f"{place}, line {empty}: all cells are empty; fill them, or delete the line")
            width = width or len(row)
            yield row
        elif width and not empty and (len(row) > 1 or width == 1):
            empty = reader.line_num


def _first(rows: Iterator[list[str]], place: str) -> list[str]:
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{place} is empty")
    return first


def _head(
    first: list[str], place: str, label_column: str | None, header: str, may_lack: bool
) -> tuple[int | None, bool]:
    """Read the first row: index of the label column, or None, and whether the row is a header."""
    width = len(first)
    if width == 1 and (other := next((sign for sign in ";\t|" if sign in first[0]), None)):
        raise UsageError(f"{place} has one column, with {other!r} in its cells; separate the cells by commas")
    by_number = _number(label_column, width, place)
    # A row of missing features is an object, not a header.
    lacks_first = may_lack and all(_is_missing(cell) for number, cell in enumerate(first) if number != by_number)
    named = header == "yes" or (header == "auto" and not lacks_first and _is_header(first, by_number))
    if named and (broken := [title for title in first if _is_broken(title)]):
        raise UsageError(f"{place}: the name {broken[0].strip()[:40]!r} has a line break; is a quote not closed?")
    column = by_number if by_number is not None or not named else _called(first, label_column, place)
    unnamed = [
        number
        for number, title in enumerate(first)
        if named and number != column and _UNNAMED.fullmatch(clean_title(title))
    ]
    if unnamed:
        called = f"is called {first[unnamed[0]].strip()!r}" if clean_title(first[unnamed[0]]) else "has no name"
        raise UsageError(
            f"{place}: column {unnamed[0] + 1} {called}; if it numbers the rows, leave it out (pandas: index=False)"
        )
    if width - (column is not None) < 1:
        raise UsageError(f"{place} has no column of features besides the labels")
    return column, named


def _number(label_column: str | None, width: int, place: str) -> int | None:
    """Index of the label column, from 0, if `label_column` is a number (from 1, or -1 for the last); else None."""
    if label_column is None or not re.fullmatch(r"-?[0-9]{1,9}", label_column):
        return None
    number = int(label_column)
    if not 1 <= abs(number) <= width:
        raise UsageError(
            f"--label-column must be 1 to {width}, or -1 to -{width} from the end, in {place}; it is {number}"
        )
    return number - 1 if number > 0 else width + number


def _called(titles: list[str], name: str | None, place: str) -> int | None:
    """Index of the column with this name; None: of a column such as label or Labels, which is no feature."""
    if name == NO_LABELS:
        return None
    wanted = "label" if name is None else name
    found = [number for number, title in enumerate(titles) if title.strip() == wanted]
    names = [clean_title(title) for title in titles]
    if not found:
        found = [number for number, title in enumerate(names) if title == clean_title(wanted)]
    if not found and name is None:
        found = [number for number, title in enumerate(names) if title.casefold() in LABEL_NAMES]
    if len(found) > 1:
        raise UsageError(f"{place} has {len(found)} columns called {wanted!r}; choose one by --label-column")
    return found[0] if found else None


def clean_title(title: str) -> str:
    """Column name without decoration: the comment sign of numpy.savetxt, quotes, blanks, byte-order marks."""
    plain = "".join(letter for letter in unicodedata.normalize("NFKC", title) if unicodedata.category(letter) != "Cf")
    return plain.strip(f"#\"'`{string.whitespace}")


def _is_header(row: list[str], label: int | None) -> bool:
    cells = [_value(cell) for number, cell in enumerate(row) if number != label]
    counting = len(cells) >= _LEAST_COUNTED and any(
        cells == [start + d for d in range(len(cells))] for start in (0, 1)
    )
    return counting or all(cell is None for cell in cells)


def _is_broken(cell: str) -> bool:
    """Whether a cell has a line break, because a quote that is not closed takes the next rows into its cell."""
    return "\n" in cell or "\r" in cell


def _is_missing(cell: str) -> bool:
    value = _value(cell)
    return not cell.strip() or (value is not None and math.isnan(value))


def _value(cell: str) -> float | None:
    """The number in a cell, or None. Only Python reads 1_000 as a number, so it is none here."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
