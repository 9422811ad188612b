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


def test_arviz_is_imported_whatever_the_backend_and_without_a_cache_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        "import os, warnings; warnings.simplefilter('error'); from mhng.experiment.runs import posterior\n"
        "posterior.import_arviz(); assert os.environ['MPLBACKEND'] == 'no-such-backend'\n"
        "assert os.environ['XDG_CACHE_HOME'].endswith('file')\n"
    )
    changed = os.environ | {
        "MPLBACKEND": "no-such-backend",
        "XDG_CACHE_HOME": str(tmp_path / "file"),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
    }
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, env=changed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    np.testing.assert_array_equal(data["posterior"]["signs"].values, trace(seed=7).signs)
    assert settings_of(data) == SETTINGS
