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
    np.testing.assert_array_equal(data["posterior"]["signs"].values, played.signs[:, 5:])
    assert_rows_agree(summarise_posterior(data), summarise_trace(played, 5))


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
    mu = data["posterior"]["mu"].sel(agent="B", sign=3, latent=0)
    assert mu.dims == ("chain", "draw") and mu.shape == (3, 20)
    assert data["posterior"].attrs["thin"] == 2
    data.close()
