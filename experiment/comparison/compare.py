"""The command `compare`: run what a grid lacks, each run in a process of its own, then put all into tables.

The folder of a grid holds a run folder and a log for each run, and

    grid.toml      the grid, usable as --config
    summary.json   every run's numbers, each row's statistics, differences from the baseline
    table.md       the tables that are printed
    table.csv      a line a run
    quality.png    a dot a seed

Nothing is remembered elsewhere: which runs are done is read from their folders.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mhng.experiment.comparison import ray_pool, statistics, table
from mhng.experiment.comparison.grid import Grid, Run, make
from mhng.experiment.comparison.plan import Step, step
from mhng.experiment.comparison.process_pool import COMMAND_MARK, Task, cores, killed_by, side_by_side
from mhng.experiment.comparison.progress import Progress
from mhng.experiment.comparison.statistics import Outcome
from mhng.experiment.errors import RunError, UsageError
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder
from mhng.experiment.settings import per_agent
from mhng.experiment.settings.config import to_flags
from mhng.experiment.settings.schema import key
from mhng.experiment.settings.validation import check_new
from mhng.experiment.training import ray_cluster
from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.locks import locked
from mhng.models.plugins import is_plugin
from mhng.models.registry import FAMILIES

GRID = "grid.toml"
TABLE = "table.md"
CSV = "table.csv"
PICTURE = "quality.png"

DOOR = Path(__file__).resolve().parents[2] / "cli.py"
_COMPLAINT = "cli.py train: "
_LONGEST_REASON = 300


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
    """Make the runs of the grid that are not done in `out`, print its table; returns whether none failed.

    modes, seeds, variants, baseline, words (flags of train) and file are as in `grid.make`. If none of them but
    `baseline` is given, the grid that `out` already holds is taken. jobs: runs at a time (None: as many as there are
    cores). threads: of each (None: the cores by the jobs). engine: "local", or "ray" for the nodes of the cluster at
    `address` (see `engines.cluster`), whose cores these are then. overwrite: replace runs of other settings.
    trust_plugins: the file may name code to import.

    Bad input is a `UsageError` before anything is run or written.
    """
    for name, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be 1 or more; it is {value}")
    if engine == "ray":
        ray_cluster.check_ray("--engine ray")
    elif address is not None:
        raise UsageError(f"--address {address} is of a Ray cluster: give --engine ray too")
    if file is None and (modes, seeds, variants, list(words)) == (None, None, None, []) and (out / GRID).is_file():
        file = out / GRID
    grid = make(
        file, modes=modes, seeds=seeds, variants=variants, baseline=baseline, words=words, trust_plugins=trust_plugins
    )
    runs = grid.runs()
    _check_folder(out)
    steps = [step(out / run.folder, run.config, overwrite=overwrite) for run in runs]
    _check_objects([run for run, how in zip(runs, steps, strict=True) if how != "nothing"])
    # Where nothing is left to be run, no cluster is needed.
    used = engine if any(how != "nothing" for how in steps) else "local"
    with _workers(used, address, len(runs), jobs, threads) as run_all, _held(out):
        _write(out / GRID, grid.to_toml())
        outcomes = _outcomes(out, runs, steps, overwrite, run_all)
        summary = statistics.summarise(_rows(grid, runs, outcomes), _baseline(grid), _by_key(grid.settings))
        text = table.markdown(summary)
        _write(out / TABLE, text)
        _write(out / CSV, table.comma_separated(summary))
        as_text = json.dumps(to_plain(summary), ensure_ascii=False, allow_nan=False, indent=2) + "\n"
        _write(out / run_folder.SUMMARY, as_text)
        _draw(out / PICTURE, summary)
    print(as_text if as_json else text, end="", flush=True)
    return all(one.error is None for one in outcomes)


# -- before anything is written --------------------------------------------------------------------


def _check_folder(out: Path) -> None:
    """UsageError if what this writes would replace what it has not written."""
    try:
        if out.exists() and not out.is_dir():
            raise UsageError(f"--out {out} is a file; give a folder")
    except ValueError as error:  # a null byte in the name
        raise UsageError(f"--out {out} cannot be used: {error}") from error
    if (out / GRID).exists():
        return
    for name in (run_folder.MANIFEST, run_folder.SUMMARY, TABLE, CSV, PICTURE):
        if (out / name).exists():
            raise UsageError(f"--out {out} holds a {name} that is of no grid: give another folder")


def _check_objects(runs: Sequence[Run]) -> None:
    """UsageError if there is no such device or graph, or the objects are absent or do not fit; once for each variant.

    A data set that may be downloaded is here afterwards, so that the runs do not fetch it all at once.
    """
    of_variants = {run.variant: run for run in reversed(runs)}
    if not of_variants:
        return
    from mhng.experiment.training import memory_estimate
    from mhng.experiment.training.build import game_of
    from mhng.experiment.training.prepare import latents_of, load_objects, pick_device

    for run in of_variants.values():
        try:
            check_new(run.config)
            device = pick_device(run.config.device)
            objects, config = load_objects(run.config)
            # Asking CUDA for its memory takes a part of it, which the runs should have.
            if device.type == "cpu":
                memory_estimate.check(config, objects.count, latents_of(config, objects), device)
            game_of(config, device)
        except UsageError as error:
            raise UsageError(f"row {run.row!r}: {error}") from None


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """The folder is there, and no other command's, for the block."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out} cannot be used: {getattr(error, 'strerror', None) or error}") from error
    with locked(out):
        yield


# -- the runs --------------------------------------------------------------------------------------


@contextmanager
def _workers(
    engine: str, address: str | None, runs: int, jobs: int | None, threads: int | None
) -> Iterator[Callable[..., None]]:
    """What runs tasks, on this machine or on a cluster: called as `ray_pool.side_by_side` without jobs and threads."""
    here = jobs or min(cores(), runs)
    each = threads or max(1, cores() // here)
    if engine == "ray":
        with ray_cluster.cluster(address, here * each) as ray:
            here, each = ray_pool.shares(ray, runs, jobs, threads)
            yield partial(ray_pool.side_by_side, jobs=here, threads=each)
    else:
        # Nothing but a run itself dies here, and one that was killed is the user's to start again.
        yield lambda tasks, again, **calls: side_by_side(tasks, jobs=here, threads=each, **calls)


def _outcomes(
    out: Path, runs: Sequence[Run], steps: Sequence[Step], overwrite: bool, run_all: Callable[..., None]
) -> list[Outcome]:
    """How each run ended, those made here and those made before."""
    outcomes = {run.folder: _read(out, run) for run, how in zip(runs, steps, strict=True) if how == "nothing"}
    todo = [(run, how) for run, how in zip(runs, steps, strict=True) if how != "nothing"]
    tasks = [_task(out, run, how) for run, how in todo]
    with Progress(len(runs), done=len(outcomes)) as progress:
        progress.resumed([(run.folder, RunFolder(out / run.folder).status) for run, how in todo if how == "resume"])

        def ended(index: int, code: int | str) -> None:
            run = todo[index][0]
            outcomes[run.folder] = one = _read(out, run) if code == 0 else _failed(run, _reason(code, _log(out, run)))
            progress.ended(_name(run), one.error)

        def again(index: int, reason: str) -> Task | None:
            run = todo[index][0]
            how = step(out / run.folder, run.config, overwrite=overwrite)
            if how == "nothing":
                return None
            progress.again(_name(run), reason)
            return _task(out, run, how)

        try:
            run_all(tasks, ended=ended, waiting=progress.waiting, again=again)
        except KeyboardInterrupt:
            progress.stopped()
            raise
    return [outcomes[run.folder] for run in runs]


def _name(run: Run) -> str:
    return f"{run.row}, seed {run.seed}"


def _task(out: Path, run: Run, how: Step) -> Task:
    return Task(_command(out / run.folder, run, how), _log(out, run))


def _command(path: Path, run: Run, how: Step) -> list[str]:
    door = [sys.executable, str(DOOR), "train"]
    if how == "resume":
        # The grid has named the same parts of agents, or the folder's run would be of other settings.
        agents = [own for _, own in per_agent.each(run.config)]
        trusted = any(is_plugin(getattr(own, name)) for own in agents for name in FAMILIES)
        return [*door, f"--resume={path}", *["--trust-plugins"] * trusted]
    replaced = how == "overwrite"
    return [*door, *to_flags(replace(run.config, run_dir=path, overwrite=replaced))]


def _log(out: Path, run: Run) -> Path:
    return out / f"{run.folder}.log"


def _read(out: Path, run: Run) -> Outcome:
    try:
        summary = RunFolder(out / run.folder).read_json(run_folder.SUMMARY)
        return Outcome(run.seed, run.folder, numbers=statistics.numbers(summary))
    except UsageError as error:
        return _failed(run, str(error))
    except (KeyError, TypeError, AttributeError, ValueError):
        return _failed(run, f"{run_folder.SUMMARY} is not as this program writes it")


def _failed(run: Run, reason: str) -> Outcome:
    return Outcome(run.seed, run.folder, error=" ".join(reason.split())[:_LONGEST_REASON])


def _reason(code: int | str, log: Path) -> str:
    """Why a run ended: the complaint in its log or, where it made none, the last line there."""
    if isinstance(code, str):
        return code
    if code < 0:
        return killed_by(code)
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").split("\n")]
    except OSError:
        lines = []
    begun = max((number for number, line in enumerate(lines) if line.startswith(COMMAND_MARK)), default=-1)
    own = [line for line in lines[begun + 1 :] if line]
    # Not only the last line: a run whose grid was killed may still be adding to the same log.
    complaints = [line.removeprefix(_COMPLAINT) for line in own if line.startswith(_COMPLAINT)]
    return [f"exit code {code}", *own[-1:], *complaints[-1:]][-1]


# -- the results -----------------------------------------------------------------------------------


def _rows(grid: Grid, runs: Sequence[Run], outcomes: Sequence[Outcome]) -> list[statistics.Row]:
    of_row: dict[str, list[Outcome]] = {}
    for run, one in zip(runs, outcomes, strict=True):
        of_row.setdefault(run.row, []).append(one)
    return [
        statistics.Row(name, mode, variant, _by_key(grid.variants[variant]), of_row[name])
        for name, mode, variant in grid.rows()
    ]


def _baseline(grid: Grid) -> str | None:
    names = [name for name, _, _ in grid.rows()]
    return None if len(names) == 1 else grid.baseline or names[0]


def _by_key(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key(name): to_plain(value) for name, value in values.items()}


def _write(file: Path, text: str) -> None:
    with atomic_path(file) as beside:
        beside.write_bytes(text.encode("utf-8", "backslashreplace"))


def _draw(file: Path, summary: dict[str, Any]) -> None:
    """A picture that fails costs a line on stderr, never the table."""
    try:
        from mhng.experiment.plots.comparison import plot_quality

        plot_quality(file, summary)
    except RunError:
        raise
    except Exception as error:
        if sys.stderr is not None:
            print(f"warning: {file.name} could not be drawn: {error}", file=sys.stderr)
