"""The table of trials: what people were shown, what they answered, and how long it took.

A table is read from a Psych-DS folder (dataset_description.json, data/*_data.csv) or from one CSV file. A row is a
trial. COLUMNS says what a column holds; empty cells, NA and null mean "does not apply". Other columns are ignored.
Optional files data/stimuli-*_data.csv hold the features of the objects: object, x0, x1, ... A sort trial has the
person's first sign of the object in sign_after.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhng.experiment.errors import UsageError
from mhng.experiment.util.files import atomic_path, disk_errors
from mhng.experiment.util.jsonable import parse_json_object
from mhng.experiment.util.paths import check_regular
from mhng.experiment.util.text import short_number, short_repr, suggestion

__all__ = ["COLUMNS", "TRIAL_TYPES", "Row", "Trials", "from_rows", "load", "replace", "save"]

DESCRIPTION = "dataset_description.json"
STIMULI = "stimuli"
# sort: the person puts an object into a category. offer: the partner offers a sign, the person keeps or takes.
# proposal: the person offers. quiz, practice and question do not enter the statistics.
TRIAL_TYPES = ("sort", "offer", "proposal", "quiz", "practice", "question")
MISSING = -1  # in a column of numbers
# The most signs, categories and objects: tables have an entry for each.
MOST_SIGNS, MOST_OBJECTS = 1000, 10**6
_NOTHING = ("", "NA", "null")


class Column(NamedTuple):
    """kind: text, count (an integer from 0), binary (0 or 1) or time (milliseconds). needed: by which trials."""

    kind: str
    meaning: str
    needed: tuple[str, ...] = ()


COLUMNS = {
    "participant": Column("text", "pseudonym of the participant", TRIAL_TYPES),
    "condition": Column("text", "condition of the participant"),
    "partner": Column("text", "the partner's rule, or its name"),
    "block": Column("count", "block, from 0"),
    "trial_index": Column("count", "number of the trial, increasing for each participant", TRIAL_TYPES),
    "trial_type": Column("text", f"one of {', '.join(TRIAL_TYPES)}", TRIAL_TYPES),
    "object": Column("count", "object of the trial", ("sort", "offer", "proposal")),
    "category": Column("count", "category into which the person has sorted the object", ("sort",)),
    "sign": Column("count", "the person's sign of the object before the trial", ("offer",)),
    "offered": Column("count", "the sign that is offered", ("offer",)),
    "accepted": Column("binary", "1 if the offered sign was taken, else 0", ("offer",)),
    "sign_after": Column("count", "the person's sign of the object after the trial"),
    "response": Column("text", "the answer as it was given"),
    "rt": Column("time", "response time in milliseconds"),
    "time_elapsed": Column("time", "milliseconds since the start of the session"),
}
_EXPECTED = {
    "count": "an integer from 0",
    "binary": "0 or 1",
    "time": "a number of milliseconds from 0",
}

_BELOW = dict.fromkeys(("category", "sign", "offered", "sign_after"), MOST_SIGNS) | {"object": MOST_OBJECTS}

Values = NDArray[Any]


@dataclass(frozen=True)
class Trials:
    """Trials in the order of participants and trial_index. columns: an array (n,) for each of COLUMNS.

    stimuli: features (N, D) of the objects, NaN for an object without any; None if the data have none. simulated:
    whether a program made the answers. signs, categories: their numbers in the design, or those in the table.
    """

    columns: Mapping[str, Values]
    name: str = "trials"
    simulated: bool = False
    stimuli: NDArray[np.float64] | None = None
    signs: int = 0
    categories: int = 0
    description: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["participant"])

    def __getitem__(self, column: str) -> Values:
        return self.columns[column]

    @property
    def participants(self) -> list[str]:
        """The participants, in the order of the table."""
        return list(dict.fromkeys(self.columns["participant"].tolist()))


def load(path: Path) -> Trials:
    """Read the trials of a Psych-DS folder or of a CSV file. Raises UsageError: file, row, column, expected."""
    path = Path(path)
    if path.is_dir():
        return _load_folder(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a folder with {DESCRIPTION}, or a CSV file of trials")
    rows = _read_rows(path)
    return from_rows(rows, name=path.stem)


def _load_folder(path: Path) -> Trials:
    description = path / DESCRIPTION
    if not description.is_file():
        raise UsageError(f"{path} has no {DESCRIPTION}; expected a Psych-DS folder, or a CSV file of trials")
    try:
        about = parse_json_object(description.read_bytes(), str(description))
    except OSError as error:
        raise UsageError(f"{description} cannot be read: {error.strerror or error}") from error
    files = sorted((path / "data").rglob("*_data.csv"))
    stimuli = [file for file in files if file.name.startswith(f"{STIMULI}-")]
    files = [file for file in files if file not in stimuli]
    if not files:
        raise UsageError(f"{path / 'data'} has no file *_data.csv; expected a file of trials")
    rows = [row for file in files for row in _read_rows(file)]
    design = {name: _design_count(about, name, description) for name in ("signs", "categories")}
    return from_rows(
        rows,
        name=str(about.get("name") or path.name),
        simulated=about.get("simulated") is True,
        stimuli=_read_stimuli(stimuli),
        description=about,
        **design,
    )


def _design_count(about: Mapping[str, Any], name: str, file: Path) -> int:
    value = about.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{file}: {name} is {short_repr(value)}; expected a number of {name}")
    if value > MOST_SIGNS:
        raise UsageError(f"{file}: {name} is {short_number(value)}; expected at most {MOST_SIGNS:,}")
    return value


class Row(NamedTuple):
    """A row of a table, with the place to name in an error: "FILE, row 3"."""

    place: str
    cells: Mapping[str, Any]


def from_rows(
    rows: Iterable[Row],
    *,
    name: str = "trials",
    simulated: bool = False,
    stimuli: NDArray[np.float64] | None = None,
    signs: int = 0,
    categories: int = 0,
    description: Mapping[str, Any] | None = None,
) -> Trials:
    """Check rows and make a table of them; cells are texts or values. Raises UsageError for the first fault."""
    taken: dict[str, list[Any]] = {column: [] for column in COLUMNS}
    seen: dict[tuple[str, int], str] = {}
    for row in rows:
        values = {column: _value(row, column) for column in COLUMNS}
        _check(row, values)
        key = values["participant"], values["trial_index"]
        if key in seen:
            raise UsageError(f"{row.place}: participant {key[0]} has trial_index {key[1]} twice, also in {seen[key]}")
        seen[key] = row.place
        for column, value in values.items():
            taken[column].append(value)
    if not seen:
        raise UsageError(f"{name} has no trials; expected a row for each trial")
    first = {person: n for n, person in enumerate(dict.fromkeys(taken["participant"]))}
    order = np.lexsort((taken["trial_index"], [first[person] for person in taken["participant"]]))
    columns = {column: _as_array(COLUMNS[column].kind, values)[order] for column, values in taken.items()}
    most = {
        "signs": max(int(columns[column].max()) for column in ("sign", "offered", "sign_after")) + 1,
        "categories": int(columns["category"].max()) + 1,
    }
    for noun, number in (("signs", signs), ("categories", categories)):
        if 0 < number < most[noun]:
            raise UsageError(f"{name} has {most[noun]} {noun}, but its description says {number}")
    return Trials(
        columns, name, simulated, stimuli, signs or most["signs"], categories or most["categories"], description or {}
    )


def _read_rows(
    file: Path,
    needed: Sequence[str] = ("participant", "trial_index", "trial_type"),
    known: Sequence[str] = tuple(COLUMNS),
) -> list[Row]:
    """The rows of a CSV file with the columns `needed`, out of those that are `known`. Raises UsageError."""
    check_regular(file, str(file))
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            try:
                header = next(reader, None)
                if header is None:
                    raise UsageError(f"{file} is empty; expected a row of column names")
                _check_header(file, header, needed, known)
                rows = []
                for number, cells in enumerate(reader, 2):
                    if not cells:
                        continue
                    if len(cells) != len(header):
                        raise UsageError(f"{file}, row {number}: {len(cells)} cells; expected {len(header)}")
                    rows.append(Row(f"{file}, row {number}", dict(zip(header, cells, strict=True))))
                return rows
            except csv.Error as error:
                raise UsageError(
                    f"{file}, line {reader.line_num}: {error}; expected comma-separated values"
                ) from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not text in UTF-8") from error


def _check_header(file: Path, header: Sequence[str], needed: Sequence[str], known: Sequence[str]) -> None:
    for column in header:
        if header.count(column) > 1:
            raise UsageError(f"{file}, row 1: column {column} stands twice; expected different names")
    for column in needed:
        if column not in header:
            hint = suggestion(column, header)
            raise UsageError(f"{file}, row 1: no column {column}; expected columns {', '.join(known)}{hint}")


def _value(row: Row, column: str) -> Any:
    kind, cell = COLUMNS[column].kind, row.cells.get(column)
    text = "" if cell is None else str(cell).strip()
    if text in _NOTHING:
        return "" if kind == "text" else np.nan if kind == "time" else MISSING
    if kind == "text":
        return text
    try:
        number = float({"true": "1", "false": "0"}.get(text.lower(), text) if kind == "binary" else text)
        good = number in (0, 1) if kind == "binary" else 0 <= number < 2**31 and (kind == "time" or number % 1 == 0)
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"{row.place}, column {column}: {short_repr(text)}; expected {_EXPECTED[kind]}")
    if number >= (below := _BELOW.get(column, np.inf)):
        raise UsageError(f"{row.place}, column {column}: {int(number)}; expected an integer from 0 to {below - 1:,}")
    return number if kind == "time" else int(number)


def _check(row: Row, values: Mapping[str, Any]) -> None:
    """Check a row as a whole. Raises UsageError."""
    kind = values["trial_type"]
    if kind not in TRIAL_TYPES:
        expected = f"expected one of {', '.join(TRIAL_TYPES)}{suggestion(kind, TRIAL_TYPES)}"
        raise UsageError(f"{row.place}, column trial_type: {short_repr(kind)}; {expected}")
    for column, (form, _, needed) in COLUMNS.items():
        if kind in needed and values[column] in ("", MISSING):
            expected = "a name" if form == "text" else _EXPECTED[form]
            raise UsageError(f"{row.place}, column {column}: empty; expected {expected} in a trial of type {kind}")
    if kind == "offer" and values["sign_after"] != MISSING:
        expected = values["offered" if values["accepted"] else "sign"]
        if values["sign_after"] != expected:
            raise UsageError(
                f"{row.place}, column sign_after: {values['sign_after']}; expected {expected}, as accepted is "
                f"{values['accepted']}"
            )


def _as_array(kind: str, values: list[Any]) -> Values:
    return np.array(values, dtype={"text": object, "time": np.float64}.get(kind, np.int64))


def _read_stimuli(files: Sequence[Path]) -> NDArray[np.float64] | None:
    """Features (N, D) of the objects in all files."""
    features: dict[int, list[float]] = {}
    width = 0
    for file in files:
        for place, cells in _read_rows(file, ("object", "x0"), ("object", "x0", "x1", "...")):
            names = [name for name in cells if name.startswith("x") and name[1:].isdigit()]
            values = [_number(place, name, cells[name]) for name in ("object", *names)]
            if values[0] % 1 or not 0 <= values[0] < MOST_OBJECTS:
                expected = f"an integer from 0 to {MOST_OBJECTS - 1:,}"
                raise UsageError(f"{place}, column object: {short_repr(cells['object'])}; expected {expected}")
            if int(values[0]) in features:
                raise UsageError(f"{place}, column object: {int(values[0])} stands twice; expected different objects")
            if width and len(names) != width:
                raise UsageError(f"{place}: {len(names)} features; expected {width}, as in the rows above")
            width = len(names)
            features[int(values[0])] = values[1:]
    if not features:
        return None
    table = np.full((max(features) + 1, width), np.nan)
    for number, row in features.items():
        table[number] = row
    return table


def _number(place: str, column: str, text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise UsageError(f"{place}, column {column}: {short_repr(text)}; expected a number")
    return value


def save(trials: Trials, folder: Path) -> None:
    """Write a Psych-DS folder: its description, and data/study-trials_data.csv. `load` reads the same table."""
    with disk_errors(folder):
        (folder / "data").mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "@context": "https://schema.org/",
        "@type": "Dataset",
        "name": trials.name,
        "description": "Trials of a naming game." + (" The answers are simulated." if trials.simulated else ""),
        "variableMeasured": [property_value(name, column.meaning) for name, column in COLUMNS.items()],
    }
    about |= dict(trials.description) | {"signs": trials.signs, "categories": trials.categories}
    about |= {"simulated": True} if trials.simulated else {}
    write_description(folder, about)
    write_table(
        folder / "data" / "study-trials_data.csv",
        list(COLUMNS),
        zip(*map(_cells, trials.columns.values()), strict=True),
    )
    if trials.stimuli is not None:
        write_stimuli(folder / "data" / f"{STIMULI}-features_data.csv", trials.stimuli)


def property_value(name: str, description: str) -> dict[str, str]:
    """A column as Psych-DS describes it (schema.org)."""
    return {"@type": "PropertyValue", "name": name, "description": description}


def _cells(values: Values) -> list[Any]:
    if values.dtype == np.int64:
        return ["" if value == MISSING else value for value in values.tolist()]
    return ["" if value != value else value for value in values.tolist()]


def write_description(folder: Path, about: Mapping[str, Any]) -> None:
    """Write dataset_description.json."""
    with atomic_path(folder / DESCRIPTION) as beside:
        beside.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_stimuli(file: Path, features: NDArray[np.float64]) -> None:
    """Write the features (N, D) of the objects that have any."""
    known = np.flatnonzero(np.isfinite(features).all(1))
    names = ["object", *(f"x{d}" for d in range(features.shape[1]))]
    write_table(file, names, ([int(n), *map(float, features[n])] for n in known))


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    with atomic_path(file) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
