"""The parser of the command line: the commands, their flags and their help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from mhng import __version__
from mhng.experiment.util.arguments import ArgumentParser, seed, threads
from mhng.experiment.util.output import complain


class Parser(ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"{self.prog}: {self.with_hint(message)}", 2))


def build_parser(program: str = "mhng") -> Parser:
    """The parser of all commands and flags. program: the name of the program in messages."""
    parser = Parser(
        prog=program,
        description="Metropolis-Hastings naming game between deep generative agents.",
    )
    parser.add_argument("--version", action="version", version=f"mhng {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, more: str = "", usage: str | None = None) -> Parser:
        description = f"{help[0].upper()}{help[1:]}.{more and ' ' + more}"
        added: Parser = commands.add_parser(
            name,
            help=help,
            description=description,
            usage=None if usage is None else f"{program} {name} {usage}",
        )
        return added

    _add_train(
        command(
            "train",
            "train one run and write its run folder",
            "Data sets may have other defaults than those below (docs/data.md); --dry-run prints all settings.",
            usage="[--config FILE] [SETTINGS]",
        )
    )
    _add_play(
        command(
            "play",
            "play the game with the finished agents of a run, without learning, or a game of Pyro programs",
            "Writes a run folder that the other commands read. The chains start afresh, on a new draw of the latents.",
            usage="{RUN,FILE.py:NAME} [options] [SETTINGS OF THE GAME]",
        )
    )
    _add_prove(
        command(
            "prove",
            "check that a game of Pyro programs has its law, and plant faults that the check must see",
            "Exit code 0: the game has its law; 1: it does not, or the check does not apply to it. Runs FILE.py.",
        )
    )
    _add_diagnose(
        command(
            "diagnose",
            "report convergence of the chains, agreement of the agents and accuracy of the signs of a run",
            "Reads only the run folder. Draws pictures in RUN/plots.",
        )
    )
    _add_name(
        command(
            "name",
            "infer signs for objects that a run has not seen",
            "Each row is an object: the sign of each agent with its probability, the joint sign, and whether the "
            "agents agree. Scores go to stdout with --out, else to stderr.",
        )
    )
    _add_recall(
        command(
            "recall",
            "decode the images that agents associate with signs",
            "For each sign the image of the component mean and samples around it. For pairs of agents, what the "
            "listener decodes from the sign of the speaker. With labels a classifier scores the images. Writes "
            "RUN/recall.json and pictures in RUN/plots.",
        )
    )
    _add_corpus(
        command(
            "corpus",
            "export the signs of a run as messages, for tools that study emergent languages",
            "Each line is an object and a speaker. A message has one sign, or the words of a sentence.",
        )
    )
    _add_language(
        command(
            "language",
            "score the sentences of a run",
            "Log evidence by meaning, agreement on each word and, for objects with several attributes, topsim, "
            "posdis, bosdis, and whether agents describe combinations that --hold-out kept unseen. Draws pictures in "
            "RUN/plots.",
        )
    )
    _add_report(
        command(
            "report",
            "write an HTML page about a run or a comparison",
            "The page contains its pictures. It needs no network and no script.",
        )
    )
    _add_compare(
        command(
            "compare",
            "train runs over modes, seeds and variants, and tabulate their scores",
            "Each run has a folder in DIR. The tables hold each seed, mean, standard deviation, 95% interval, and "
            "paired differences from the baseline. Flags of train after -- apply to all runs. The same command "
            "continues an interrupted comparison; with --out alone it repeats the grid in DIR.",
            usage="--out DIR [options] [-- FLAGS OF TRAIN]",
        )
    )
    _add_study(
        command(
            "study",
            "play the naming game between people and an agent: a page, its log, and the data",
            "The page is served on this machine; docs/people.md tells how to put it behind a proxy.",
        )
    )
    _add_behaviour(
        command(
            "behaviour",
            "ask which acceptance rule people follow in the naming game, and what a study can show",
            "fit reads trials; power and simulate need none.",
        )
    )
    command("models", "list the networks, likelihoods, mixtures and other parts of agents, with formulas and sources")
    data = command("data", "list the data sets, whether they are present, and how to get them")
    data.add_argument("--data-root", metavar="DIR", help="folder of data sets (default: ./data)")
    return parser


def _add_train(parser: Parser) -> None:
    from mhng.experiment.settings.parsing import add_settings

    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="run folder of a stopped or complete run to continue; only --rounds, --tensorboard and the place of the "
        "data (--data, --data-root) may change",
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings; flags override it")
    parser.add_argument(
        "--preset",
        metavar="{quick,paper}",
        help="settings that --config and flags override. quick: 1,000 objects of a built-in data set, 15 epochs and 3 "
        "rounds, about 30 s; its scores are no result. paper: settings of the public reference code, MNIST",
    )
    parser.add_argument("--quick", action="store_const", const="quick", dest="preset", help="same as --preset quick")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the settings with the reasons of those that the data decide, memory and expected time; train and "
        "write nothing",
    )
    _add_trust(parser, "the file of --config, or the run of --resume,")
    parser.add_argument("--learned", metavar="FILE", help=argparse.SUPPRESS)  # of compare, for its runs
    add_settings(parser)


def _add_play(parser: Parser) -> None:
    from mhng.experiment.settings.parsing import add_settings
    from mhng.experiment.settings.schema import PLAY_SETTINGS

    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder of a finished run; or FILE.py:NAME, a game of Pyro programs (docs/programs.md)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="new run folder (default: RUN/play-001, or the next free number; for FILE.py:NAME a new folder in runs/)",
    )
    parser.add_argument("--seed", metavar="SEED", help="seed of the game FILE.py:NAME (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replacement of the run in --out")
    _add_moved_data(parser)
    _add_trust(parser)
    add_settings(parser, PLAY_SETTINGS, "that of RUN")


def _add_prove(parser: Parser) -> None:
    parser.add_argument(
        "game", metavar="FILE.py:NAME", help="NAME in FILE.py: a NamingGame, or a function that returns one"
    )
    parser.add_argument("--chains", metavar="C", type=int, help="chains of each check (default: 4000)")
    parser.add_argument("--sweeps", metavar="T", type=int, help="sweeps from the prior to the law (default: 20)")
    parser.add_argument("--seed", metavar="SEED", type=seed, default=0, help="seed of the check (default: 0)")


def _add_diagnose(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="pictures (default: yes)")
    parser.add_argument(
        "--exact",
        action="store_true",
        help="comparison of the draws with the enumerated posterior; requires signs ** objects <= 2 ** 20 and "
        "--likelihood identity",
    )
    _add_threads(parser)
    _add_trust(parser)


def _add_name(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--images",
        metavar="PATH",
        help="image file, folder of images, folder with a folder for each class, or .npz with `images` and optional "
        "`labels`; bright on black, like the images of the run; other sizes and colours are converted",
    )
    source.add_argument(
        "--new",
        metavar="PATHS",
        help="files with the layout of --data of the run; features are scaled with the mean and standard deviation "
        "of the run",
    )
    source.add_argument(
        "--split",
        choices=("test", "rest", "unseen"),
        help="objects of the data set. test: its test files; rest: those beyond --limit of the run; unseen: the "
        "combinations of --hold-out",
    )
    _add_moved_data(parser)
    parser.add_argument("--limit", metavar="N", type=int, help="number of objects, from the first on (default: all)")
    parser.add_argument("--out", metavar="FILE", help="file of the rows (default: stdout)")
    parser.add_argument(
        "--format", choices=("csv", "jsonl"), help="format of the rows (default: that of the suffix of --out, or csv)"
    )
    parser.add_argument("--json", action="store_true", help="scores as one JSON object; requires --out")
    _add_threads(parser)
    _add_trust(parser)


def _add_recall(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument(
        "--sentence",
        metavar="WORDS",
        nargs="+",
        help="sentences such as 3,7 to decode instead of all signs; objects need not have them",
    )
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="scale of the samples around the component mean. 1: the covariance of the component; 0: the mean only "
        "(default: 1)",
    )
    parser.add_argument("--count", metavar="N", type=int, default=8, help="samples per sign (default: 8)")
    parser.add_argument(
        "--pairs", metavar="N", type=int, default=4, help="objects per sign in the picture of pairs (default: 4)"
    )
    _add_moved_data(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    _add_threads(parser)
    _add_trust(parser)


def _add_corpus(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--out", metavar="FILE", help="file of the lines (default: stdout); a new folder for elcc")
    parser.add_argument(
        "--format",
        choices=("jsonl", "xferbench", "elcc", "csar"),
        default="jsonl",
        help="jsonl: one object per line; xferbench: the words alone; elcc: a folder with metadata; csar: words with "
        "their meaning (default: jsonl)",
    )
    parser.add_argument(
        "--draws",
        choices=("last", "all"),
        default="last",
        help="draws. last: the final draw; all: every draw in posterior.nc, with relabelled signs (default: last)",
    )
    _add_trust(parser)


def _add_language(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="pictures (default: yes)")
    _add_trust(parser)


def _add_report(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help="run folder, or folder of a comparison")
    parser.add_argument("--out", metavar="FILE", help="file of the page (default: RUN/report.html)")
    parser.add_argument(
        "--map",
        metavar="{pca,tsne}",
        default="pca",
        help="projection of the latents to the plane. pca: principal components; tsne: t-SNE of at most 2,000 "
        "objects, slower (default: pca)",
    )
    parser.add_argument("--all", action="store_true", help="also the page of each complete run of a comparison")
    _add_moved_data(parser)
    _add_threads(parser)
    _add_trust(parser)


def _add_compare(parser: Parser) -> None:
    from mhng.experiment.settings.schema import ENGINES

    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the runs, tables and picture")
    parser.add_argument("--modes", metavar="MODE", nargs="+", help="modes (default: com no-com all gibbs)")
    parser.add_argument("--seeds", metavar="SEED", nargs="+", help="seeds, or inclusive ranges (default: 0-4)")
    parser.add_argument(
        "--variant",
        metavar="'NAME: FLAGS'",
        action="append",
        help="name of a variant and its flags of train; '' is the variant without flags; may be repeated",
    )
    parser.add_argument(
        "--baseline",
        metavar="ROW",
        help="row of the table for paired differences, 'MODE' or 'MODE, VARIANT' (default: the first)",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file with [compare], [settings] and [variants.NAME]; flags override it"
    )
    parser.add_argument(
        "--jobs", metavar="J", type=int, help="runs at the same time; fewer if they share a GPU (default: all cores)"
    )
    parser.add_argument(
        "--threads",
        metavar="T",
        type=threads,
        help="threads per run, auto or a number; auto: cores / jobs (default: auto)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where the runs execute. local: processes on this machine; ray: tasks of a Ray cluster with a shared "
        "file system (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="Ray cluster of --engine ray (default: RAY_ADDRESS, or a new cluster on this machine)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replacement of runs in DIR that have other settings")
    parser.add_argument("--json", action="store_true", help="summary.json on stdout instead of the tables")
    _add_trust(parser, "the file of --config, or the grid in DIR,")


def _add_study(parser: Parser) -> None:
    from mhng.experiment.people.commands import add_study

    add_study(parser)


def _add_behaviour(parser: Parser) -> None:
    from mhng.experiment.report.behaviour_commands import add_behaviour

    add_behaviour(parser)


def _add_threads(parser: Parser) -> None:
    parser.add_argument(
        "--threads",
        metavar="N",
        default="auto",
        help="threads on the CPU, auto or N; auto: one (default: auto)",
    )


def _add_moved_data(parser: Parser) -> None:
    parser.add_argument("--data-root", metavar="DIR", help="folder of the data set, if it has moved")
    parser.add_argument("--data", metavar="PATHS", help="--data of the run, if the files have moved")


def _add_trust(parser: Parser, what: str = "the run") -> None:
    parser.add_argument(
        "--trust-plugins",
        action="store_true",
        help=f"import of code that {what} names as MODULE:NAME; refused by default",
    )


def parse(argv: Sequence[str], program: str = "mhng") -> argparse.Namespace:
    """Parse the arguments. An unknown flag is an error of one line with the nearest known flag."""
    from mhng.experiment.util.text import suggestion

    parser = build_parser(program)
    words: list[str] = []
    if argv[:1] == ["compare"] and "--" in argv:  # argparse treats -- differently in each version of Python
        end = list(argv).index("--")
        argv, words = argv[:end], list(argv[end + 1 :])
    arguments, unknown = parser.parse_known_args(argv)
    arguments.typed = words
    if unknown:
        wrong = unknown[0].split("=")[0]
        hint = suggestion(wrong, _options(parser, arguments.command))
        if arguments.command == "compare":
            hint = hint or "; flags of train stand after --"
        parser.error(f"{arguments.command}: unknown argument {unknown[0]!r}{hint}")
    return arguments


def _options(parser: argparse.ArgumentParser, command: str | None = None) -> list[str]:
    """The flags of a command and its parts; None: all flags of the parser."""
    options = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parts = action.choices.values() if command is None else [action.choices[command]]
            options += [option for part in parts for option in _options(part)]
        elif command is None:
            options += action.option_strings
    return options
