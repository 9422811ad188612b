"""A grid of runs: what it is made of, what it finds in its folder, how it is run, and what its tables say."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.comparison import compare as command
from mhng.experiment.comparison import process_pool
from mhng.experiment.comparison.compare import compare
from mhng.experiment.comparison.grid import build_grid, parse_seeds
from mhng.experiment.comparison.plan import next_action
from mhng.experiment.comparison.process_pool import Task, run_tasks
from mhng.experiment.comparison.statistics import (
    METRICS,
    SENTENCE_METRICS,
    Outcome,
    Row,
    numbers,
    paired,
    spread,
    summarise,
)
from mhng.experiment.comparison.table import comma_separated, markdown
from mhng.experiment.errors import UsageError
from mhng.experiment.plots.comparison import Dots, plot_dots, plot_quality
from mhng.experiment.settings.config import plain, resolve, to_flags
from mhng.experiment.util.locks import locked
from mhng.parser import parse

HOME = Path(__file__).resolve().parents[3]
TINY = [
    "--dataset", "synthetic", "--likelihood", "identity", "--limit", "20", "--signs", "3", "--rounds", "0",
    "--sweeps", "4", "--burn-in", "1", "--starts", "1", "--chains", "1", "--device", "cpu",
]  # fmt: skip


# -- statistics ------------------------------------------------------------------------------------


def test_the_interval_is_students():
    found = spread([0.8, None, 0.9, 1.0])
    half = 4.302653 * 0.1 / 3**0.5  # the 97.5% quantile with two degrees of freedom
    assert found["count"] == 3 and found["worst"] == 0.8
    assert [found["mean"], found["sd"]] == pytest.approx([0.9, 0.1])
    assert [found["low"], found["high"]] == pytest.approx([0.9 - half, 0.9 + half], abs=1e-6)
    assert spread([3.0, 5.0], most_is_worst=True)["worst"] == 5.0


def test_too_few_values_have_no_interval():
    one, none = spread([0.5]), spread([None])
    assert (one["mean"], one["worst"], one["sd"], one["low"], one["high"]) == (0.5, 0.5, None, None, None)
    assert none == {"count": 0, "mean": None, "sd": None, "low": None, "high": None, "worst": None}


def test_differences_are_of_seeds_that_both_have():
    found = paired({0: 0.9, 1: 0.7, 2: None, 3: 0.7, 5: 0.5}, {5: 0.5, 1: 0.8, 0: 0.4, 2: 0.5, 4: 0.1})
    half = 4.302653 * np.std([0.5, -0.1, 0.0], ddof=1) / 3**0.5
    assert (found["won"], found["lost"], found["of"]) == (1, 1, 3)
    assert [found["mean"], found["low"], found["high"]] == pytest.approx([0.4 / 3, 0.4 / 3 - half, 0.4 / 3 + half])
    assert paired({0: 1.0}, {1: 1.0}) == {"mean": None, "low": None, "high": None, "won": 0, "lost": 0, "of": 0}


def summary_of_run(ari, acceptance=0.5):
    agents = {name: {"ari": one, "ari_mean": one, "nmi": one, "accuracy": one} for name, one in ari.items()}
    heard = None if acceptance is None else {"A->B": acceptance, "B->A": acceptance + 0.2}
    scores = {"kappa": 0.9, "kappa_mean": 0.8, "kappa_matched": 0.7, "log_evidence_mean": -5.0, "seconds": 3.0}
    return {"agents": agents, "acceptance": heard, **scores}


def test_a_runs_numbers_are_means_over_agents():
    found = numbers(summary_of_run({"A": 0.4, "B": 0.6}))
    assert tuple(found) == METRICS
    assert [found["ari"], found["accuracy"], found["acceptance"]] == pytest.approx([0.5, 0.5, 0.6])
    assert (found["kappa"], found["kappa_after_burn_in"], found["seconds"]) == (0.9, 0.8, 3.0)
    silent = numbers(summary_of_run({"A": None, "B": None}, None))
    assert silent["ari"] is None and silent["acceptance"] is None


def test_the_numbers_of_sentences():
    agents = {name: {"over_holistic": nats, "seen": {"topsim": 0.5}} for name, nats in (("A", 10.0), ("B", 30.0))}
    language = {"agents": agents, "seen": {"found": {"A->B": {"10": 0.5}}}, "unseen": None}
    found = numbers(summary_of_run({"A": 0.4, "B": 0.6}) | {"kappa_slots": [0.9, 0.7], "language": language})
    assert tuple(found) == METRICS
    assert [found[name] for name in SENTENCE_METRICS] == [0.7, 20.0, 0.5, None, None, 0.5]
    language["unseen"] = {"all_right": {"together": {"in": 0.75, "out": None}}, "found": {"A->B": {"10": 0.25}}}
    found = numbers(summary_of_run({"A": 0.4, "B": 0.6}) | {"kappa_slots": [0.9, 0.7], "language": language})
    assert [found[name] for name in SENTENCE_METRICS] == [0.7, 20.0, 0.5, 0.75, None, 0.25]
    row = Row("com", "com", "", {}, [Outcome(0, "x", found)])
    assert "| com | 0.750 | 0.750 | - | - | 20.0 | 0.700 (0.700) | 0.500 | 0.250 |" in markdown(
        summarise([row], None, {})
    )


def outcome(seed, ari, kappa=0.5):
    found = dict.fromkeys(METRICS, 0.25) | dict.fromkeys(SENTENCE_METRICS)
    return Outcome(seed, f"x-seed{seed}", found | {"ari": ari, "kappa": kappa, "seconds": 60.0})


@pytest.fixture
def three_rows():
    failed = Outcome(1, "com-split-seed1", error="the loss is not finite")
    rows = [
        Row("com", "com", "", {}, [outcome(0, 0.8), outcome(1, 0.9), outcome(2, 1.0)]),
        Row("com, split", "com", "split", {"start": "split"}, [outcome(0, 0.9, 0.75), failed, outcome(2, 1.0)]),
        Row("gibbs", "gibbs", "", {}, [outcome(seed, None) for seed in range(3)]),
    ]
    return summarise(rows, "com", {"dataset": "digits"})


def test_the_table_says_what_was_found(three_rows):
    rows, differences = markdown(three_rows).split("Paired differences from com (same seeds):")
    lines = rows.split("\n")
    cells = cells_of(rows)
    half = 4.302653 * 0.1 / 3**0.5
    assert lines[2].startswith("| com | 0.800 0.900 1.000 |")
    assert lines[2].split(" | ")[2] == f"0.900 ± 0.100 [{0.9 - half:.3f}, {0.9 + half:.3f}]"
    assert lines[2].split(" | ")[3:] == ["0.800", "0.250", "0.250", "0.500 (0.500)", "0.250", "0.250", "60 |"]
    # One that failed is neither dropped from the row nor from the count, and the reason is told.
    assert cells["com, split (2 of 3)"][0] == "0.900 - 1.000"
    assert differences.endswith("Failed runs:\n\n- com, split, seed 1 (com-split-seed1): the loss is not finite\n")
    # Without labels there is no ARI, and kappa remains.
    assert cells["gibbs"][:3] == ["-", "-", "-"] and cells["gibbs"][5] == "0.500 (0.500)"
    cells = cells_of(differences)
    half = 12.7062 * 0.05  # one degree of freedom; differences of 0.1 and 0
    assert cells["com, split"][:2] == [f"+0.050 [{0.05 - half:+.3f}, {0.05 + half:+.3f}]", "1, 0 of 2"]
    assert cells["com, split"][3].startswith("1, 0 of 2")
    assert cells["gibbs"] == ["-", "0, 0 of 0", "+0.000 [+0.000, +0.000]", "0, 0 of 3"] and "com" not in cells
    assert "Seeds: 0 1 2." in rows


def cells_of(text):
    """The cells of each line of a table by its first."""
    lines = [line.strip("| ").split(" | ") for line in text.split("\n") if line.startswith("| ")]
    return {line[0]: line[1:] for line in lines}


def test_one_row_has_no_differences_and_a_grid_that_failed_has_a_table():
    failed = Row("com", "com", "", {}, [Outcome(0, "com-seed0", error="no")])
    text = markdown(summarise([failed], None, {}))
    assert "| com (0 of 1) | - | - | - |" in text and "Differences" not in text


def test_the_file_for_programs_has_every_run(three_rows):
    rows = list(csv.DictReader(comma_separated(three_rows).splitlines()))
    assert len(rows) == 9 and rows[0]["ari"] == "0.8" and rows[8]["ari"] == ""
    assert rows[4]["status"] == "failed" and rows[4]["error"] == "the loss is not finite" and rows[4]["kappa"] == ""
    assert {row["variant"] for row in rows} == {"", "split"}


def test_the_picture_has_a_dot_a_seed_and_the_interval(three_rows, drawn):
    plot_quality(Path(), three_rows)
    ari, kappa = drawn[0].axes
    dots, mean, interval = ari.lines[:3]
    np.testing.assert_allclose(dots.get_xdata(), [0.8, 0.9, 1.0])
    np.testing.assert_allclose(mean.get_xdata(), [0.9])
    found = three_rows["rows"][0]["statistics"]["ari"]
    np.testing.assert_allclose(interval.get_xdata(), [found["low"], found["high"]])
    assert [text.get_text() for text in ari.get_yticklabels()] == ["com", "com, split (2 of 3)", "gibbs"]
    assert sum(line.get_marker() == "o" for line in ari.lines) == 2  # gibbs has no ARI
    assert sum(line.get_marker() == "o" for line in kappa.lines) == 3


def test_a_row_without_a_run_has_its_place_in_the_reports_picture(tmp_path):
    rows = [Dots("com", [0.5], 0.5, None, None), Dots("broken", [], None, None, None)]
    plot_dots(tmp_path / "dots.png", rows, "ARI", 0.5)
    assert (tmp_path / "dots.png").read_bytes().startswith(b"\x89PNG")


# -- the grid --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("7", [7]), (7, [7]), ("3-3", [3]), (" 1-2 ", [1, 2])]
)
def test_ranges_have_both_ends(part, seeds):
    assert list(parse_seeds(part, "--seeds")) == seeds


@pytest.mark.parametrize("part", ["4-0", "-1", "a", "", "1-", "1.5", "0-99999", True, str(2**63), "1-2-3", "٣-x"])
def test_what_is_no_range_is_refused(part):
    with pytest.raises(UsageError, match="--seeds"):
        parse_seeds(part, "--seeds")


FILE = """
[compare]
modes = ["com", "gibbs", 1]
seeds = ["0-1", 5]
baseline = "gibbs, wide"

[settings]
dataset = "digits"
epochs = 3
views = [0, 90]

[variants.""]

[variants.wide]
signs = 20
epochs = 4
"""


def test_a_file_and_what_it_is_written_as_are_one_grid(tmp_path):
    (tmp_path / "grid.toml").write_text(FILE)
    grid = build_grid(tmp_path / "grid.toml")
    assert [name for name, _, _ in grid.rows()] == ["com", "gibbs", "all", "com, wide", "gibbs, wide", "all, wide"]
    assert grid.seeds == (0, 1, 5) and grid.baseline == "gibbs, wide"
    (tmp_path / "again.toml").write_text(grid.to_toml())
    assert build_grid(tmp_path / "again.toml") == grid
    last = grid.runs()[-1]
    assert (last.folder, last.row, last.config.signs, last.config.seed) == ("all-wide-seed5", "all, wide", 20, 5)
    assert last.config.epochs == 4 and grid.runs()[0].config.epochs == 3 and plain(last.config)["views"] == (0.0, 90.0)


def test_flags_beat_the_file_and_a_variant_all_runs(tmp_path):
    (tmp_path / "grid.toml").write_text(FILE)
    words = ["--epochs", "9", "--lr=0.5"]
    grid = build_grid(
        tmp_path / "grid.toml", modes=["no-com"], seeds=["8"], variants=["b c: --lr 0.1"], baseline="no-com, b c",
        words=words,
    )  # fmt: skip
    (run,) = grid.runs()
    assert (run.folder, run.config.epochs, run.config.lr, run.config.dataset) == ("no-com-b-c-seed8", 9, 0.1, "digits")
    assert [run.config.epochs for run in build_grid(tmp_path / "grid.toml", words=words).runs()[::9]] == [9, 4]


def test_the_default_is_every_mode_with_five_seeds():
    runs = build_grid().runs()
    assert len(runs) == 20 and [run.folder for run in runs[:6:5]] == ["com-seed0", "no-com-seed0"]


def test_settings_go_to_a_run_by_its_flags():
    flags = {"views": "0,-12.5", "download": True, "lr": "1e-30", "data_root": "-x y", "signs": "3", "seed": "4"}
    config = resolve(flags)
    arguments = parse(["train", *to_flags(config)])
    assert resolve({name: getattr(arguments, name) for name in flags}) == config
    assert to_flags(resolve({})) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"modes": ["con"]}, ["--modes", "did you mean com?"]),
        ({"modes": ["com", "-1"]}, ["--modes has com twice"]),
        ({"seeds": ["0-3", "2"]}, ["--seeds has 2 twice"]),
        ({"seeds": ["0-9000"], "modes": ["com", "all"]}, ["--seeds", "at most 10000"]),
        ({"variants": ["a: --epochs 3", "b: --strat split"]}, ["--variant 'b'", "'--strat'", "did you mean --start?"]),
        (
            {"variants": ["a: --epochs 3", "b: --epochs x"]},
            ["--variant 'b': --epochs is 'x'; expected a whole number"],
        ),
        (
            {"variants": ["", "b: --sweeps 3 --burn-in 20"]},
            ["row 'com, b'", "--burn-in is 20; expected less than --sweeps, 3"],
        ),
        ({"variants": ["split --start split"]}, ["'NAME: FLAGS'"]),
        ({"variants": ["--start split"]}, ["'NAME: FLAGS'"]),
        ({"variants": [": --start split"]}, ["--variant", "requires a name"]),
        ({"variants": ["a: --start 'split"]}, ["--variant 'a'", "quotation"]),
        ({"variants": ["a:", "a:"]}, ["--variant 'a' is given twice"]),
        ({"variants": ["a b:", "a-b:"]}, ["row 'com, a b'", "rename"]),
        ({"variants": ["a|b:"]}, ["--variant", "'a|b'"]),
        ({"variants": ["a: --seed 3"]}, ["--variant 'a': --seed", "use --seeds"]),
        ({"variants": ["a: --resume x"]}, ["--variant 'a': --resume"]),
        ({"words": ["--mode", "com"]}, ["after --: --mode", "use --modes"]),
        ({"words": ["--run-dir", "x"]}, ["after --: --run-dir", "--out"]),
        ({"words": ["--overwrite"]}, ["after --: --overwrite"]),
        ({"words": ["--config=x"]}, ["after --: --config=x", "use the --config of compare"]),
        ({"words": ["--sweeps"]}, ["after --", "--sweeps"]),
        ({"words": ["extra"]}, ["after --", "'extra'"]),
        ({"words": ["--dataset", "synthetic", "--likelihood", "bernoulli"]}, ["row 'com'", "--likelihood bernoulli"]),
        ({"words": ["--device", "cuda:99"]}, ["row 'com'", "--device is cuda:99"]),
        ({"baseline": "co"}, ["--baseline", "(com; no-com; all; gibbs)", "did you mean com?"]),
        ({"jobs": 0}, ["--jobs"]),
        ({"threads": -1}, ["--threads"]),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(given, said, tmp_path):
    with pytest.raises(UsageError) as caught:
        compare(tmp_path / "grid", **given)
    for part in said:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs = 3", "unknown key 'epochs'; settings of train belong in [settings]"),
        ("[setings]", "unknown key 'setings'; did you mean settings?"),
        ("[compare]\nseed = 3", "[compare]: unknown key 'seed'"),
        ("[compare]\nmodes = []", "modes is []; expected a list"),
        ("[compare]\nseeds = [0.5]", "seeds is [0.5]; expected a list"),
        ('[compare]\nbaseline = "x"', "baseline is 'x'; expected a row of the table"),
        ("compare = 3", "compare is 3; expected a table"),
        ("[variants]\na = 3", "a is 3; expected a table"),
        ("[settings]\nepochs = 'x'", "[settings]: epochs is 'x'; expected a whole number"),
        ("[settings]\nseed = 3", "[settings]: seed cannot be set per run"),
        ("[variants.ok]\n[variants.a]\nstrat = 3", "[variants.a]: unknown key 'strat'; did you mean start?"),
        ("[variants.'']\nepochs = 3", "requires a name"),
        ("[variants.'+']\nepochs = 3", "'+'"),
        ("[", "not valid TOML"),
    ],
)
def test_wrong_keys_are_named_with_their_file(text, said, tmp_path):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        compare(tmp_path / "out", file=tmp_path / "grid.toml")
    assert said in str(caught.value) and "grid.toml" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# -- folders ---------------------------------------------------------------------------------------


def change_manifest(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | fields))


def test_what_a_folder_holds_decides_what_is_done(tmp_path, vectors_run):
    changed = {
        "dataset": "synthetic", "likelihood": "identity", "limit": "20", "signs": "3", "rounds": "0",
        "latent_dim": "4", "epochs": "60", "sweeps": "6", "burn_in": "1", "starts": "2", "batch_size": "32",
        "lr": "3e-3", "chains": "1",
    }  # fmt: skip
    same, folder = resolve(changed), tmp_path / "run"
    assert next_action(folder, same, overwrite=False) == "train"
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / ".config.toml.7.tmp").touch()  # as a kill may leave it
    assert next_action(folder, same, overwrite=False) == "train"
    shutil.copytree(vectors_run, folder, dirs_exist_ok=True)
    # latent-dim and jitter are fitted to such objects, device may change: none makes another run
    for own in ({}, {"latent_dim": "9"}, {"jitter": "0.5"}, {"device": "auto"}):
        assert next_action(folder, resolve(changed | own), overwrite=True) == "skip"
    other = resolve(changed | {"signs": "4"})
    with pytest.raises(UsageError, match=r"run has signs = 3, but the grid has 4; .*--overwrite"):
        next_action(folder, other, overwrite=False)
    assert next_action(folder, other, overwrite=True) == "overwrite"
    for status in ("running", "interrupted", "failed"):
        change_manifest(folder, status=status)
        assert next_action(folder, same, overwrite=False) == "resume"
    (folder / "config.toml").unlink()
    assert next_action(folder, same, overwrite=False) == "overwrite"
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match="not a run folder"):
        next_action(folder, same, overwrite=True)


# -- side by side ----------------------------------------------------------------------------------


def script(tmp_path, number, text):
    return Task([sys.executable, "-c", text], tmp_path / f"{number}.log")


def test_programs_run_side_by_side_with_their_share_of_threads(tmp_path):
    text = (
        "import os, sys, time, pathlib; here = pathlib.Path(sys.argv[2], sys.argv[1]); here.touch()\n"
        "print(os.environ['OMP_NUM_THREADS'], len(list(here.parent.iterdir())), flush=True)\n"
        "time.sleep(0.3); here.unlink(); sys.exit(int(sys.argv[1]) % 2)"
    )
    alive = tmp_path / "alive"
    alive.mkdir()
    tasks = [Task([sys.executable, "-c", text, str(n), str(alive)], tmp_path / f"{n}.log") for n in range(5)]
    codes = {}
    run_tasks(tasks, jobs=2, threads=3, on_end=lambda index, code: codes.__setitem__(index, code))
    assert codes == {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}
    found = [task.log.read_text().splitlines()[-1].split() for task in tasks]
    assert {threads for threads, _ in found} == {"3"}
    assert max(int(alive) for _, alive in found) == 2


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_the_grid_stops_its_programs_tidily(stop, tmp_path):
    text = (
        "import time\ntry:\n print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n print('tidied')"
    )
    tasks = [script(tmp_path, number, text) for number in range(3)]

    def waiting():
        if all(task.log.exists() and "\nready" in task.log.read_text() for task in tasks[:2]):
            os.kill(os.getpid(), stop)

    ended = []
    with pytest.raises(KeyboardInterrupt):
        run_tasks(tasks, jobs=2, threads=1, on_end=lambda *one: ended.append(one), on_poll=waiting)
    assert [task.log.read_text().endswith("tidied\n") for task in tasks[:2]] == [True, True]
    assert not tasks[2].log.exists() and ended == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_programs_can_be_stopped_where_interrupts_are_ignored(tmp_path):
    text = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts a command with & behind it
    try:
        run_tasks([script(tmp_path, 0, text)], jobs=1, threads=1, on_end=lambda *_: None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "0.log").read_text().endswith("True\n")


def test_a_program_that_will_not_stop_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process_pool, "STOP_SECONDS", 0.2)
    started = []
    start = process_pool._start

    def keep(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(process_pool, "_start", keep)
    text = "import signal, time; signal.signal(2, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    task = script(tmp_path, 0, text)

    def waiting():
        if task.log.exists() and "\nready" in task.log.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks([task], jobs=1, threads=1, on_end=lambda *_: None, on_poll=waiting)
    assert started[0].returncode == -signal.SIGKILL


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch):
    """Runs are made in this process, which is quicker; the commands that would have been started are returned."""
    commands = []

    def one_by_one(tasks, *, jobs, threads, on_end, on_poll):
        for index, task in enumerate(tasks):
            commands.append(list(task.command[task.command.index("train") :]))
            with task.log.open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                code = cli.main(commands[-1])
            on_end(index, code)

    monkeypatch.setattr(command, "run_tasks", one_by_one)
    return commands


def test_a_grid_is_run_once_and_grows(here, tmp_path, capsys):
    out = tmp_path / "grid"
    arguments = ["compare", "--out", str(out), "--modes", "com", "all", "--", *TINY]
    grown = [*arguments[:3], "--seeds", "0-1", "3", *arguments[3:]]
    assert cli.main([*arguments[:3], "--seeds", "0-1", *arguments[3:]]) == 0
    printed = capsys.readouterr()
    assert len(here) == 4 and printed.out == (out / "table.md").read_text()
    lines = [line for line in printed.err.splitlines() if line.startswith("[")]
    assert re.fullmatch(r"\[4/4\] all, seed 1: done, ARI -?0\.\d+, kappa -?[01]\.\d+, \d+ s", lines[-1])
    assert re.fullmatch(r"\[1/4\] com, seed 0: done, .*; about \d+ .* left", lines[0])
    assert {file.name for file in out.iterdir() if file.is_file()} == {
        "grid.toml", "summary.json", "table.md", "table.csv", "table.tex", "quality.png", "curves.png", ".lock",
        "com-seed0.log", "com-seed1.log", "all-seed0.log", "all-seed1.log",
    }  # fmt: skip
    found = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    own = json.loads((out / "com-seed1" / "summary.json").read_text())
    run = found["rows"][0]["runs"][1]
    assert run["numbers"]["ari"] == pytest.approx(np.mean([agent["ari"] for agent in own["agents"].values()]))
    assert run["numbers"]["kappa"] == own["kappa"] and run["folder"] == "com-seed1" and run["status"] == "done"
    assert found["baseline"] == "com" and found["rows"][0]["paired"] is None
    assert found["rows"][1]["paired"]["ari"]["of"] == 2 and found["settings"]["signs"] == 3
    assert tomllib.loads((out / "grid.toml").read_text())["compare"]["seeds"] == [0, 1]

    assert cli.main(["compare", "--out", str(out)]) == 0
    again = capsys.readouterr()
    assert len(here) == 4 and again.out == printed.out and again.err == ""
    assert cli.main(["compare", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found

    assert cli.main(grown) == 0
    folders = [word.split("/")[-1] for words in here[4:] for word in words if word.startswith("--run-dir")]
    assert folders == ["com-seed3", "all-seed3"]

    before = (out / "table.md").read_text()
    capsys.readouterr()
    assert cli.main([*grown, "--signs", "4"]) == 2
    assert "com-seed0 has signs = 3, but the grid has 4" in capsys.readouterr().err
    assert len(here) == 6 and (out / "table.md").read_text() == before
    assert cli.main([*grown[:3], "--overwrite", "--seeds", "0", "--", *TINY, "--signs", "4"]) == 0
    assert json.loads((out / "com-seed0" / "summary.json").read_text())["signs"] == 4


def test_settings_that_gave_way_to_ones_own_data_are_no_change(here, tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(20, 3))
    (tmp_path / "a.csv").write_text("\n".join(",".join(f"{value:.3f}" for value in row) for row in rows))
    own = ["--dataset", "csv", "--data", str(tmp_path / "a.csv"), "--header", "no", *TINY[2:]]
    arguments = ["compare", "--out", str(tmp_path / "grid"), "--modes", "com", "--seeds", "0", "--", *own]
    assert cli.main(arguments) == 0, capsys.readouterr().err
    assert cli.main(arguments) == 0 and len(here) == 1
    assert "| com | - | - | - | - | - |" in capsys.readouterr().out  # no labels, no ARI
    assert cli.main([*arguments, "--signs", "4"]) == 2


def test_a_failed_run_is_listed_and_the_others_go_on(here, tmp_path, capsys):
    digits = ["--dataset", "digits", "--limit", "20", "--epochs", "2", "--rounds", "0", "--sweeps", "2"]
    arguments = [
        "compare", "--out", str(tmp_path), "--modes", "com", "--seeds", "0", "--variant", "broken: --lr 1e30",
        "--variant", "whole: --lr 1e-3", "--", *digits, "--burn-in", "1", "--starts", "1",
        "--chains", "1", "--batch-size", "10",
        "--device", "cpu",
    ]  # fmt: skip
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert "| com, broken (0 of 1) | - |" in out and re.search(r"\| com, whole \| -?\d", out)
    (line,) = [line for line in out.splitlines() if line.startswith("- com, broken, seed 0 (com-broken-seed0): ")]
    assert "not finite" in line and "[1/2] com, broken, seed 0: failed: " in err
    found = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert found["rows"][0]["runs"][0]["error"] and found["rows"][0]["statistics"]["ari"]["mean"] is None
    # Again it is tried, from where it failed; what is done is not.
    assert cli.main(arguments) == 1
    assert here[2:] == [["train", f"--resume={tmp_path / 'com-broken-seed0'}"]]


def test_a_stopped_run_goes_on(here, tmp_path, capsys):
    out = tmp_path / "grid"
    assert cli.main(["compare", "--out", str(out), "--modes", "com", "--seeds", "0", "--", *TINY]) == 0
    table = capsys.readouterr().out
    change_manifest(out / "com-seed0", status="running")
    (out / "com-seed0" / "summary.json").unlink()
    assert cli.main(["compare", "--out", str(out)]) == 0
    assert here[1] == ["train", f"--resume={out / 'com-seed0'}"]
    assert capsys.readouterr().out.split(" | ")[:15] == table.split(" | ")[:15]
    # A summary that another program has written is a failed run and no traceback.
    (out / "com-seed0" / "summary.json").write_text("{}")
    assert cli.main(["compare", "--out", str(out)]) == 1
    assert "summary.json has an unknown format" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["manifest.json", "summary.json", "table.md"])
def test_a_folder_of_something_else_is_left_alone(name, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    assert cli.main(["compare", "--out", str(tmp_path), "--", *TINY]) == 2
    assert name in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_two_grids_cannot_have_one_folder(here, tmp_path, capsys):
    with locked(tmp_path):
        assert cli.main(["compare", "--out", str(tmp_path), "--", *TINY]) == 2
    assert "in use" in capsys.readouterr().err and here == []


@pytest.mark.parametrize(
    ("code", "log", "reason"),
    [
        (1, "$ x\nEpoch\nmhng train: the disk is full\n\n", "the disk is full"),
        (1, "$ x\nTraceback:\n  line\nValueError: odd\n", "ValueError: odd"),
        (1, "$ x\nmhng train: it is in use\niteration 5/5\n", "it is in use"),
        (1, "$ x\nmhng train: interrupted\n$ y\nSegments\n", "Segments"),
        (-9, "$ x\n", "killed by SIGKILL"),
        (3, "$ x\n", "exit code 3"),
        (3, None, "exit code 3"),
    ],
)
def test_the_reason_is_what_the_run_said_last(code, log, reason, tmp_path):
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert command._failure(code, tmp_path / "log") == reason


def test_ctrl_c_ends_the_command_and_its_runs(tmp_path):
    arguments = [
        sys.executable, str(HOME / "cli.py"), "compare", "--out", "grid", "--modes", "com", "--seeds", "0", "--",
        "--dataset", "digits", "--limit", "60", "--epochs", "2", "--sweeps", "4", "--burn-in", "1", "--starts", "1",
        "--chains", "1",
        "--rounds", "4000", "--device", "cpu",
    ]  # fmt: skip
    process = subprocess.Popen(arguments, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run, waited = tmp_path / "grid" / "com-seed0", time.monotonic()
    while not (run / "checkpoint.pt").exists():
        assert process.poll() is None and time.monotonic() - waited < 120
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines() == [
        "0 of 1 runs are done; run the same command again to continue",
        "cli.py compare: interrupted",
    ]
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
    log = (tmp_path / "grid" / "com-seed0.log").read_text().splitlines()
    assert log[0].startswith("$ ") and log[-1].startswith("mhng train: interrupted; continue: ")
