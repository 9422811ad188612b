"""The commands of `study`, from a new folder to a data set."""

import json

import numpy as np
import pytest
from PIL import Image

from mhng import cli
from mhng.experiment.people.ratios import offers
from mhng.experiment.people.study import Study
from mhng.experiment.people.trials import load
from mhng.experiment.runs.checkpoint_io import checkpoint_bytes, read_checkpoint


@pytest.fixture
def consent(tmp_path):
    for language in ("en", "ja"):
        (tmp_path / f"{language}.txt").write_text(f"Consent ({language})", encoding="utf-8")
    return f"{tmp_path / 'en.txt'},{tmp_path / 'ja.txt'}"


def study(*arguments):
    try:
        return cli.main(["study", *map(str, arguments)])
    except SystemExit as error:  # from argparse
        return error.code


def change(file, **values):
    """Write other values to a file of tensors."""
    file.write_bytes(checkpoint_bytes(read_checkpoint(file) | values))


def new(folder, consent, *more):
    flags = ("--consent", consent, "--language", "en,ja", "--objects", 4, "--offers", 8)
    return study("new", folder, *flags, *more)


@pytest.mark.parametrize("data", ["creatures", "digits"])
def test_bots_play_a_new_study_and_are_exported(tmp_path, consent, data, capsys):
    folder = tmp_path / "first"
    assert new(folder, consent, "--data", data, "--partner", "mh,known,reject") == 0
    for rule in ("mh", "binary"):
        assert study("bots", folder, "--rule", rule, "--count", 2) == 0
    capsys.readouterr()
    assert study("status", folder, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [row["bot"] for row in report["sessions"]].count("mh") == 2 and report["damaged"] == 0
    assert all(row["finished"] and row["code"] for row in report["sessions"])
    assert study("export", folder, "--out", tmp_path / "none") == 2  # no people
    assert study("export", folder, "--out", tmp_path / "ds", "--bots") == 0
    trials = load(tmp_path / "ds")
    assert len(trials.participants) == 4 and trials.simulated and trials.stimuli.shape[0] == 4
    kinds = trials["trial_type"].tolist()
    assert (kinds.count("offer"), kinds.count("proposal"), kinds.count("sort")) == (32, 32, 32)
    assert set(trials["condition"]) <= {"mh", "known", "reject"} and "constant:0" not in trials["condition"]
    rejected = (trials["partner"] == "constant:0") & (trials["trial_type"] == "proposal")
    assert (trials["accepted"][rejected] == 0).all()
    participant = report["sessions"][0]["participant"]
    assert study("forget", folder, participant) == 0
    assert study("export", folder, "--out", tmp_path / "less", "--bots") == 0
    assert len(load(tmp_path / "less").participants) == 3


def test_a_design_is_the_same_for_a_seed(tmp_path, consent):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert new(tmp_path / name, consent, "--data", "creatures", "--seed", seed, "--name", "x") == 0
    a, b, c = (Study.open(tmp_path / name) for name in "abc")
    assert (a.checksum, a.pictures, a.partner.belief.table) == (b.checksum, b.pictures, b.partner.belief.table)
    assert a.pictures != c.pictures and a.salt != b.salt


def test_two_folders_are_the_two_sides(tmp_path, consent):
    generator = np.random.default_rng(0)
    for side in ("person", "partner"):
        (tmp_path / side).mkdir()
        for n in range(5):
            pixels = generator.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / f"{n}.png")
    assert new(tmp_path / "own", consent, "--data", f"{tmp_path / 'person'},{tmp_path / 'partner'}", "--signs", 2) == 0
    served = Study.open(tmp_path / "own")
    assert len(served.pictures) == 4 and served.hidden == ()
    assert not set(served.pictures) & {path.read_bytes() for path in (tmp_path / "own/stimuli/partner").iterdir()}
    assert study("bots", tmp_path / "own", "--count", 1) == 0


def test_a_partner_from_a_run(tmp_path, consent, digits_run, capsys):
    folder = tmp_path / "run"
    assert new(folder, consent, "--run", digits_run, "--agent", "B", "--partner", "mh,known") == 0
    assert study("bots", folder, "--knowledge", "known", "--count", 2) == 0
    assert study("export", folder, "--out", tmp_path / "ds", "--bots") == 0
    assert len(load(tmp_path / "ds").participants) == 2
    partner = Study.open(folder).partner  # it redraws its beliefs given all objects of the run
    assert len(partner.belief.table) == 4 < partner.percepts.count
    capsys.readouterr()
    assert new(tmp_path / "other", consent, "--run", digits_run, "--agent", "Z") == 2
    assert "A, B" in capsys.readouterr().err


def test_a_partner_of_features_requires_pictures(tmp_path, consent, vectors_run, capsys):
    capsys.readouterr()
    assert new(tmp_path / "none", consent, "--run", vectors_run) == 2
    said = capsys.readouterr().err
    assert "--pictures" in said and not (tmp_path / "none").exists()
    (tmp_path / "pictures").mkdir()
    for n in range(20):
        Image.new("RGB", (8, 8), (10 * n, 0, 0)).save(tmp_path / "pictures" / f"{n:02d}.png")
    folder = tmp_path / "features"
    assert new(folder, consent, "--run", vectors_run, "--pictures", tmp_path / "pictures") == 0
    assert study("bots", folder, "--count", 1) == 0
    assert len(Study.open(folder).pictures) == 4


PROGRAM = """
import pyro, pyro.distributions as dist, torch
from mhng import NamingGame, ProgramPlayer, turns

x, y = torch.tensor([-2.0, -1.7, 1.9, 2.2]), torch.tensor([0.0, 1.0, 6.0, 5.0])
def points(x):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 2.0).to_event(1))
    with pyro.plate("objects", 4):
        pyro.sample("x", dist.Normal(mu[pyro.sample("w", dist.Categorical(torch.ones(3)))], 1.0), obs=x)
def counts(y):
    rate = pyro.sample("rate", dist.Gamma(torch.ones(3), 0.3).to_event(1))
    with pyro.plate("objects", 4):
        pyro.sample("y", dist.Poisson(rate[pyro.sample("w", dist.Categorical(torch.ones(3)))]), obs=y)
game = NamingGame({"A": ProgramPlayer(points, x), "B": ProgramPlayer(counts, y)}, turn=turns.each("objects"))
"""


def test_a_partner_that_is_a_pyro_program(tmp_path, consent, capsys):
    (tmp_path / "mine.py").write_text(PROGRAM)
    (tmp_path / "pictures").mkdir()
    for n in range(4):
        Image.new("RGB", (30, 30), (60 * n, 0, 0)).save(tmp_path / "pictures" / f"{n}.png")
    flags = ("--consent", consent, "--language", "en,ja", "--offers", 8, "--run", f"{tmp_path / 'mine.py'}:game")
    folder = tmp_path / "program"
    assert study("new", folder, *flags) == 2 and "--pictures" in capsys.readouterr().err
    assert study("new", folder, *flags, "--pictures", tmp_path / "pictures", "--agent", "B") == 0
    assert study("bots", folder, "--count", 2) == 2 and "--trust-plugins" in capsys.readouterr().err
    assert study("bots", folder, "--count", 2, "--trust-plugins") == 0
    # The logs replay, with beliefs that were redrawn by the program.
    assert study("export", folder, "--out", tmp_path / "ds", "--bots", "--trust-plugins") == 0
    (folder / "partner.py").write_text("print('another')")
    capsys.readouterr()
    assert study("status", folder, "--trust-plugins") == 2
    assert "is not the program of this study" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "said"), [
    (["--partner", "mhh"], "mh"), (["--partner", "constant"], "constant:NUMBER"),
    (["--partner", "constant:2"], "0 to 1"), (["--partner", "mh,mh"], "different"), (["--partner", ""], "--partner"),
    (["--blocks", "3"], "multiple of --blocks"), (["--offers", "0"], "--offers"), (["--signs", "13"], "--signs"),
    (["--groups", "1"], "--groups"), (["--language", "en,de"], "'de'"), (["--consent", "nowhere.txt"], "--language"),
    (["--name", "a b"], "--name"), (["--objects", "1"], "--objects"), (["--data", "nowhere"], "nowhere"),
    (["--data", "synthetic"], "images"), (["--code", "a b"], "--code"), (["--agent", "A"], "--run"),
    (["--seed", "-1"], "--seed"),
])  # fmt: skip
def test_bad_flags_are_one_line_and_write_nothing(tmp_path, consent, flags, said, capsys):
    folder = tmp_path / "study"
    data = [] if flags[0] == "--data" else ["--data", "digits"]
    assert new(folder, consent, *data, *flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not folder.exists()


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "design.json").unlink(),
    lambda folder: (folder / "design.json").write_text("{"),
    lambda folder: (folder / "design.json").write_text("[]"),
    lambda folder: (folder / "design.json").write_text('{"version": 2}'),
    lambda folder: (folder / "design.json").write_text('{"version": 1, "seed": true}'),
    lambda folder: (folder / "partner.pt").write_bytes(b"foreign"),
    lambda folder: (folder / "partner.pt").unlink(),
    lambda folder: change(folder / "partner.pt", version=2),
    lambda folder: (folder / "salt").write_text("short"),
    lambda folder: (folder / "consent.en.txt").write_bytes(b"\xff\xfe\xff"),
    lambda folder: (folder / "stimuli/person/002.png").write_text("no picture"),
])  # fmt: skip
def test_a_damaged_or_foreign_folder_is_refused(tmp_path, consent, damage, capsys):
    folder = tmp_path / "study"
    assert new(folder, consent, "--data", "creatures") == 0
    damage(folder)
    capsys.readouterr()
    for command in (["status", folder], ["export", folder, "--out", tmp_path / "ds"], ["serve", folder]):
        assert study(*command) == 2
        error = capsys.readouterr().err
        assert str(folder) in error and error.count("\n") == 1
    assert not (tmp_path / "ds").exists()


@pytest.mark.parametrize(("place", "said"), [
    ("en.txt/x", "en.txt is not a folder"), ("en.txt", "exists; give a new or empty folder"),
    ("a\0b", "expected a path without null bytes"), ("x" * 300, "cannot be used: File name too long"),
])  # fmt: skip
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, consent, place, said, capsys):
    ready = tmp_path / "ready"
    assert new(ready, consent, "--data", "creatures") == study("bots", ready, "--count", 1) == 0
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    folder = f"{tmp_path}/{place}"
    for words in (
        ["study", "new", folder, "--data", "creatures", "--consent", consent, "--language", "en,ja"],
        ["study", "export", str(ready), "--bots", "--out", folder],
        ["behaviour", "simulate", folder],
        ["behaviour", "fit", str(ready), "--out", folder],
    ):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "flags",
    [
        ("--rule", "foo"),
        ("--lapse", "2"),
        ("--lapse", "nan"),
        ("--count", "0"),
        ("--seed", "-1"),
        ("--seed", "9" * 30),
    ],
)
def test_bots_with_bad_flags_leave_the_folder_as_it_is(tmp_path, consent, flags, capsys):
    assert new(tmp_path / "study", consent, "--data", "creatures") == 0
    before = sorted((tmp_path / "study").rglob("*"))
    assert study("bots", tmp_path / "study", *flags) == 2 and flags[0] in capsys.readouterr().err
    assert sorted((tmp_path / "study").rglob("*")) == before


def test_a_folder_of_another_version_says_which_and_what_to_do(tmp_path, consent, capsys):
    folder = tmp_path / "study"
    assert new(folder, consent, "--data", "creatures") == 0
    remedy = "this program reads version 1; open the study with the program that made it, or make a new one"
    older = {name: value for name, value in read_checkpoint(folder / "person.pt").items() if name != "version"}
    (folder / "person.pt").write_bytes(checkpoint_bytes(older))
    assert study("bots", folder) == 2
    assert f"{folder / 'person.pt'} has no version; {remedy}" in capsys.readouterr().err
    change(folder / "partner.pt", version=2)
    assert study("status", folder) == 2
    assert f"{folder / 'partner.pt'} has version 2; {remedy}" in capsys.readouterr().err
    design = json.loads((folder / "design.json").read_text())
    (folder / "design.json").write_text(json.dumps(design | {"version": 7}))
    assert study("status", folder) == 2
    assert f"{folder / 'design.json'} has version 7; {remedy}" in capsys.readouterr().err


def test_a_folder_that_is_in_use_is_not_served_twice(tmp_path, consent, capsys):
    from mhng.experiment.util.locks import locked

    assert new(tmp_path / "study", consent, "--data", "creatures") == 0
    with locked(tmp_path / "study"):
        assert study("bots", tmp_path / "study") == 2
    assert "in use" in capsys.readouterr().err
    assert new(tmp_path / "study", consent, "--data", "creatures") == 2  # nor written twice


def test_a_missing_package_is_told_in_one_line(tmp_path, consent, monkeypatch, capsys):
    assert new(tmp_path / "study", consent, "--data", "creatures") == 0
    capsys.readouterr()
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    for command in (["serve", tmp_path / "study"], ["demo"], ["bots", tmp_path / "study"]):
        assert study(*command) == 2
        assert "pip install 'mh-naming-game[study]'" in capsys.readouterr().err


def test_the_statistics_see_what_bots_saw(tmp_path, consent):
    """A bot of the rule binary takes exactly the offers whose ratio, from the exported table, is at least 1."""
    flags = ("--consent", consent, "--language", "en,ja", "--objects", 20, "--offers", 40, "--signs", 5, "--groups", 4)
    assert study("new", tmp_path / "study", *flags, "--data", "creatures") == 0
    assert study("bots", tmp_path / "study", "--rule", "binary", "--count", 3) == 0
    assert study("export", tmp_path / "study", "--bots", "--out", tmp_path / "ds") == 0
    found = offers(load(tmp_path / "ds"))
    assert len(found.accepted) > 20 and 0 < found.accepted.mean() < 1
    np.testing.assert_array_equal(found.accepted, found.log_offered >= found.log_current)


def test_bots_of_two_calls_are_those_of_one(tmp_path, consent):
    played = []
    for name, counts in (("two", (1, 1)), ("one", (2,))):
        assert new(tmp_path / name, consent, "--data", "creatures", "--name", "x") == 0
        for count in counts:
            assert study("bots", tmp_path / name, "--count", count) == 0
        assert study("export", tmp_path / name, "--bots", "--out", tmp_path / "ds" / name) == 0
        trials = load(tmp_path / "ds" / name)
        columns = ("trial_type", "object", "sign", "offered", "sign_after", "response")
        rows = list(zip(trials["participant"], *(trials[column] for column in columns), strict=True))
        played.append({tuple(row[1:] for row in rows if row[0] == participant) for participant in trials.participants})
    assert played[0] == played[1] and len(played[0]) == 2


def test_an_export_that_cannot_be_made_leaves_no_folder_and_tells_the_file(tmp_path, consent, capsys):
    folder = tmp_path / "study"
    assert new(folder, consent, "--data", "creatures") == 0
    assert study("bots", folder, "--count", 1) == 0
    person = (folder / "person.pt").read_bytes()
    (folder / "person.pt").write_bytes(b"")
    assert study("export", folder, "--bots", "--out", tmp_path / "ds") == 2
    (folder / "person.pt").write_bytes(person)
    (log,) = (folder / "logs").glob("*.jsonl")
    lines = log.read_text().splitlines()
    log.write_text("\n".join(lines[:5] + lines[6:]) + "\n")
    capsys.readouterr()
    assert study("export", folder, "--bots", "--out", tmp_path / "ds") == 2
    assert f"line 6: the event is not one of the present page; restore {log}" in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()
