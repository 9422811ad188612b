"""The table of trials: what is read, and one line for each fault."""

import csv
import json

import numpy as np
import pytest

from mhng.experiment.errors import UsageError
from mhng.experiment.people import trials as table
from mhng.experiment.people.simulated import Person, simulate, to_trials
from tests.studies import TRIAL

HEADER = [*TRIAL, "rt"]
SORT = ["p1", 0, "sort", 3, 1, "", "", "", 2, "812.5"]
OFFER = ["p1", 1, "offer", 3, 1, 2, 0, 1, 0, ""]


def write(path, rows, header=HEADER):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_a_csv_file_is_read(tmp_path):
    trials = table.load(write(tmp_path / "mine.csv", [OFFER, SORT]))
    assert trials["trial_type"].tolist() == ["sort", "offer"]  # by trial_index
    assert trials["accepted"].tolist() == [-1, 1]
    assert trials["rt"][0] == 812.5 and np.isnan(trials["rt"][1])
    assert (trials.signs, trials.categories, trials.simulated, trials.participants) == (3, 2, False, ["p1"])


def test_a_folder_is_read_back_as_it_was_written(tmp_path):
    trials = to_trials(simulate(Person("mh"), 3, 7, 0), "mh")
    features = np.random.default_rng(0).normal(size=(20, 2))
    table.save(table.replace(trials, stimuli=features), tmp_path)
    again = table.load(tmp_path)
    for column in table.COLUMNS:
        np.testing.assert_array_equal(again[column], trials[column])
    np.testing.assert_array_equal(again.stimuli, features)
    assert again.simulated and (again.signs, again.categories) == (5, 5)


def changed(row, **cells):
    return [cells.get(name, cell) for name, cell in zip(HEADER, row, strict=True)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(OFFER, accepted="yes"), r"row 3, column accepted: 'yes'; expected 0 or 1"),
        (changed(OFFER, accepted=""), r"row 3, column accepted: empty; expected 0 or 1 in a trial of type offer"),
        (changed(OFFER, object="-1"), r"row 3, column object: '-1'; expected an integer from 0"),
        (changed(OFFER, offered="1000"), r"row 3, column offered: 1000; expected an integer from 0 to 999"),
        (changed(OFFER, object="1000000"), r"row 3, column object: 1000000; expected an integer from 0 to 999,999"),
        (changed(OFFER, object="1.5"), r"row 3, column object: '1.5'; expected an integer from 0"),
        (changed(OFFER, trial_type="ofer"), r"row 3, column trial_type: 'ofer'; expected one of .*did you mean offer"),
        (changed(OFFER, participant=""), r"row 3, column participant: empty; expected a name"),
        (changed(OFFER, sign_after=2), r"row 3, column sign_after: 2; expected 0, as accepted is 1"),
        (changed(OFFER, rt="nan"), r"row 3, column rt: 'nan'; expected a number of milliseconds from 0"),
        (changed(OFFER, trial_index=0), r"row 3: participant p1 has trial_index 0 twice, also in .*row 2"),
        (OFFER[:-1], r"row 3: 9 cells; expected 10"),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path, row, message):
    file = write(tmp_path / "t.csv", [SORT, row])
    with pytest.raises(UsageError, match=message) as error:
        table.load(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_no_table_of_trials_are_refused(tmp_path):
    empty = tmp_path / "empty.csv"
    empty.touch()
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in [
        (tmp_path / "none", "does not exist"),
        (tmp_path, "has no dataset_description.json"),
        (empty, "is empty; expected a row of column names"),
        (binary, "is not text in UTF-8"),
        (write(tmp_path / "a.csv", [], ["a", "b"]), "row 1: no column participant"),
        (write(tmp_path / "b.csv", [], ["participant", "participant"]), "column participant stands twice"),
        (write(tmp_path / "c.csv", []), "c has no trials"),
    ]:
        with pytest.raises(UsageError, match=message):
            table.load(path)


def test_faults_of_a_folder_are_refused(tmp_path):
    description, data = tmp_path / "dataset_description.json", tmp_path / "data"
    data.mkdir()
    write(data / "study-a_data.csv", [SORT, OFFER])
    for text, message in [
        ("[", "is not a JSON object"),
        (json.dumps({"signs": 2}), "has 3 signs, but its description says 2"),
        (json.dumps({"signs": "many"}), "signs is 'many'; expected a number of signs"),
        (json.dumps({"categories": 10**30}), "categories is 10[*][*]30 or so; expected at most 1,000"),
    ]:
        description.write_text(text)
        with pytest.raises(UsageError, match=message):
            table.load(tmp_path)
    description.write_text("{}")
    for rows, header, message in [
        ([[3, 0.5], [4, "big"]], ["object", "x0"], r"row 3, column x0: 'big'; expected a number"),
        ([[3, 0.5]], ["object", "y"], r"row 1: no column x0; expected columns object, x0, x1, \.\.\."),
        ([[3, 0.5, 1, 2]], ["object", "x0"], r"row 2: 4 cells; expected 2"),
        ([[3, 0.5], [3, 0.5]], ["object", "x0"], r"row 3, column object: 3 stands twice"),
        (
            [[10**9, 0.5]],
            ["object", "x0"],
            r"row 2, column object: '1000000000'; expected an integer from 0",
        ),
    ]:
        write(data / "stimuli-a_data.csv", rows, header)
        with pytest.raises(UsageError, match=message):
            table.load(tmp_path)
    (data / "study-a_data.csv").unlink()
    with pytest.raises(UsageError, match="has no file"):
        table.load(tmp_path)
