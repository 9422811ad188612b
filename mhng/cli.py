"""The door: reads a command line, calls `experiment`, prints. No algorithm and no tensor lives here."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

PROGRAM = "cli.py"
# Characters of a complaint: a path may have 4,096.
MOST_SAID = 6_000


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_complain(f"{self.prog}: {message}", 2))


def build_parser() -> Parser:
    """All commands and their flags."""
    from mhng.experiment.settings.parsing import add_settings
    from mhng.experiment.settings.schema import ENGINES

    parser = Parser(
        prog=PROGRAM,
        description="The Metropolis-Hastings naming game between deep generative agents.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser(
        "train",
        help="one experiment: rounds of learning, perceiving and naming; writes a run folder",
        description="One experiment: rounds of learning, perceiving and naming; writes a run folder.",
        allow_abbrev=False,
    )
    train.add_argument(
        "--resume", metavar="RUN", help="go on with a run that stopped; only --rounds and --tensorboard may change"
    )
    train.add_argument("--config", metavar="FILE", help="TOML file of settings; flags beat it")
    _add_trust(train, "the file of --config, or the run of --resume,")
    add_settings(train)

    diagnose = commands.add_parser(
        "diagnose",
        help="of a run: did the chains converge, do the agents agree, are they right?",
        description="Of a run: did its chains converge, do its agents agree, are they right? Reads the run folder "
        "alone, and draws pictures into its plots/.",
        allow_abbrev=False,
    )
    diagnose.add_argument("run", metavar="RUN", help="run folder")
    diagnose.add_argument("--json", action="store_true", help="print one JSON object instead of words")
    diagnose.add_argument(
        "--plots", action=argparse.BooleanOptionalAction, default=True, help="draw pictures (default: yes)"
    )
    diagnose.add_argument(
        "--exact",
        action="store_true",
        help="hold the draws against the enumerated posterior, where signs ** objects <= 2 ** 20 and --likelihood "
        "is identity",
    )

    naming = commands.add_parser(
        "name",
        help="the agents of a run name objects that they have not seen",
        description="The agents of a finished run name objects that they have not seen: each one's sign and its "
        "probability, their joint decision, whether they agree. Rows go to --out or stdout, scores beside them.",
        allow_abbrev=False,
    )
    naming.add_argument("run", metavar="RUN", help="run folder")
    source = naming.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images",
        metavar="PATH",
        help="an image file, a folder of them, a folder of folders that are their classes, or an .npz with `images` "
        "and, if known, `labels`; bright on black, as the run's own; other sizes and colours are changed to the run's",
    )
    source.add_argument(
        "--new",
        metavar="PATHS",
        help="objects laid out as the run's own --data, features and data for each agent too; features are scaled by "
        "those that the run learned from",
    )
    source.add_argument(
        "--split",
        choices=("test", "rest"),
        help="test: the held-out files of the run's data set; rest: its objects beyond the run's --limit",
    )
    naming.add_argument("--data-root", metavar="DIR", help="folder of the run's data set, if that has moved")
    naming.add_argument("--data", metavar="PATHS", help="the run's own data, as --data of train, if that has moved")
    naming.add_argument("--limit", metavar="N", type=int, help="name the first N objects (default: all)")
    naming.add_argument("--out", metavar="FILE", help="write the rows there (default: stdout)")
    naming.add_argument(
        "--format", choices=("csv", "jsonl"), help="of the rows (default: jsonl if --out ends so, else csv)"
    )
    naming.add_argument("--json", action="store_true", help="print the scores as one JSON object; needs --out")

    recall = commands.add_parser(
        "recall",
        help="pictures of what the agents of a run mean by a sign, and of what one imagines when another speaks",
        description="Pictures of what the agents of a finished run mean by each sign, and of what one imagines when "
        "the other says what it sees; judged by a classifier where labels are known. Writes recall.json and plots/ "
        "in RUN.",
        allow_abbrev=False,
    )
    recall.add_argument("run", metavar="RUN", help="run folder")
    recall.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="how far draws lie from a sign's mean: 1 as the agent believes, 0 the mean alone (default: 1)",
    )
    recall.add_argument("--count", metavar="N", type=int, default=8, help="draws of each sign (default: 8)")
    recall.add_argument(
        "--pairs", metavar="N", type=int, default=4, help="objects of each sign in the cross picture (default: 4)"
    )
    recall.add_argument("--data-root", metavar="DIR", help="folder of the run's data set, if that has moved")
    recall.add_argument("--data", metavar="PATHS", help="the run's own data, as --data of train, if that has moved")
    recall.add_argument("--json", action="store_true", help="print one JSON object instead of words")

    corpus = commands.add_parser(
        "corpus",
        help="what the agents of a run said, as messages: JSON lines for the tools that study emergent languages",
        description="What the agents of a finished run said, as messages: a line of JSON for each object and speaker, "
        "with the message as a list of one sign. Lines go to --out or stdout.",
        allow_abbrev=False,
    )
    corpus.add_argument("run", metavar="RUN", help="run folder")
    corpus.add_argument("--out", metavar="FILE", help="write the lines there (default: stdout)")
    corpus.add_argument(
        "--draws",
        choices=("last", "all"),
        default="last",
        help="last: the final draw; all: every draw in posterior.nc, in one numbering (default: last)",
    )
    report = commands.add_parser(
        "report",
        help="one HTML page of a run, or of a comparison: verdict, scores, curves, maps, recall, settings",
        description="One self-contained HTML page of a finished run, or of the folder of a comparison. It needs no "
        "network and no script. Writes report.html in RUN, or --out.",
        allow_abbrev=False,
    )
    report.add_argument("run", metavar="RUN", help="run folder, or folder of a comparison")
    report.add_argument("--out", metavar="FILE", help="write the page there (default: RUN/report.html)")
    report.add_argument(
        "--map",
        metavar="{pca,tsne}",
        default="pca",
        help="of percepts in the plane: pca: principal components, at once; tsne: neighbours, of at most 2,000 "
        "objects (default: pca)",
    )
    report.add_argument("--data-root", metavar="DIR", help="folder of the run's data set, if that has moved")
    report.add_argument("--data", metavar="PATHS", help="the run's own data, as --data of train, if that has moved")
    comparison = commands.add_parser(
        "compare",
        help="a grid of modes, seeds and variants, run side by side, in one table",
        usage=f"{PROGRAM} compare --out DIR [options] [-- FLAGS OF TRAIN]",
        description="Runs every variant in every mode with every seed, each in a folder of its own in DIR, and puts "
        "them into tables: each seed, mean, sd and interval, and differences from a baseline, seed by seed. What "
        "stands after -- goes to every run. The same command again runs only what is missing, and goes on with what "
        "was stopped; with --out alone it takes the grid that DIR holds.",
        allow_abbrev=False,
    )
    comparison.add_argument("--out", metavar="DIR", required=True, help="folder of the runs, tables and picture")
    comparison.add_argument(
        "--modes", metavar="MODE", nargs="+", help="modes of the game (default: com no-com all gibbs)"
    )
    comparison.add_argument(
        "--seeds", metavar="SEED", nargs="+", help="numbers, or ranges that include both ends (default: 0-4)"
    )
    comparison.add_argument(
        "--variant",
        metavar="'NAME: FLAGS'",
        action="append",
        help="a name for the table and the flags of train that make it; '' changes nothing; may be given many times",
    )
    comparison.add_argument(
        "--baseline",
        metavar="ROW",
        help="row that the others are held against: 'MODE' or 'MODE, VARIANT' (default: the first)",
    )
    comparison.add_argument(
        "--config", metavar="FILE", help="TOML file with [compare], [settings] and [variants.NAME]; flags beat it"
    )
    comparison.add_argument(
        "--jobs",
        metavar="J",
        type=int,
        help="runs at a time (default: one for each core; give fewer where they share a GPU)",
    )
    comparison.add_argument("--threads", metavar="T", type=int, help="threads of each run (default: cores / jobs)")
    comparison.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="local: processes of this machine; ray: tasks of a Ray cluster whose nodes share a file system "
        "(default: local)",
    )
    comparison.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="Ray cluster to run on (default: RAY_ADDRESS; else one is started on this machine and ended afterwards)",
    )
    comparison.add_argument("--overwrite", action="store_true", help="replace runs in DIR that have other settings")
    comparison.add_argument("--json", action="store_true", help="print summary.json instead of the tables")
    _add_trust(comparison, "the file of --config, or the grid that DIR holds,")
    for reading in (diagnose, naming, recall, corpus, report):
        _add_trust(reading)
    commands.add_parser(
        "models", help="what agents can be made of, each with its formula and source", allow_abbrev=False
    )
    data = commands.add_parser("data", help="the data sets that can be used, and how to get them", allow_abbrev=False)
    data.add_argument("--data-root", metavar="DIR", help="folder to look into")
    return parser


def _add_trust(parser: argparse.ArgumentParser, what: str = "the run") -> None:
    parser.add_argument(
        "--trust-plugins",
        action="store_true",
        help=f"{what} may have code imported that it names as MODULE:NAME; without this it is refused",
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; an unknown flag is an error of one line with the nearest known one."""
    from mhng.experiment.util.text import suggestion

    parser = build_parser()
    words: list[str] = []
    if argv[:1] == ["compare"] and "--" in argv:  # what argparse makes of -- differs between versions of Python
        end = list(argv).index("--")
        argv, words = argv[:end], list(argv[end + 1 :])
    arguments, unknown = parser.parse_known_args(argv)
    arguments.words = words
    if unknown:
        wrong = unknown[0].split("=")[0]
        known = [
            option
            for action in parser._subparsers._group_actions[0].choices[arguments.command]._actions  # type: ignore[union-attr, index]
            for option in action.option_strings
        ]
        hint = suggestion(wrong, known)
        if arguments.command == "compare":
            hint = hint or "; flags of train stand after --"
        parser.error(f"{arguments.command}: unknown argument {unknown[0]!r}{hint}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the run failed, 2 bad usage, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    name = PROGRAM
    try:
        from mhng.experiment.errors import RunError, UsageError

        arguments = parse(argv)
        name = f"{PROGRAM} {arguments.command}"
        try:
            code = _COMMANDS[arguments.command](arguments, argv)
        except UsageError as error:
            return _complain(f"{name}: {error}", 2)
        except RunError as error:
            return _complain(f"{name}: {error}", 1)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _complain(f"{name}: interrupted", 130)
    except BrokenPipeError:
        return _give_up_stdout()  # the reader of our output left, as `head` does
    except OSError as error:
        _give_up_stdout()
        return _complain(f"{name}: {error}", 1)


def _complain(message: str, code: int) -> int:
    """One line on stderr, whatever is in it: names come from files too, and could tell a terminal what to do."""
    text = " ".join(message.splitlines())
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    if sys.stderr is not None:
        print(text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}...", file=sys.stderr)
    return code


def _give_up_stdout() -> int:
    """What is still in the buffer cannot be written; without this Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _train(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.errors import UsageError
    from mhng.experiment.settings.config import resolve
    from mhng.experiment.settings.schema import SETTINGS

    given = {name: value for name, value in vars(arguments).items() if name in SETTINGS}
    if arguments.resume is not None:
        refused = sorted(set(given) - {"rounds", "tensorboard"})
        if refused or arguments.config:
            raise UsageError(
                "--resume goes on with the run's own settings; beside it only --rounds, --tensorboard and "
                "--trust-plugins may be given"
            )
        from mhng.experiment.training.train import resume

        resume(Path(arguments.resume), command_line=argv, trust_plugins=arguments.trust_plugins, **given)
        return 0
    config = resolve(given, _path(arguments.config), trust_plugins=arguments.trust_plugins)
    from mhng.experiment.training.train import train

    train(config, command_line=argv)
    return 0


def _diagnose(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.diagnostics.diagnose import diagnose

    diagnose(
        Path(arguments.run),
        as_json=arguments.json,
        plots=arguments.plots,
        exact=arguments.exact,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _name(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.naming import name

    name(
        Path(arguments.run),
        images=_path(arguments.images),
        new=arguments.new,
        split=arguments.split,
        data_root=_path(arguments.data_root),
        data=arguments.data,
        limit=arguments.limit,
        out=_path(arguments.out),
        form=arguments.format,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _recall(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.recall import recall

    recall(
        Path(arguments.run),
        temperature=arguments.temperature,
        count=arguments.count,
        pairs=arguments.pairs,
        data_root=_path(arguments.data_root),
        data=arguments.data,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _corpus(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.evaluation.corpus import corpus

    corpus(
        Path(arguments.run),
        draws=arguments.draws,
        out=_path(arguments.out),
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _report(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.report.report import report

    report(
        Path(arguments.run),
        out=_path(arguments.out),
        kind=arguments.map,
        data_root=_path(arguments.data_root),
        data=arguments.data,
        trust_plugins=arguments.trust_plugins,
    )
    return 0


def _compare(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.comparison.compare import compare

    whole = compare(
        Path(arguments.out),
        modes=arguments.modes,
        seeds=arguments.seeds,
        variants=arguments.variant,
        baseline=arguments.baseline,
        words=arguments.words,
        file=_path(arguments.config),
        jobs=arguments.jobs,
        threads=arguments.threads,
        engine=arguments.engine,
        address=arguments.address,
        overwrite=arguments.overwrite,
        as_json=arguments.json,
        trust_plugins=arguments.trust_plugins,
    )
    return 0 if whole else 1


def _path(typed: str | None) -> Path | None:
    return None if typed is None else Path(typed)


def _models(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    import textwrap

    from mhng.experiment.settings.schema import SETTINGS
    from mhng.models.registry import FAMILIES, WEIGHTS

    for family, variants in {**FAMILIES, "weights": WEIGHTS}.items():
        heading = f"--{family}: {SETTINGS[family].help} (default: {SETTINGS[family].default})"
        print(textwrap.fill(heading, 119, subsequent_indent="  "))
        for name, variant in variants.items():
            print(f"  {name:<22}{variant.description}")
            for line in filter(None, (variant.symbol, variant.source)):
                print(f"  {'':<22}  {line}")
    print(f"\nPlug-ins: --{', --'.join(FAMILIES)} MODULE:NAME, from this folder or Python's path.")
    return 0


def _data(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from mhng.experiment.data.loading import describe

    for row in describe(_path(arguments.data_root)):
        state = "here" if row["present"] else "absent"
        print(f"{row['name']:<16}{state:<8}{row['what']}")
        if not row["present"]:
            print(f"{'':<24}get it: {row['how']}")
    return 0


_COMMANDS = {
    "train": _train,
    "diagnose": _diagnose,
    "name": _name,
    "recall": _recall,
    "corpus": _corpus,
    "report": _report,
    "compare": _compare,
    "models": _models,
    "data": _data,
}
