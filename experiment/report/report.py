"""The command `report`: one self-contained HTML page of a run or of a comparison of runs.

The page needs no network and no script. It is written completely or not at all.
"""

from __future__ import annotations

from pathlib import Path

from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.projection import MAPS
from mhng.experiment.report import comparison_page
from mhng.experiment.report.page import render
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
    all_runs: bool = False,
) -> Path:
    """Write the page of the run or comparison in `path`, print its file name, and return it.

    out: output file; None writes report.html in `path`. kind: projection of the latents (`MAPS`). data_root, data:
    new location of moved data. all_runs: also write the page of every complete run of the comparison.
    Raises `UsageError` for bad input, before a file is written.
    """
    if kind not in MAPS:
        raise UsageError(f"--map is {kind!r}; expected one of {', '.join(MAPS)}")
    file = path / run_folder.REPORT if out is None else out
    if comparison_page.is_comparison(path):
        runs = comparison_page.complete_runs(path)
        own = [path / name for name in comparison_page.FILES]
        check_out(file, own + [part for run in runs for part in run_folder.files_of(run)])
        if all_runs:
            for run in runs:
                report(run, kind=kind, data_root=data_root, data=data, trust_plugins=trust_plugins)
        elif data_root is not None or data is not None:
            raise UsageError(f"--data-root and --data require a run folder; {path} is the folder of a comparison")
        page = comparison_page.compare_page(path, file)
    else:
        if all_runs:
            raise UsageError(f"--all requires the folder of a comparison; {path} is none")
        from mhng.experiment.report.run_page import run_page
        from mhng.experiment.training.saved_run import SavedRun

        inputs = SavedRun(path, trust_plugins=trust_plugins).inputs
        check_out(file, [part for part in inputs if part != path / run_folder.REPORT])
        page = run_page(path, kind=kind, data_root=data_root, data=data, trust_plugins=trust_plugins)
    # A path that is not UTF-8 contains lone surrogates, which are written as \udcXX.
    html = render(page).encode("utf-8", "backslashreplace")
    with atomic_path(file) as temporary:
        temporary.write_bytes(html)
    print(f"Report: {file}")
    return file
