"""posterior.nc and ArviZ in another process: a strange environment, and the other line of ArviZ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mhng.experiment.diagnostics.summary import summarise_trace
from mhng.experiment.runs.posterior import load_posterior, save_posterior, settings_of
from tests.draws import assert_rows_agree, trace

HOME = Path(__file__).resolve().parents[2]
SETTINGS = {"mode": "com", "views": None, "download": False, "nested": {"lr": 1e-3, "names": ["é", "犬"]}}


@pytest.mark.parametrize("home", [True, False], ids=["home", "no home"])
def test_arviz_is_imported_whatever_the_users_files_say_and_without_folders(home: bool, tmp_path: Path) -> None:
    """Files that ArviZ and Matplotlib refuse lie in the current folder, and folders of the user are missing."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "arvizrc").write_text("plot.backend : nonsense\n")
    (here / "matplotlibrc").write_text("backend: nonsense\nlines.linewidth: wide\n")
    (tmp_path / "file").touch()
    code = (
        "import os, warnings; warnings.simplefilter('error'); from mhng.experiment.runs import posterior\n"
        "before = dict(os.environ), os.getcwd()\n"
        "assert posterior.import_arviz().rcParams['plot.backend'] == 'matplotlib'\n"
        "assert (dict(os.environ), os.getcwd()) == before\n"
    )
    changed = os.environ | {"MPLBACKEND": "no-such-backend", "PYTHONPATH": str(HOME)}
    if home:
        changed |= {"XDG_CACHE_HOME": str(tmp_path / "file"), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    else:
        changed |= {"HOME": str(tmp_path / "nowhere")}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=changed, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(here)) == ["arvizrc", "matplotlibrc"] and not (tmp_path / "nowhere").exists()


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
        "print(json.dumps(summary.summarise_posterior(data)))\n"
        "posterior.save_posterior(Path(sys.argv[2]), draws.trace(seed=7), burn_in=0, settings=settings)\n"
    )
    save_posterior(tmp_path / "ours.nc", trace(), burn_in=0, settings=SETTINGS)
    files = [str(tmp_path / "ours.nc"), str(tmp_path / "theirs.nc")]
    done = subprocess.run([other, "-c", code, *files], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert_rows_agree(json.loads(done.stdout), summarise_trace(trace(), 0))
    data = load_posterior(tmp_path / "theirs.nc")
    np.testing.assert_array_equal(data["signs"]["signs"].values, trace(seed=7).signs)
    assert settings_of(data) == SETTINGS
