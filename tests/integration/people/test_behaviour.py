"""`behaviour`: simulated trials in, files and a page out, and one line for bad input."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mhng import behaviour, cli
from mhng.experiment.errors import UsageError
from mhng.experiment.people import fit as fitting
from mhng.experiment.people.ratios import PERCEPTS, offers
from mhng.experiment.people.rules import RULES
from mhng.experiment.report import behaviour as command
from mhng.experiment.runs.posterior import import_arviz


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Few draws: these tests are about files."""
    monkeypatch.setattr(
        fitting.fit, "__kwdefaults__", fitting.fit.__kwdefaults__ | {"draws": 20, "warmup": 40, "chains": 2}
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "ds"
    arguments = ["--rule", "mh", "--participants", "6", "--offers", "40", "--seed", "3"]
    assert cli.main(["behaviour", "simulate", str(folder), *arguments]) == 0
    return folder


def test_simulated_trials_are_fitted_and_written(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["behaviour", "fit", str(data), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(command.SIMULATED) and "6 participants, 240 offers" in text and "MH against" in text
    assert sorted(path.name for path in out.iterdir()) == ["fit.json", "plots", "posterior.nc", "report.html"]
    assert len(list((out / "plots").glob("*.png"))) == 4
    report = json.loads((out / "fit.json").read_text())
    assert report["simulated"] and set(report["rules"]) == set(RULES) and report["best"] == "mh"
    assert report["mh_against"]["constant"]["person"]["nats"] > 0
    page = (out / "report.html").read_text()
    assert command.SIMULATED in page and "could not be drawn" not in page and page.count("<img") == 4
    draws = import_arviz().from_netcdf(str(out / "posterior.nc"))
    assert draws["posterior"]["tempered_mu"].shape == (2, 20, 3)


@pytest.mark.parametrize("full", [False, True], ids=["file", "folder with files"])
def test_simulated_trials_replace_nothing(tmp_path, capsys, full):
    taken = tmp_path / "taken"
    if full:
        taken.mkdir()
    inside = taken / "mine" if full else taken
    inside.write_text("mine")
    assert cli.main(["behaviour", "simulate", str(taken), "--participants", "2", "--offers", "4"]) == 2
    assert f"DS {taken} exists; give a new or empty folder" in capsys.readouterr().err
    assert inside.read_text() == "mine" and set(tmp_path.rglob("*")) == {taken, inside}


def test_json_is_the_report_of_python(data, capsys):
    assert cli.main(["behaviour", "fit", str(data), "--json", "--seed", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    again = behaviour.fit(behaviour.load(data), seed=1).report
    assert report["rules"]["mh"]["person"]["elpd"] == again["rules"]["mh"]["person"]["elpd"]
    assert report["people"].keys() == again["people"].keys()


def test_one_participant_has_no_intervals(tmp_path):
    fitted = behaviour.fit(behaviour.simulated("binary", 1, 30), quiet=True)
    assert fitted.report["mh_against"]["binary"]["person"]["low"] is None
    assert any("one participant: no interval" in line for line in command.fit_lines(fitted.report))
    command.page(fitted)
    # The pictures of many participants are no larger than those of 100.
    (row,) = fitted.report["people"].values()
    fitted.report["people"] = {f"participant with a long name {n}": row for n in range(120)}
    for name, draw in command.pictures(fitted).items():
        draw(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_answers_that_are_all_the_same_are_fitted():
    trials = behaviour.simulated("constant", 3, 20)
    columns = {name: values.copy() for name, values in trials.columns.items()}
    offers = columns["trial_type"] == "offer"
    columns["accepted"][offers], columns["sign_after"][offers] = 1, columns["offered"][offers]
    report = behaviour.fit(replace(trials, columns=columns), quiet=True).report
    assert np.isfinite(report["rhat"]) and report["taken"] == 1
    command.fit_lines(report)


def test_power_prints_a_table(capsys):
    assert cli.main(["behaviour", "power", "--participants", "3", "--offers", "20", "--studies", "5"]) == 0
    text = capsys.readouterr().out
    assert "5 simulated studies of each rule, 3 participants, 20 offers" in text and text.count("constant") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "missing"], "missing does not exist; expected a folder"),
        (["fit", "DATA", "--out", "DATA"], "exists; give a new or empty folder"),
        (["fit", "DATA", "--perception", "features"], "--perception features requires data/stimuli"),
        (["simulate", "DATA"], "exists; give a new or empty folder"),
        (["simulate", "new", "--rule", "mhh"], "--rule is mhh; expected one of"),
        (["power", "--participants", "1", "--offers", "5"], "--participants is 1; expected 2 to 1,000"),
        (["power", "--participants", "5"], "required: --offers"),
        (["fit", "DATA", "--seed", "-1"], "argument --seed: it is '-1'; expected an integer from 0"),
        (["power", "--participants", "5", "--offers", "5", "--seed", "9" * 30], "argument --seed: it is"),
    ],
)
def test_bad_input_is_one_line(data, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [str(data) if word == "DATA" else word for word in arguments]
    try:
        code = cli.main(["behaviour", *arguments])
    except SystemExit as error:
        code = error.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_study_folder_holds_trials(tmp_path, monkeypatch):
    pytest.importorskip("starlette")
    monkeypatch.chdir(tmp_path)
    new = ["new", "s", "--data", "creatures", "--partner", "mh", "--blocks", "1", "--offers", "10"]
    (tmp_path / "consent.txt").write_text("Consent.")
    assert cli.main(["study", *new, "--consent", "consent.txt", "--language", "en"]) == 0
    assert cli.main(["study", "bots", "s", "--count", "2"]) == 0
    trials = behaviour.Study.load("s", bots=True).trials
    assert trials.simulated and (trials["trial_type"] == "offer").sum() == 20
    for perception in PERCEPTS:
        assert 0 < len(offers(trials, perception).person) <= 20
    with pytest.raises(UsageError, match="no finished session"):
        behaviour.load("s")
