"""The posterior's file. It runs on both lines of ArviZ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhng.experiment.diagnostics.summary import summary, summary_of
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
    assert_rows_agree(summary_of(data), summary(played, 5))


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
        f"sys.path[:0] = [{str(HOME)!r}]\n"
        "from mhng.experiment.diagnostics import summary\n"
        "from mhng.experiment.runs import posterior; from tests import draws\n"
        "data = posterior.load_posterior(Path(sys.argv[1]))\n"
        f"settings = {SETTINGS!r}\n"
        "assert posterior.settings_of(data) == settings\n"
        "print(json.dumps(summary.summary_of(data)))\n"
        "posterior.save_posterior(Path(sys.argv[2]), draws.trace(seed=7), burn_in=0, settings=settings)\n"
    )
    save_posterior(tmp_path / "ours.nc", trace(), burn_in=0, settings=SETTINGS)
    files = [str(tmp_path / "ours.nc"), str(tmp_path / "theirs.nc")]
    done = subprocess.run([other, "-c", code, *files], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert_rows_agree(json.loads(done.stdout), summary(trace(), 0))
    data = load_posterior(tmp_path / "theirs.nc")
    np.testing.assert_array_equal(data["posterior"]["signs"].values, trace(seed=7).signs)
    assert settings_of(data) == SETTINGS


@pytest.mark.parametrize("module", ["runs.posterior", "diagnostics.summary", "metrics.relabel", "util.process"])
def test_importing_it_is_quick(module: str) -> None:
    heavy = "{'arviz', 'torch', 'matplotlib', 'sklearn'}"
    code = f"import sys, mhng.experiment.{module}; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, text=True)
    assert done.stderr == "set()\n"


def test_arviz_is_imported_whatever_the_backend_and_without_a_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import os, warnings; warnings.simplefilter('error'); from mhng.experiment.runs import posterior\n"
        "posterior.arviz(); assert os.environ['MPLBACKEND'] == 'no-such-backend'\n"
        "assert os.environ['XDG_CACHE_HOME'].endswith('file')\n"
    )
    changed = os.environ | {
        "MPLBACKEND": "no-such-backend",
        "XDG_CACHE_HOME": str(tmp_path / "file"),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOME, env=changed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_arviz_opens_the_file_as_it_is(tmp_path: Path) -> None:
    save_posterior(tmp_path / "posterior.nc", trace(), burn_in=0, settings={}, thin=2)
    data = posterior.arviz().from_netcdf(str(tmp_path / "posterior.nc"))
    mu = data["posterior"]["mu"].sel(agent="B", sign=3, latent=0)
    assert mu.dims == ("chain", "draw") and mu.shape == (3, 20)
    assert data["posterior"].attrs["thin"] == 2
    data.close()
