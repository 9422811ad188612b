"""`corpus RUN`: every message stands there once, under the right object and speaker, in one numbering of signs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng import cli
from mhng.experiment.evaluation.corpus import corpus
from mhng.experiment.metrics import partitions
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.posterior import load_posterior, save_posterior
from mhng.experiment.runs.trace import RoundTrace
from mhng.experiment.settings.config import plain, resolve


def said(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert cli.main(["corpus", str(run), *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def signs_of(lines: list[dict[str, Any]], *shape: int) -> np.ndarray:
    """The signs by chain, draw, speaker and object, each place written once."""
    found = np.full(shape, -1)
    draws = sorted({line["draw"] for line in lines})
    for line in lines:
        place = line["chain"], draws.index(line["draw"]), "AB".index(line["speaker"]), line["object"]
        assert found[place] == -1
        (found[place],) = line["message"]
    assert found.min() >= 0
    return found


def test_the_last_draw_is_signs_npz(digits_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(digits_run, capsys)
    arrays = np.load(digits_run / "signs.npz")
    assert len(lines) == 400
    for line in lines:
        n = line["object"]
        assert line["message"] == [arrays[f"signs_{line['speaker']}"][n]]
        assert (line["index"], line["label"]) == (arrays["index"][n], arrays["label"][n])
        assert (line["round"], line["chain"], line["draw"]) == (1, 0, 5)


def test_all_draws_are_the_posteriors_and_end_in_the_last(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "corpus.jsonl"
    assert cli.main(["corpus", str(digits_run), "--draws", "all", "--out", str(out)]) == 0
    assert f"Corpus: {out}: 2000 messages (2 speakers, 200 objects, chains x draws: 1 x 5)" in capsys.readouterr().out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    found = signs_of(lines, 1, 5, 2, 200)
    raw = load_posterior(digits_run / "posterior.nc")["signs"]["signs"].values
    for draw in range(5):  # the same partition, perhaps under other numbers
        assert partitions.ari(found[0, draw].ravel(), raw[0, draw].ravel()) == pytest.approx(1)
    np.testing.assert_array_equal(found[0, -1], signs_of(said(digits_run, capsys), 1, 1, 2, 200)[0, 0])


@pytest.mark.parametrize("mode", ["com", "no-com"])
def test_chains_and_draws_that_number_their_signs_otherwise_get_one_numbering(
    mode: str, digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One partition under a new numbering in each draw (in no-com for each agent) is one corpus all over."""
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    arrays = dict(np.load(run / "signs.npz"))
    rng = np.random.default_rng(0)
    last = np.stack([arrays["signs_A"], arrays["signs_B"]])
    signs = np.empty((3, 6, 2, 200), dtype=np.int64)
    for c, t in np.ndindex(3, 6):
        one, other = rng.permutation(10), rng.permutation(10)
        signs[c, t] = one[last[0]], (other if mode == "no-com" else one)[last[1]]
    signs[0, -1] = last
    trace = RoundTrace(
        signs, np.zeros((3, 6, 2), dtype=int), rng.normal(size=(3, 6)), np.zeros((3, 6)), np.zeros((3, 6, 2)),
        np.zeros((3, 6, 2)), ("A", "B"), 10, mode,
    )  # fmt: skip
    config = resolve({}, run / "config.toml")
    save_posterior(run / "posterior.nc", trace, burn_in=2, settings=plain(config))
    found = signs_of(said(run, capsys, "--draws", "all"), 3, 4, 2, 200)
    assert (found == last).all()


def test_labels_that_are_unknown_are_null(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    arrays = dict(np.load(run / "signs.npz"))
    del arrays["label"]
    np.savez(run / "signs.npz", **arrays)
    assert {line["label"] for line in said(run, capsys)} == {None}


def test_formats_of_single_signs(digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [line["message"] for line in said(digits_run, capsys)]
    assert said(digits_run, capsys, "--format", "xferbench") == messages
    arrays = np.load(digits_run / "signs.npz")
    meanings = [[str(label)] for label in arrays["label"]] * 2
    assert said(digits_run, capsys, "--format", "csar") == [
        list(pair) for pair in zip(messages, meanings, strict=True)
    ]


def test_refusals_are_one_line_and_write_nothing(
    digits_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, unfinished = tmp_path / "bare", tmp_path / "unfinished"
    for run in (bare, unfinished):
        shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("plots"))
    (unfinished / "signs.npz").unlink()
    data = load_posterior(bare / "posterior.nc")
    del data["signs"]["signs"]
    (bare / "posterior.nc").unlink()
    data.to_netcdf(str(bare / "posterior.nc"))
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    for run, arguments, what in (
        (tmp_path / "typo", [], "no such folder"),
        (unfinished, [], "the last round writes it"),
        (bare, ["--draws", "all"], "holds no signs; train with --keep"),
        (bare, ["--out", str(bare)], "--out"),
        (bare, ["--out", str(bare / "config.toml")], "is an input file"),
    ):
        out = [] if "--out" in arguments else ["--out", str(tmp_path / "x.jsonl")]
        assert cli.main(["corpus", str(run), *arguments, *out]) == 2
        printed, err = capsys.readouterr()
        assert printed == "" and what in err and err.count("\n") == 1
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    assert corpus(bare, out=tmp_path / "x.jsonl") == 400 and run_folder.SIGNS  # the last draw needs no posterior
