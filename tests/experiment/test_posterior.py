"""Traces as ArviZ files and their diagnostics. None of this needs torch: it runs on both lines of ArviZ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiment import posterior, scores
from experiment.errors import RunError, UsageError
from experiment.posterior import Trace, load_posterior, object_pairs, save_posterior, summary, to_arviz

HERE = Path(__file__).resolve()
SETTINGS = {"mode": "com", "views": None, "download": False, "nested": {"lr": 1e-3, "names": ["é", "犬"]}}


def trace(C: int = 3, T: int = 40, M: int = 2, N: int = 12, K: int = 4, seed: int = 0, **changes: Any) -> Trace:
    rng = np.random.default_rng(seed)
    fields: dict[str, Any] = {
        "signs": rng.integers(0, K, (C, T, M, N)),
        "accepted": rng.integers(0, N + 1, (C, T, M)),
        "log_joint": -100 + rng.normal(size=(C, T)),
        "log_evidence": -90 + rng.normal(size=(C, T)),
        "agent_names": tuple("ABCDEFGH"[:M]),
        "signs_count": K,
        "mode": "com",
    }
    return Trace(**fields | changes)


def sizes(data: Any, group: str) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    return {str(name): (array.dims, array.shape) for name, array in data[group].data_vars.items()}


# -- what is written -------------------------------------------------------------------------------


@pytest.mark.parametrize("C", [1, 3])
def test_every_array_has_chain_and_draw_first_and_named_axes(C: int) -> None:
    data = to_arviz(trace(C), burn_in=10, settings={}, thin=3, pairs=7)
    lead, T = ("chain", "draw"), 10
    assert sizes(data, "posterior") == {
        "log_joint": (lead, (C, T)),
        "log_evidence": (lead, (C, T)),
        "component_share": ((*lead, "agent", "rank"), (C, T, 2, 4)),
        "co_assignment": ((*lead, "agent", "pair"), (C, T, 2, 7)),
        "signs": ((*lead, "agent", "object"), (C, T, 2, 12)),
    }
    assert sizes(data, "sample_stats") == {
        "acceptance": ((*lead, "direction"), (C, T, 2)),
        "successive_ari": ((*lead, "agent"), (C, T, 2)),
        "kappa": (lead, (C, T)),
    }
    assert data["posterior"]["draw"].values.tolist() == list(range(10, 40, 3))
    assert data["posterior"]["agent"].values.tolist() == ["A", "B"]
    assert data["sample_stats"]["direction"].values.tolist() == ["A->B", "B->A"]


def test_more_chains_than_draws_are_not_taken_for_swapped_axes() -> None:
    data = to_arviz(trace(C=9, T=5), burn_in=0, settings={})
    assert data["posterior"]["log_joint"].shape == (9, 5)


def test_values_are_those_of_the_trace() -> None:
    played = trace(C=2, T=6)
    data = to_arviz(played, burn_in=1, settings={}, thin=2)
    kept = [1, 3, 5]
    group, stats = data["posterior"], data["sample_stats"]
    np.testing.assert_array_equal(group["signs"].values, played.signs[:, kept])
    np.testing.assert_array_equal(group["log_joint"].values, played.log_joint[:, kept])
    # with two agents B listens first, so the first direction is what B accepted
    assert stats["acceptance"].sel(direction="A->B").values[1, 2] == played.accepted[1, 5, 1] / 12
    assert stats["acceptance"].sel(direction="B->A").values[1, 2] == played.accepted[1, 5, 0] / 12
    assert stats["kappa"].values[0, 1] == scores.kappa(*played.signs[0, 3])
    # against the sweep before, which thinning dropped
    before, after = played.signs[0, 2, 1], played.signs[0, 3, 1]
    assert stats["successive_ari"].values[0, 1, 1] == scores.ari(before, after)
    i, j = map(int, str(group["pair"].values[5]).split("-"))
    together = played.signs[:, kept, 0, i] == played.signs[:, kept, 0, j]
    np.testing.assert_array_equal(group["co_assignment"].values[:, :, 0, 5], together)
    shares = np.sort(np.bincount(played.signs[0, 1, 0], minlength=4))[::-1] / 12
    np.testing.assert_array_equal(group["component_share"].values[0, 0, 0], shares)


def test_shared_signs_are_compared_by_what_each_would_say_alone() -> None:
    shared = np.zeros((1, 5, 2, 12), dtype=int)
    alone = trace(C=1, T=5).signs
    played = trace(C=1, T=5, signs=shared, alone=alone)
    kappa = to_arviz(played, burn_in=0, settings={})["sample_stats"]["kappa"].values
    assert kappa[0, 2] == scores.kappa(*alone[0, 2]) != 1


def test_nothing_diagnosed_depends_on_the_numbers_of_the_signs() -> None:
    played = trace()
    renumbered = trace(signs=np.array([2, 0, 3, 1])[played.signs])
    one, other = summary(played, 5)["quantities"], summary(renumbered, 5)["quantities"]
    assert one.keys() == other.keys()
    for name, row in one.items():
        assert other[name] == pytest.approx(row, rel=1e-9), name


def test_one_agent_three_agents_one_object() -> None:
    alone = to_arviz(trace(M=1, N=1), burn_in=0, settings={})
    assert "kappa" not in alone["sample_stats"]
    assert "co_assignment" not in alone["posterior"]
    three = to_arviz(trace(M=3), burn_in=0, settings={})
    assert three["sample_stats"]["direction"].values.tolist() == ["others->A", "others->B", "others->C"]
    assert np.isfinite(three["sample_stats"]["kappa"].values).all()


@pytest.mark.parametrize("objects", [0, 1, 2, 20, 21, 5000])
def test_pairs_are_different_and_the_same_at_every_call(objects: int) -> None:
    first, second = object_pairs(objects, 200)
    pairs = list(zip(first.tolist(), second.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) == min(200, objects * (objects - 1) // 2)
    assert all(0 <= i < j < objects for i, j in pairs)
    np.testing.assert_array_equal(object_pairs(objects, 200), (first, second))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"signs": np.zeros((3, 40, 12), dtype=int)}, "signs must be"),
        ({"accepted": np.zeros((40, 3, 2))}, "accepted must have the shape"),
        ({"log_joint": np.zeros((40, 3))}, "log_joint must have the shape"),
        ({"agent_names": ("A", "A")}, "agent_names must be 2 different names"),
        ({"signs_count": 3}, r"signs must lie in 0\.\.2"),
    ],
)
def test_a_wrong_trace_names_its_field(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        trace(**changes)


@pytest.mark.parametrize("burn_in", [-1, 40, 41])
def test_a_burn_in_that_leaves_no_draw_is_refused(burn_in: int) -> None:
    with pytest.raises(UsageError, match=r"--burn-in must be from 0 to --sweeps - 1 = 39.*it is"):
        summary(trace(), burn_in)


# -- the file --------------------------------------------------------------------------------------


def test_a_file_comes_back_equal_settings_included(tmp_path: Path) -> None:
    played = trace()
    path = tmp_path / "Ünï 実験" / "posterior.nc"
    save_posterior(path, played, burn_in=5, settings=SETTINGS)
    data = load_posterior(path)
    assert posterior.settings_of(data) == SETTINGS
    assert (data["posterior"].attrs["mode"], int(data["posterior"].attrs["burn_in"])) == ("com", 5)
    np.testing.assert_array_equal(data["posterior"]["signs"].values, played.signs[:, 5:])
    assert posterior.summary_of(data) == summary(played, 5)


def test_a_file_that_was_loaded_can_be_overwritten_and_what_was_loaded_stays(tmp_path: Path) -> None:
    path = tmp_path / "posterior.nc"
    save_posterior(path, trace(seed=1), burn_in=0, settings={"seed": 1})
    old = load_posterior(path)
    save_posterior(path, trace(seed=2), burn_in=0, settings={"seed": 2})
    new = load_posterior(path)
    np.testing.assert_array_equal(old["posterior"]["signs"].values, trace(seed=1).signs)
    np.testing.assert_array_equal(new["posterior"]["signs"].values, trace(seed=2).signs)
    path.unlink()
    assert os.listdir(tmp_path) == []
    descriptors = Path("/proc/self/fd")
    if descriptors.exists():
        assert not [fd for fd in descriptors.iterdir() if str(path) in os.path.realpath(fd)]


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "posterior.nc"
    save_posterior(path, trace(), burn_in=0, settings={"kept": True})

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(posterior, "_write", full)
    with pytest.raises(RunError, match=r"posterior\.nc could not be written: No space"):
        save_posterior(path, trace(), burn_in=0, settings={})
    assert os.listdir(tmp_path) == ["posterior.nc"]
    assert posterior.settings_of(load_posterior(path)) == {"kept": True}


@pytest.mark.parametrize("keep", [None, 0, 0.3, 0.6, 0.9, "junk", "foreign", "absent", "folder"])
def test_a_damaged_file_is_bad_input_that_names_it(tmp_path: Path, keep: Any) -> None:
    path = tmp_path / "posterior.nc"
    if keep == "folder":
        path.mkdir()
    elif keep == "junk":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 20)
    elif keep == "foreign":
        import h5netcdf

        with h5netcdf.File(path, "w") as file:
            file.dimensions = {"x": 3}
            file.create_variable("x", ("x",), data=np.arange(3))
    elif keep != "absent":
        save_posterior(path, trace(), burn_in=0, settings={})
        if keep is None:
            load_posterior(path)
            return
        os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(UsageError) as caught:
        load_posterior(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_other_line_of_arviz_reads_the_same(tmp_path: Path) -> None:
    """Give OTHER_PYTHON the interpreter of an environment with the other line of ArviZ."""
    other = os.environ.get("OTHER_PYTHON")
    if not other:
        pytest.skip("OTHER_PYTHON is not set")
    code = (
        "import sys; from pathlib import Path; import json\n"
        f"sys.path[:0] = [{str(HERE.parents[2])!r}, {str(HERE.parent)!r}]\n"
        "from experiment import posterior; import test_posterior as t\n"
        "data = posterior.load_posterior(Path(sys.argv[1]))\n"
        "assert posterior.settings_of(data) == t.SETTINGS\n"
        "print(json.dumps(posterior.summary_of(data)))\n"
        "posterior.save_posterior(Path(sys.argv[2]), t.trace(seed=7), burn_in=0, settings=t.SETTINGS)\n"
    )
    save_posterior(tmp_path / "ours.nc", trace(), burn_in=0, settings=SETTINGS)
    files = [str(tmp_path / "ours.nc"), str(tmp_path / "theirs.nc")]
    done = subprocess.run([other, "-c", code, *files], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0
    theirs, ours = json.loads(done.stdout), summary(trace(), 0)
    assert theirs["quantities"].keys() == ours["quantities"].keys()
    for name, row in ours["quantities"].items():
        assert theirs["quantities"][name] == pytest.approx(row, rel=1e-9), name
    data = load_posterior(tmp_path / "theirs.nc")
    np.testing.assert_array_equal(data["posterior"]["signs"].values, trace(seed=7).signs)
    assert posterior.settings_of(data) == SETTINGS


# -- diagnostics -----------------------------------------------------------------------------------


def test_rhat_is_not_available_with_one_chain_and_that_is_said() -> None:
    one = summary(trace(C=1), 0)
    assert one["rhat_note"] == "not available with one chain"
    assert one["rhat_max"] is None
    assert {row["rhat"] for row in one["quantities"].values()} == {None}
    assert one["quantities"]["log_joint"]["ess"] > 0
    short = summary(trace(T=3), 0)
    assert short["rhat_note"] == "not available with fewer than 4 draws"
    assert short["rhat_max"] is short["ess_min"] is None
    assert summary(trace(), 0)["rhat_note"] is None


@pytest.mark.parametrize("T", [1, 2])
def test_one_draw_has_a_mean_and_nothing_else(T: int) -> None:
    row = summary(trace(T=T), T - 1)["quantities"]["log_joint"]
    assert row["mean"] == pytest.approx(trace(T=T).log_joint[:, -1].mean())
    assert (row["rhat"], row["ess"]) == (None, None)


def test_mixed_chains_pass_and_chains_apart_do_not() -> None:
    good = summary(trace(T=400), 0)
    assert good["quantities"]["log_joint"]["rhat"] < 1.01
    assert good["quantities"]["log_joint"]["ess"] > 600
    apart = trace(T=400, log_joint=trace(T=400).log_joint + np.array([[0.0], [0.0], [5.0]]))
    bad = summary(apart, 0)
    assert bad["rhat_max"] == bad["quantities"]["log_joint"]["rhat"] > 1.5


def test_constant_chains_are_reported_and_not_scored() -> None:
    log_joint = trace().log_joint
    log_joint[0] = -50.0
    one = summary(trace(log_joint=log_joint), 0)["quantities"]["log_joint"]
    assert one["constant_chains"] == pytest.approx(1 / 3)
    assert (one["ess"], one["stuck_apart"]) == (None, 0.0)
    assert one["rhat"] > 1.1

    same = summary(trace(log_joint=np.full((3, 40), -50.0)), 0)
    row = same["quantities"]["log_joint"]
    assert row == {
        "mean": -50, "sd": 0, "rhat": None, "ess": None, "constant_chains": 1, "stuck_apart": 0
    }  # fmt: skip
    assert same["stuck_apart"] == []

    stuck = summary(trace(log_joint=np.full((3, 40), 1.0) * [[1], [1], [2]]), 0)
    assert stuck["quantities"]["log_joint"]["rhat"] is None
    assert stuck["stuck_apart"] == ["log_joint"]


def test_a_game_that_stands_still_is_reported_without_a_warning() -> None:
    signs = np.repeat(trace(C=2, T=1).signs, 20, axis=1)
    still = summary(trace(C=2, T=20, signs=signs), 0)
    shares = still["quantities"]["component_share[A, 1]"]
    assert (shares["constant_chains"], shares["rhat"], shares["ess"]) == (1.0, None, None)
    together = still["quantities"]["co_assignment[A]"]
    assert together["constant_chains"] == 1.0
    assert 0 < together["stuck_apart"] < 1  # on some pairs the two chains agree
    assert still["quantities"]["successive_ari[A]"]["mean"] == 1.0


def test_values_that_are_not_finite_have_no_diagnostics() -> None:
    log_joint = trace().log_joint
    log_joint[1, 7] = -np.inf
    row = summary(trace(log_joint=log_joint), 0)["quantities"]["log_joint"]
    assert (row["rhat"], row["ess"]) == (None, None)
    assert row["mean"] == pytest.approx(log_joint[np.isfinite(log_joint)].mean())


# -- imports ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["experiment.posterior", "experiment.environment"])
def test_importing_it_is_quick(module: str) -> None:
    heavy = "{'arviz', 'torch', 'matplotlib', 'sklearn'}"
    code = f"import sys, {module}; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE.parents[2], capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_arviz_is_imported_whatever_the_backend_and_without_a_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import os, warnings; warnings.simplefilter('error'); from experiment import posterior\n"
        "posterior._arviz(); assert os.environ['MPLBACKEND'] == 'no-such-backend'\n"
        "assert os.environ['XDG_CACHE_HOME'].endswith('file')\n"
    )
    changed = os.environ | {
        "MPLBACKEND": "no-such-backend",
        "XDG_CACHE_HOME": str(tmp_path / "file"),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HERE.parents[2], env=changed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
