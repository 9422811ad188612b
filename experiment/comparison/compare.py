"""The command `compare`: run the missing runs of a grid in separate processes, then write tables of all runs.

The output folder has a run folder and a log for each run, and

    grid.toml      the grid, usable as --config
    summary.json   scores of the runs, statistics of the rows, differences from the baseline
    table.md       the printed tables
    table.csv      one line per run
    table.tex      the table of scores for LaTeX (booktabs)
    quality.png    plot of the scores of all seeds
    curves.png     ARI and kappa by sweep: mean of each row and range over its seeds

The run folders are the only record of which runs are complete.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mhng.experiment.comparison import ray_pool, statistics, table
from mhng.experiment.comparison.grid import Grid, Run, build_grid
from mhng.experiment.comparison.plan import Action, next_action
from mhng.experiment.comparison.process_pool import (
    COMMAND_MARK,
    Task,
    describe_signal,
    run_tasks,
)
from mhng.experiment.comparison.progress import Progress
from mhng.experiment.comparison.shared_learning import SharedLearning
from mhng.experiment.comparison.statistics import Outcome
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings.config import to_flags
from mhng.experiment.settings.parsing import plain_value
from mhng.experiment.settings.schema import key
from mhng.experiment.settings.validation import check_new
from mhng.experiment.training import ray_cluster
from mhng.experiment.util.cores import available_cores
from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.locks import locked
from mhng.experiment.util.output import print_note
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES

GRID = "grid.toml"
TABLE = "table.md"
CSV = "table.csv"
LATEX = "table.tex"
PICTURE = "quality.png"
CURVES = "curves.png"

_ERROR_PREFIX = "mhng train: "
_MAX_REASON = 300  # characters


def compare(
    out: Path,
    *,
    modes: Sequence[str] | None = None,
    seeds: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    baseline: str | None = None,
    words: Sequence[str] = (),
    file: Path | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    engine: str = "local",
    address: str | None = None,
    overwrite: bool = False,
    as_json: bool = False,
    trust_plugins: bool = False,
) -> bool:
    """Run the incomplete runs of the grid in `out` and print its table; returns whether all runs succeeded.

    modes, seeds, variants, baseline, words (flags of train), file: see `grid.build_grid`. If none but `baseline` is
    given, the grid in `out` is used. jobs: parallel runs (None: number of cores). threads: threads per run (None:
    cores / jobs). engine: "local", or "ray" for the cluster at `address` (see `ray_cluster.cluster`). overwrite:
    replace runs with other settings. trust_plugins: allow the file to import code.

    Raises `UsageError` for bad input, before anything is run or written.
    """
    for name, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; expected 1 or more")
    if engine == "ray":
        ray_cluster.check_ray("--engine ray")
    elif address is not None:
        raise UsageError(f"--address {address} requires --engine ray")
    if file is None and (modes, seeds, variants, list(words)) == (None, None, None, []) and (out / GRID).is_file():
        file = out / GRID
    grid = build_grid(
        file, modes=modes, seeds=seeds, variants=variants, baseline=baseline, words=words, trust_plugins=trust_plugins
    )
    runs = grid.runs()
    _check_folder(out)
    actions = [next_action(out / run.folder, run.config, overwrite=overwrite) for run in runs]
    _check_variants([run for run, action in zip(runs, actions, strict=True) if action != "skip"])
    # A complete grid needs no cluster.
    used = engine if any(action != "skip" for action in actions) else "local"
    with _task_runner(used, address, len(runs), jobs, threads) as run_all, _locked_folder(out):
        _write(out / GRID, grid.to_toml())
        outcomes = _run_grid(out, runs, actions, overwrite, run_all)
        references = _references(out, runs, all(action == "skip" for action in actions))
        summary = statistics.summarise(
            _rows(grid, runs, outcomes), _baseline(grid), _by_key(grid.settings), references
        )
        text = table.markdown(summary)
        _write(out / TABLE, text)
        _write(out / CSV, table.comma_separated(summary))
        _write(out / LATEX, table.latex(summary))
        json_text = json.dumps(to_plain(summary), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        _write(out / run_folder.SUMMARY, json_text)
        _draw(out / PICTURE, "plot_quality", summary)
        _draw(out / CURVES, "plot_learning", _curves(out, runs, outcomes))
    print(json_text if as_json else text, end="", flush=True)
    return all(outcome.error is None for outcome in outcomes)


# -- checks ------------------------------------------------------------------------------------------


def _check_folder(out: Path) -> None:
    """Raise `UsageError` if `out` has files that compare would replace but has not written."""
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file; give a folder")
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"--out {out} cannot be used: {error}") from error
    if (out / GRID).exists():
        return
    for name in (run_folder.MANIFEST, run_folder.SUMMARY, TABLE, CSV, LATEX, PICTURE, CURVES):
        if (out / name).exists():
            raise UsageError(f"--out {out} has a {name} but no {GRID}; give another folder")


def _check_variants(runs: Sequence[Run]) -> None:
    """Check device, graph, data and memory, once per variant. Raises `UsageError`.

    Data sets are downloaded here, so that parallel runs do not download them at the same time.
    """
    first_runs = {run.variant: run for run in reversed(runs)}
    if not first_runs:
        return
    from mhng.experiment.training import memory_estimate
    from mhng.experiment.training.build import game_of
    from mhng.experiment.training.play_program import check_program
    from mhng.experiment.training.prepare import load_objects, pick_device

    for run in first_runs.values():
        try:
            if run.config.program:
                check_program(run.config)
                continue
            check_new(run.config)
            device = pick_device(run.config.device)
            prepared = load_objects(run.config)
            # On CUDA the check itself would occupy memory that the runs need.
            if device.type == "cpu":
                memory_estimate.check(prepared.config, prepared.agents, prepared.objects.count, device)
            game_of(run.config, device)
        except UsageError as error:
            raise UsageError(f"row {run.row!r}: {error}") from None


@contextmanager
def _locked_folder(out: Path) -> Iterator[None]:
    """Create the folder, and lock it for the block."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error
    with locked(out):
        yield


# -- runs --------------------------------------------------------------------------------------------


@contextmanager
def _task_runner(
    engine: str, address: str | None, runs: int, jobs: int | None, threads: int | None
) -> Iterator[Callable[..., None]]:
    """Function that runs tasks locally or on a cluster; takes the arguments of `ray_pool.run_tasks` that are left."""
    job_count = jobs or min(available_cores(), runs)
    thread_count = threads or max(1, available_cores() // job_count)
    if engine == "ray":
        with ray_cluster.cluster(address, job_count * thread_count) as ray:
            job_count, thread_count = ray_pool.allocate(ray, runs, jobs, threads)
            yield partial(ray_pool.run_tasks, jobs=job_count, threads=thread_count)
    else:
        # Local runs are not retried: a local run dies by its own fault or by the user's hand.
        yield lambda tasks, retry, **calls: run_tasks(tasks, jobs=job_count, threads=thread_count, **calls)


def _run_grid(
    out: Path, runs: Sequence[Run], actions: Sequence[Action], overwrite: bool, run_all: Callable[..., None]
) -> list[Outcome]:
    """Run the incomplete runs; returns the outcomes of all runs."""
    planned = list(zip(runs, actions, strict=True))
    outcomes = {run.folder: _read_outcome(out, run) for run, action in planned if action == "skip"}
    todo = [(run, action) for run, action in planned if action != "skip"]
    shared = SharedLearning(out, [run for run, action in todo if action != "resume"])
    tasks = [_task(out, run, action, shared) for run, action in todo]
    with shared, Progress(len(runs), done=len(outcomes)) as progress:
        progress.resuming(
            [(run.folder, RunFolder(out / run.folder).status) for run, action in todo if action == "resume"]
        )

        def on_end(index: int, code: int | str) -> None:
            run = todo[index][0]
            outcome = _read_outcome(out, run) if code == 0 else _failed(run, _failure(code, _log(out, run)))
            outcomes[run.folder] = outcome
            progress.finished(_run_name(run), outcome.error, outcome.numbers)
            shared.finished(run)

        def retry(index: int, reason: str) -> Task | None:
            run = todo[index][0]
            action = next_action(out / run.folder, run.config, overwrite=overwrite)
            if action == "skip":
                return None
            progress.retrying(_run_name(run), reason)
            return _task(out, run, action, shared)

        try:
            run_all(tasks, on_end=on_end, on_poll=progress.refresh, retry=retry)
        except KeyboardInterrupt:
            progress.interrupted()
            raise
    return [outcomes[run.folder] for run in runs]


def _run_name(run: Run) -> str:
    return f"{run.row}, seed {run.seed}"


def _task(out: Path, run: Run, action: Action, shared: SharedLearning) -> Task:
    return Task(_command(out / run.folder, run, action, shared.file(run)), _log(out, run))


def _command(path: Path, run: Run, action: Action, learned: Path | None) -> list[str]:
    train = [sys.executable, "-P", "-m", "mhng", "train"]
    if action == "resume":
        # The settings in the folder equal those of the grid, so the user has already trusted its plugins.
        agents = list(run.config.per_agent.values())
        trusted = any(is_plugin(getattr(agent_config, name)) for agent_config in agents for name in FAMILIES)
        return [*train, f"--resume={path}", *["--trust-plugins"] * trusted]
    flags = to_flags(replace(run.config, run_dir=path, overwrite=action == "overwrite"))
    return [*train, *flags, *([] if learned is None else [f"--learned={learned}"])]


def _log(out: Path, run: Run) -> Path:
    return out / f"{run.folder}.log"


def _read_outcome(out: Path, run: Run) -> Outcome:
    try:
        summary = RunFolder(out / run.folder).read_json(run_folder.SUMMARY)
        kappa_of = str(summary.get("kappa_of", "signs"))
        return Outcome(run.seed, run.folder, numbers=statistics.numbers(summary), kappa_of=kappa_of)
    except UsageError as error:
        return _failed(run, str(error))
    except (KeyError, TypeError, AttributeError, ValueError):
        return _failed(run, f"{run_folder.SUMMARY} has an unknown format")


def _failed(run: Run, reason: str) -> Outcome:
    return Outcome(run.seed, run.folder, error=" ".join(reason.split())[:_MAX_REASON])


def _failure(code: int | str, log: Path) -> str:
    """Reason for the end of a run: the last error in its log, else the last line, else the exit code."""
    if isinstance(code, str):
        return code
    if code < 0:
        return describe_signal(code)
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
    except OSError:
        lines = []
    start = max((number for number, line in enumerate(lines) if line.startswith(COMMAND_MARK)), default=-1)
    lines = [line for line in lines[start + 1 :] if line]
    # The last line may come from another process: a run of a killed grid may still write to the same log.
    errors = [line.removeprefix(_ERROR_PREFIX) for line in lines if line.startswith(_ERROR_PREFIX)]
    return [f"exit code {code}", *lines[-1:], *errors[-1:]][-1]


# -- results -----------------------------------------------------------------------------------------


def _rows(grid: Grid, runs: Sequence[Run], outcomes: Sequence[Outcome]) -> list[statistics.Row]:
    by_row: dict[str, list[Outcome]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        by_row.setdefault(run.row, []).append(outcome)
    return [
        statistics.Row(name, mode, variant, _by_key(grid.variants[variant]), by_row[name])
        for name, mode, variant in grid.rows()
    ]


def _baseline(grid: Grid) -> str | None:
    names = [name for name, _, _ in grid.rows()]
    return None if len(names) == 1 else grid.baseline or names[0]


def _by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key(name): to_plain(plain_value(value)) for name, value in values.items()}


def _write(file: Path, text: str) -> None:
    with atomic_path(file) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def _references(out: Path, runs: Sequence[Run], is_complete: bool) -> list[dict[str, Any]]:
    """Rows of the reference methods on the data of the first row; those of an earlier summary if no run was missing.

    A failure is a note only: the runs matter more.
    """
    seeds = sorted({run.seed for run in runs})
    if runs[0].config.program is not None:  # Pyro programs have their own observations
        return []
    if is_complete:
        with suppress(UsageError, KeyError, TypeError, IndexError):
            earlier = RunFolder(out).read_json(run_folder.SUMMARY)
            first = earlier["rows"][0]["runs"][0]["folder"]
            same = sorted({run["seed"] for row in earlier["rows"] for run in row["runs"]}) == seeds
            if same and first == runs[0].folder:  # so the data are the same
                return list(earlier["references"])
    from mhng.experiment.comparison import references
    from mhng.experiment.training.prepare import load_objects

    try:
        return references.evaluate(load_objects(runs[0].config).objects, runs[0].config.signs, seeds)
    except (UsageError, ValueError, ArithmeticError) as error:
        print_note(f"note: no reference methods: {error}")
        return []


def _curves(out: Path, runs: Sequence[Run], outcomes: Sequence[Outcome]) -> dict[str, list[list[dict[str, Any]]]]:
    """Rows of the sweeps of every complete run, by row of the grid."""
    curves: dict[str, list[list[dict[str, Any]]]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.numbers is not None:
            with suppress(UsageError):
                rows = RunFolder(out / run.folder).read_metrics()
                curves.setdefault(run.row, []).append([row for row in rows if row.get("kind") == "sweep"])
    return curves


def _draw(file: Path, function: str, content: Any) -> None:
    """Draw a plot. A failure is a warning on stderr: the tables matter more."""
    try:
        from mhng.experiment.plots import comparison

        getattr(comparison, function)(file, content)
    except RunError:
        raise
    except Exception as error:
        if sys.stderr is not None:
            print(f"warning: {file.name} could not be drawn: {error}", file=sys.stderr)
