"""`report RUN`: one self-contained HTML page of a run, or of a comparison of runs.

The page asks the network for nothing and has no script: it can be mailed, printed, and opened in ten years. It is
written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.report import comparison_page
from mhng.experiment.report.page import render
from mhng.experiment.report.projection import MAPS
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.output import check_out


def report(
    path: Path,
    *,
    out: Path | None = None,
    kind: str = "pca",
    data_root: Path | None = None,
    data: str | None = None,
    trust_plugins: bool = False,
) -> Path:
    """Write the page of the run or comparison in `path`, print where, and return that.

    out: the file; None is report.html in `path`. kind: of the latent map (`MAPS`). data_root, data: for data that has
    moved. Bad input is a `UsageError` before anything is written.
    """
    if kind not in MAPS:
        raise UsageError(f"--map must be one of {', '.join(MAPS)}; it is {kind!r}")
    file = path / run_folder.REPORT if out is None else out
    kept = {run_folder.MANIFEST, *run_folder.RUN_FILES, *comparison_page.FILES} - {run_folder.REPORT}
    check_out(file, [path / name for name in sorted(kept)])
    if comparison_page.is_comparison(path):
        if data_root is not None or data is not None:
            raise UsageError(f"--data-root and --data are for the data of one run; {path} holds a comparison of runs")
        page = comparison_page.compare_page(path, file)
    else:
        from mhng.experiment.report.run_page import run_page

        page = run_page(path, kind=kind, data_root=data_root, data=data, trust_plugins=trust_plugins)
    # A path that is not UTF-8 holds lone surrogates; as \udcXX it can be written.
    html = render(page).encode("utf-8", "backslashreplace")
    with atomic_path(file) as beside:
        beside.write_bytes(html)
    print(f"Report: {file}")
    return file
