"""The command line: runs a command of `mhng.parser`, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mhng import NO_DOCSTRINGS
from mhng.experiment.util.output import complain, open_standard_streams, print_note, streams, to_null_device
from mhng.parser import parse


def main(argv: Sequence[str] | None = None, program: str = "mhng") -> int:
    """Run one command. Returns the exit code: 0 done, 1 the run failed, 2 wrong usage, 128 + N stopped by signal N.

    program: the name of the program in messages.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    name = program
    try:
        from mhng.experiment.errors import RunError, UsageError
        from mhng.experiment.util.memory import is_out_of_memory

        open_standard_streams()
        with streams(steady=False):
            try:
                arguments = parse(argv, program)
            except SystemExit:  # after --help
                if sys.stdout is not None:
                    sys.stdout.flush()
                raise
            name = f"{program} {arguments.command}"
            results_in_files = arguments.command in _WITH_FILES or getattr(arguments, "out", None) is not None
            try:
                _check_process()
                with streams(steady=results_in_files), _threads(arguments):
                    code = _COMMANDS[arguments.command](arguments, argv)
            except UsageError as error:
                return complain(f"{name}: {error}", 2)
            except RunError as error:
                return complain(f"{name}: {error}", 1)
            except (MemoryError, RuntimeError, OSError) as error:
                if not is_out_of_memory(error):
                    raise
                return complain(f"{name}: not enough memory", 1)
            if sys.stdout is not None:
                sys.stdout.flush()
            elif not results_in_files:
                print_note(f"{name}: stdout is closed, so nothing was printed")
            return code
    except KeyboardInterrupt as error:
        return _interrupted(error, name, program)
    except BrokenPipeError:
        return _close_stdout()  # the reader of the output has ended, as `head` does
    except Exception as error:
        from mhng.experiment.util.imports import environment_fault

        if reason := environment_fault(error):
            return complain(f"{name}: {reason}", 2)
        if (reason := _outside_fault(error)) is None:
            raise
        if isinstance(error, OSError):
            _close_stdout()
        return complain(f"{name}: {reason}", 1)


def _outside_fault(error: Exception) -> str | None:
    """One line for an error of a package or a file. None for other errors."""
    if isinstance(error, ImportError):
        if "failed to map segment" in str(error):
            return "not enough memory to load the packages; raise the limit (ulimit -v)"
        return (
            f"a package cannot be imported: {error}; install mhng with pip, and rename files here or in PYTHONPATH "
            "that have the name of a package"
        )
    return str(error) if isinstance(error, OSError) else None


def _interrupted(error: KeyboardInterrupt, name: str, program: str) -> int:
    """Say that a signal ended the command, and how to continue; returns 128 + the number of the signal."""
    number, resume = getattr(error, "number", signal.SIGINT), getattr(error, "resume", None)
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    call = "python cli.py" if program == "cli.py" else program
    remedy = "" if resume is None else f"; continue: {call} train --resume {shlex.quote(resume)}"
    return complain(f"{name}: interrupted{by}{remedy}", 128 + number)


def _check_process() -> None:
    """Raise UsageError for a process in which libraries fail: without docstrings, or in a folder that is gone."""
    from mhng.experiment.errors import UsageError

    if sys.flags.optimize > 1:
        raise UsageError(NO_DOCSTRINGS)
    try:
        os.getcwd()
    except OSError as error:
        raise UsageError("the current folder does not exist any more; change to another folder") from error


@contextmanager
def _threads(arguments: argparse.Namespace) -> Iterator[None]:
    """Limit the threads of a command that reads finished runs. Threads of every command sleep while they wait."""
    from mhng.experiment.errors import UsageError
    from mhng.experiment.util.cores import check_threads, command_threads, waiting_threads_sleep

    with waiting_threads_sleep(), ExitStack() as stack:
        if arguments.command in _READERS:
            try:
                check_threads(arguments.threads)
            except ValueError as error:
                raise UsageError(f"--threads {error}") from None
            stack.enter_context(command_threads(arguments.threads))
        yield


def _close_stdout() -> int:
    """Discard the buffer of stdout, which cannot be written. Python would try again at exit."""
    to_null_device(sys.stdout)
    return 1


def _train(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.errors import UsageError
    from mhng.experiment.settings import presets
    from mhng.experiment.settings.config import resolve
    from mhng.experiment.settings.schema import SETTINGS, flag

    flags = {name: value for name, value in vars(arguments).items() if name in SETTINGS}
    if arguments.resume is None:
        config = resolve(
            flags,
            _path(arguments.config, "--config"),
            preset=arguments.preset,
            trust_plugins=arguments.trust_plugins,
        )
        about = [] if arguments.preset is None else [presets.find(arguments.preset).note]
        from mhng.experiment.training.train import train

        learned = _path(arguments.learned, "--learned")
        train(config, command_line=argv, about=about, dry=arguments.dry_run, learned=learned)
        return 0
    refused = [flag(name) for name in flags if name not in ("rounds", "tensorboard", "data", "data_root")]
    refused += [f"--{name}" for name in ("config", "preset") if getattr(arguments, name)]
    if refused := refused + ["--dry-run"] * arguments.dry_run:
        raise UsageError(
            f"--resume does not support {refused[0]}: a run keeps its settings, except --rounds, --tensorboard and "
            "the place of its data"
        )
    from mhng.experiment.training.train import resume

    resume(_folder(arguments.resume, "--resume"), command_line=argv, trust_plugins=arguments.trust_plugins, **flags)
    return 0


def _play(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.errors import UsageError
    from mhng.experiment.settings.config import from_flags, resolve
    from mhng.experiment.settings.schema import PLAY_SETTINGS
    from mhng.experiment.training.game_file import is_game_name

    flags = {name: value for name, value in vars(arguments).items() if name in PLAY_SETTINGS}
    if is_game_name(arguments.run):
        if arguments.data_root is not None or arguments.data is not None:
            raise UsageError("--data-root and --data require a run folder; FILE.py:NAME has its own observations")
        flags |= {} if arguments.seed is None else {"seed": arguments.seed}
        flags |= {} if arguments.out is None else {"run_dir": arguments.out}
        from mhng.experiment.training.play_program import play_program

        config = resolve(flags | {"program": arguments.run, "overwrite": arguments.overwrite})
        play_program(config, command_line=argv, option="--out")
        return 0
    if arguments.seed is not None:
        raise UsageError("--seed requires FILE.py:NAME; the seed of a run is that of its agents")
    values = from_flags(flags)
    if arguments.overwrite and arguments.out is None:
        raise UsageError("--overwrite requires --out DIR; without it, play makes a new folder")
    from mhng.experiment.training.play import play
    from mhng.experiment.training.saved_run import SavedRun

    run = SavedRun(
        _folder(arguments.run),
        data_root=_path(arguments.data_root, "--data-root"),
        data=arguments.data,
        trust_plugins=arguments.trust_plugins,
    )
    play(run, values, out=_path(arguments.out, "--out"), overwrite=arguments.overwrite, command_line=argv)
    return 0


def _prove(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.diagnostics.prove import prove

    proved = prove(arguments.game, chains=arguments.chains, sweeps=arguments.sweeps, seed=arguments.seed)
    return 0 if proved else 1


def _diagnose(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.diagnostics.diagnose import diagnose

    diagnose(
        _folder(arguments.run),
        as_json=arguments.json,
        plots=arguments.plots,
        exact=arguments.exact,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _name(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.naming import name

    name(
        _folder(arguments.run),
        images=_path(arguments.images, "--images"),
        new=arguments.new,
        split=arguments.split,
        data_root=_path(arguments.data_root, "--data-root"),
        data=arguments.data,
        limit=arguments.limit,
        out=_path(arguments.out, "--out"),
        form=arguments.format,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _recall(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.recall import recall

    recall(
        _folder(arguments.run),
        sentences=arguments.sentence,
        temperature=arguments.temperature,
        count=arguments.count,
        pairs=arguments.pairs,
        data_root=_path(arguments.data_root, "--data-root"),
        data=arguments.data,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _language(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.language import language

    language(
        _folder(arguments.run),
        as_json=arguments.json,
        plots=arguments.plots,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _corpus(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.corpus import corpus

    corpus(
        _folder(arguments.run),
        form=arguments.format,
        draws=arguments.draws,
        out=_path(arguments.out, "--out"),
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _report(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.report.report import report

    report(
        _folder(arguments.run),
        out=_path(arguments.out, "--out"),
        kind=arguments.map,
        data_root=_path(arguments.data_root, "--data-root"),
        data=arguments.data,
        all_runs=arguments.all,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _compare(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.comparison.compare import compare

    complete = compare(
        _folder(arguments.out, "--out"),
        modes=arguments.modes,
        seeds=arguments.seeds,
        variants=arguments.variant,
        baseline=arguments.baseline,
        words=arguments.typed,
        file=_path(arguments.config, "--config"),
        jobs=arguments.jobs,
        threads=arguments.threads,
        engine=arguments.engine,
        address=arguments.address,
        overwrite=arguments.overwrite,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0 if complete else 1


def _study(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.people.commands import run_study

    return run_study(arguments)


def _behaviour(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.report.behaviour_commands import run_behaviour

    return run_behaviour(arguments)


def _path(text: str | None, place: str) -> Path | None:
    return None if text is None else _folder(text, place)


def _folder(text: str, place: str = "RUN") -> Path:
    from mhng.experiment.util.paths import typed_path

    return typed_path(text, place)


def _models(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    import textwrap

    from mhng.experiment.settings.schema import SETTINGS
    from mhng.models.registry import FAMILIES, WEIGHTS

    for family, variants in {**FAMILIES, "weights": WEIGHTS}.items():
        setting = SETTINGS[family]
        heading = f"--{family}: {setting.help} (default: {setting.default_help or setting.default})"
        print(textwrap.fill(heading, 119, subsequent_indent="  "))
        for name, variant in variants.items():
            print(f"  {name:<22}{variant.description}")
            for line in filter(None, (variant.symbol, variant.source)):
                print(f"  {'':<22}  {line}")
    print(f"\nPlug-ins: --{', --'.join(FAMILIES)} MODULE:NAME, from this folder or Python's path.")
    return 0


def _data(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.data.loading import describe

    for row in describe(_path(arguments.data_root, "--data-root")):
        state = "present" if row["present"] else "absent"
        print(f"{row['name']:<16}{state:<8}{row['what']}")
        if not row["present"]:
            print(f"{'':<24}get it: {row['how']}")
    return 0


# Commands whose results are files, whatever happens to stdout
_WITH_FILES = ("train", "play", "recall", "report", "compare")

# Commands that read finished runs, with --threads
_READERS = ("diagnose", "name", "recall", "report")

_COMMANDS = {
    "train": _train,
    "play": _play,
    "prove": _prove,
    "diagnose": _diagnose,
    "name": _name,
    "recall": _recall,
    "corpus": _corpus,
    "language": _language,
    "report": _report,
    "compare": _compare,
    "study": _study,
    "behaviour": _behaviour,
    "models": _models,
    "data": _data,
}

if __name__ == "__main__":  # `compare` of an installed package runs this file
    sys.exit(main(program="cli.py"))
