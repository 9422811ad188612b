"""The posterior's file. It runs on both lines of ArviZ."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng.experiment.diagnostics.summary import summarise_posterior, summarise_trace
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import posterior
from mhng.experiment.runs.posterior import load_posterior, save_posterior, settings_of
from tests.draws import assert_rows_agree, trace

HOME = Path(__file__).resolve().parents[3]
SETTINGS = {"mode": "com", "views": None, "download": False, "nested": {"lr": 1e-3, "names": ["é", "犬"]}}


def test_a_file_comes_back_equal_settings_included(tmp_path: Path) -> None:
    played = trace()
    path = tmp_path / "Ünï 実験" / "posterior.nc"
    save_posterior(path, played, burn_in=5, settings=SETTINGS)
    data = load_posterior(path)
    assert settings_of(data) == SETTINGS
    assert (data["posterior"].attrs["mode"], int(data["posterior"].attrs["burn_in"])) == ("com", 5)
    np.testing.assert_array_equal(data["signs"]["signs"].values, played.signs[:, 5:])
    assert_rows_agree(summarise_posterior(data), summarise_trace(played, 5))


def test_a_file_that_was_loaded_can_be_overwritten_and_what_was_loaded_stays(tmp_path: Path) -> None:
    path = tmp_path / "posterior.nc"
    save_posterior(path, trace(seed=1), burn_in=0, settings={"seed": 1})
    old = load_posterior(path)
    save_posterior(path, trace(seed=2), burn_in=0, settings={"seed": 2})
    new = load_posterior(path)
    np.testing.assert_array_equal(old["signs"]["signs"].values, trace(seed=1).signs)
    np.testing.assert_array_equal(new["signs"]["signs"].values, trace(seed=2).signs)
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
    assert settings_of(load_posterior(path)) == {"kept": True}


def test_what_was_written_is_checked_before_its_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that writes elsewhere, or nothing, leaves the zeros that were reserved."""
    path = tmp_path / "posterior.nc"
    save_posterior(path, trace(), burn_in=0, settings={"kept": True})
    monkeypatch.setattr(posterior, "_write", lambda data, path: None)
    with pytest.raises(RunError, match=r"posterior\.nc could not be written: the file does not hold what was written"):
        save_posterior(path, trace(), burn_in=0, settings={})
    assert os.listdir(tmp_path) == ["posterior.nc"] and settings_of(load_posterior(path)) == {"kept": True}


def test_a_folder_named_by_a_tilde_is_not_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("home", "here/~"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    save_posterior(Path("~/posterior.nc"), trace(), burn_in=0, settings={}, round=3)
    assert os.listdir(tmp_path / "here/~") == ["posterior.nc"] and os.listdir(tmp_path / "home") == []
    assert posterior.round_of(load_posterior(Path("~/posterior.nc"))) == 3
    assert posterior.is_posterior(Path("~/posterior.nc"), 3) and not posterior.is_posterior(Path("~/posterior.nc"), 4)


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


def test_arviz_opens_the_file_as_it_is(tmp_path: Path) -> None:
    save_posterior(tmp_path / "posterior.nc", trace(), burn_in=0, settings={}, thin=2)
    data = posterior.import_arviz().from_netcdf(str(tmp_path / "posterior.nc"))
    mu = data["components"]["mu"].sel(agent="B", sign=3, latent=0)
    assert mu.dims == ("chain", "draw") and mu.shape == (3, 20)
    assert data["posterior"].attrs["thin"] == 2
    data.close()


def test_arviz_summarises_the_file_on_one_screen_and_compares_models(tmp_path: Path) -> None:
    """Without a selection of variables, and without a warning, also where signs and shares stand still."""
    signs = np.broadcast_to(np.arange(12) % 4, (4, 100, 2, 12))
    pointwise = -1 + 0.1 * np.random.default_rng(1).normal(size=signs.shape).astype(np.float32)
    still = trace(4, 100, signs=signs, pointwise=pointwise, latents=(np.zeros((12, 3)),) * 2)
    save_posterior(tmp_path / "posterior.nc", still, burn_in=0, settings={}, objects={"index": np.arange(12)})
    az = posterior.import_arviz()
    data = load_posterior(tmp_path / "posterior.nc")
    summary = az.summary(data)
    assert len(summary) == 4 and not summary.isna().any().any()
    loo = az.loo(data, pointwise=True)
    assert len(getattr(loo, "loo_i" if "loo_i" in dir(loo) else "elpd_i").values.ravel()) == 24
    assert {"lp", "acceptance_rate"} <= set(data["sample_stats"].data_vars)


def test_a_file_of_another_layout_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "posterior.nc"
    monkeypatch.setattr(posterior, "_LAYOUT", 1)
    monkeypatch.setattr(posterior, "is_posterior", lambda path, round: True)
    save_posterior(path, trace(), burn_in=0, settings={})
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"posterior\.nc has the layout of another version .*; train the run again$"):
        load_posterior(path)
    assert not posterior.is_posterior(path, None)
