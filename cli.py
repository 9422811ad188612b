"""The door: reads a command line, calls `experiment`, prints. No algorithm and no tensor lives here."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

HOME = Path(__file__).resolve().parent
PROGRAM = "cli.py"


def _check_home() -> None:
    """Stop if another distribution's package of the same generic name would be imported instead of ours."""
    sys.path.insert(0, str(HOME))
    for name in ("models", "inference", "experiment"):
        found = importlib.util.find_spec(name)
        place = None if found is None or found.origin is None else Path(found.origin).resolve().parent.parent
        if place != HOME:
            sys.exit(
                f"{PROGRAM}: the package {name!r} was found in {place}, not beside {HOME / 'cli.py'}: "
                "another installed distribution has one of that name; use a virtual environment of its own"
            )


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def build_parser() -> Parser:
    """All commands and their flags."""
    from experiment.config import FIELDS, flag

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
    train.add_argument("--resume", metavar="RUN", help="go on with a run that stopped; only --rounds may change")
    train.add_argument("--config", metavar="FILE", help="TOML file of settings; flags beat it")
    groups: dict[str, Any] = {}
    for name, field in FIELDS.items():
        rule = field.metadata
        group = groups.get(rule["group"]) or train.add_argument_group(rule["group"])
        groups[rule["group"]] = group
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        default = "none" if field.default is None else field.default
        if isinstance(default, tuple):
            default = ",".join(f"{value:g}" for value in default)
        options["help"] = f"{rule['help']} (default: {default})".replace("%", "%%")
        if rule["kind"] == "bool":
            options["action"] = argparse.BooleanOptionalAction
        else:
            choices = rule["choices"]
            options["metavar"] = "{" + ",".join(choices) + "}" if choices else rule["kind"].upper()
        group.add_argument(flag(name), **options)

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
    commands.add_parser("models", help="the variants that can be swapped", allow_abbrev=False)
    data = commands.add_parser("data", help="the data sets that can be used, and how to get them", allow_abbrev=False)
    data.add_argument("--data-root", metavar="DIR", help="folder to look into")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; an unknown flag is an error of one line with the nearest known one."""
    from experiment.config import suggestion

    parser = build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        wrong = unknown[0].split("=")[0]
        known = [
            option
            for action in parser._subparsers._group_actions[0].choices[arguments.command]._actions  # type: ignore[union-attr, index]
            for option in action.option_strings
        ]
        parser.error(f"{arguments.command}: unknown argument {unknown[0]!r}{suggestion(wrong, known)}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 the run failed, 2 bad usage, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else list(argv)
    name = PROGRAM
    try:
        _check_home()
        from experiment.errors import RunError, UsageError

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
    """One line on stderr, also where a path in it holds line breaks."""
    if sys.stderr is not None:
        print(" ".join(message.splitlines()), file=sys.stderr)
    return code


def _give_up_stdout() -> int:
    """What is still in the buffer cannot be written; without this Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _train(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from experiment.config import FIELDS, resolve
    from experiment.errors import UsageError

    given = {name: value for name, value in vars(arguments).items() if name in FIELDS}
    if arguments.resume is not None:
        refused = sorted(set(given) - {"rounds"})
        if refused or arguments.config:
            raise UsageError("--resume goes on with the run's own settings; beside it only --rounds may be given")
        from experiment.run import resume

        resume(Path(arguments.resume), rounds=given.get("rounds"), command_line=argv)
        return 0
    config = resolve(given, None if arguments.config is None else Path(arguments.config))
    from experiment.run import train

    train(config, command_line=argv)
    return 0


def _diagnose(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from experiment.diagnose import diagnose

    diagnose(Path(arguments.run), as_json=arguments.json, plots=arguments.plots, exact=arguments.exact)
    return 0


def _models(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from models import LIKELIHOODS, MIXTURES, NETWORKS

    for title, variants in (("network", NETWORKS), ("likelihood", LIKELIHOODS), ("mixture", MIXTURES)):
        print(f"--{title}")
        for name, variant in variants.items():
            print(f"  {name:<16}{variant.description}")
    return 0


def _data(arguments: argparse.Namespace, argv: Sequence[str]) -> int:
    from experiment.data import describe

    for row in describe(None if arguments.data_root is None else Path(arguments.data_root)):
        state = "here" if row["present"] else "absent"
        print(f"{row['name']:<16}{state:<8}{row['what']}")
        if not row["present"]:
            print(f"{'':<24}get it: {row['how']}")
    return 0


_COMMANDS = {"train": _train, "diagnose": _diagnose, "models": _models, "data": _data}

if __name__ == "__main__":
    sys.exit(main())
