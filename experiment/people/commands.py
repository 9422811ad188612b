"""The command `study`: its arguments and its parts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.util.arguments import seed
from mhng.experiment.util.paths import check_new_folder, typed_path


def add_study(parser: Any) -> None:
    """Add the arguments of `study`."""
    commands = parser.add_subparsers(dest="study", metavar="COMMAND", required=True)

    def command(name: str, help: str, folder: bool = True) -> Any:
        added = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        if folder:
            added.add_argument("dir", metavar="DIR", help="folder of the study")
            added.add_argument(
                "--trust-plugins", action="store_true", help="import of the Pyro program of the partner in DIR"
            )
        return added

    _add_new(command("new", "write the folder of a study: design, pictures and partner"))
    served = command("serve", "serve the page of a study on this machine")
    _add_address(served)
    bots = command("bots", "let bots with a known rule play a study through its pages")
    bots.add_argument(
        "--rule", metavar="RULE", default="mh", help="rule of acceptance, as for --partner (default: mh)"
    )
    bots.add_argument("--count", metavar="N", type=int, default=20, help="number of bots (default: 20)")
    bots.add_argument(
        "--knowledge",
        choices=("sorted", "known"),
        default="sorted",
        help="what bots know of objects. sorted: counts of their sorting; known: the table of the agent that they "
        "stand in for (default: sorted)",
    )
    bots.add_argument("--lapse", metavar="P", type=float, default=0.0, help="share of answers by a coin (default: 0)")
    bots.add_argument("--seed", metavar="SEED", type=seed, default=0, help="seed of the bots (default: 0)")
    bots.add_argument("--url", metavar="URL", help="address of a running server (default: in this process)")
    status = command("status", "list the sessions of a study with their conditions and completion codes")
    status.add_argument("--json", action="store_true", help="one JSON object instead of text")
    export = command("export", "write the trials of a study as a Psych-DS data set")
    export.add_argument("--out", metavar="DS", required=True, help="new folder of the data set")
    export.add_argument("--bots", action="store_true", help="bots instead of people")
    export.add_argument("--all", action="store_true", help="also sessions that are not finished")
    forget = command("forget", "delete the log of one participant")
    forget.add_argument("token", metavar="CODE", help="code on the last page, PROLIFIC_PID, or token of the session")
    _add_address(command("demo", "play one block against an agent in the browser; nothing is kept", folder=False))


def _add_new(parser: Any) -> None:
    from mhng.experiment.people.conditions import NAMES

    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--run",
        metavar="RUN",
        help="run folder, or FILE.py:NAME for a game of Pyro programs: the partner is its agent",
    )
    source.add_argument(
        "--data",
        metavar="DATA",
        help="creatures, a data set of images such as digits, a folder of images, or PERSON,PARTNER for two folders",
    )
    parser.add_argument("--agent", metavar="NAME", help="agent of --run that is the partner (default: the first)")
    parser.add_argument(
        "--pictures", metavar="FOLDER", help="a picture of each object in the order of names, for --run without images"
    )
    parser.add_argument(
        "--partner",
        metavar="CONDITIONS",
        default="mh",
        help=f"conditions of the partner, separated by commas: {', '.join(NAMES)} (default: mh)",
    )
    parser.add_argument("--blocks", metavar="B", type=int, default=2, help="blocks of trials (default: 2)")
    parser.add_argument(
        "--offers", metavar="N", type=int, default=40, help="offers to a participant, in all blocks (default: 40)"
    )
    parser.add_argument("--objects", metavar="N", type=int, help="objects (default: 10, or those of a Pyro program)")
    parser.add_argument("--signs", metavar="K", type=int, help="names, 2 to 12 (default: 4, or the signs of --run)")
    parser.add_argument(
        "--groups",
        metavar="G",
        type=int,
        help="groups into which a person sorts, 2 to 9 (default: the number of names)",
    )
    parser.add_argument(
        "--consent",
        metavar="FILES",
        required=True,
        help="text file of the consent; one for each language, in its order",
    )
    parser.add_argument(
        "--language", metavar="LANGUAGES", default="en", help="languages: en, ja or en,ja (default: en)"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name of the exported data, letters and digits (default: of DIR)"
    )
    parser.add_argument("--code", metavar="CODE", help="completion code of all participants (default: one for each)")
    parser.add_argument("--seed", metavar="SEED", type=seed, default=0, help="seed of the study (default: 0)")
    parser.add_argument("--data-root", metavar="DIR", help="folder of the data sets")


def _add_address(parser: Any) -> None:
    parser.add_argument(
        "--host", metavar="HOST", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)"
    )
    parser.add_argument("--port", metavar="PORT", type=int, default=8000, help="port; 0: a free one (default: 8000)")


def run_study(arguments: argparse.Namespace) -> int:
    """Run a part of `study`."""
    if "dir" in arguments:
        arguments.dir = typed_path(arguments.dir, "DIR")
    _PARTS[arguments.study](arguments)
    return 0


def _open(arguments: argparse.Namespace) -> Any:
    from mhng.experiment.people.study import Study

    return Study.open(arguments.dir, trust_plugins=arguments.trust_plugins)


def _new(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from mhng.experiment.people.design import Design, check_design
    from mhng.experiment.people.new import read_consent, study_name, write_study
    from mhng.experiment.people.sides import sides_of_data
    from mhng.experiment.people.sources import sides_of_agents

    check_new_folder(arguments.dir, "DIR")
    languages = tuple(arguments.language.split(","))
    signs = 4 if arguments.signs is None else arguments.signs
    design = Design(
        name=arguments.name or study_name(arguments.dir),
        seed=arguments.seed,
        source=arguments.run if arguments.data is None else arguments.data,
        partners=tuple(arguments.partner.split(",")),
        blocks=arguments.blocks,
        offers=arguments.offers,
        objects=10 if arguments.objects is None else arguments.objects,
        signs=signs,
        groups=min(signs, 9) if arguments.groups is None else arguments.groups,
        languages=languages,
        code=arguments.code,
    )
    check_design(design)
    files = [typed_path(text, "--consent") for text in arguments.consent.split(",")]
    consent = read_consent(files, languages)
    root = None if arguments.data_root is None else typed_path(arguments.data_root, "--data-root")
    pictures = None if arguments.pictures is None else typed_path(arguments.pictures, "--pictures")
    if arguments.data is not None:
        if arguments.agent is not None or pictures is not None:
            raise UsageError("--agent and --pictures require --run")
        sides = sides_of_data(arguments.data, design.objects, signs, design.seed, root)
    else:
        sides, N, K = sides_of_agents(
            arguments.run, arguments.agent, arguments.objects, design.seed, pictures, root, arguments.trust_plugins
        )
        if arguments.signs not in (None, K):
            raise UsageError(f"--signs is {arguments.signs}; {arguments.run} has {K}")
        groups = min(K, 9) if arguments.groups is None else arguments.groups
        design = check_design(replace(design, objects=N, signs=K, groups=groups))
    source = sides.source.encode(errors="replace").decode()  # a name of a file may not be text
    write_study(arguments.dir, replace(design, source=source), sides, consent)
    print(f"Study: {arguments.dir}")
    print(f"Conditions: {', '.join(design.partners)}; {design.blocks} blocks, {design.offers} offers, "
          f"{design.objects} objects, {design.signs} names")  # fmt: skip


def _serve(arguments: argparse.Namespace) -> None:
    from mhng.experiment.people.serve import require_packages, serve

    require_packages()
    serve(_open(arguments), arguments.host, arguments.port, _say)


def _demo(arguments: argparse.Namespace) -> None:
    from mhng.experiment.people.serve import demo

    demo(arguments.host, arguments.port, _say)


def _say(line: str) -> None:
    print(line, flush=True)


def _bots(arguments: argparse.Namespace) -> None:
    from contextlib import closing
    from functools import partial

    from mhng.experiment.people.bots import Bot
    from mhng.experiment.people.client import Http, InProcess
    from mhng.experiment.people.person import read_person
    from mhng.experiment.people.serve import application, require_packages
    from mhng.experiment.util.locks import locked

    if arguments.count < 1:
        raise UsageError(f"--count is {arguments.count}; expected 1 or more")
    study = _open(arguments)
    person = read_person(arguments.dir, study.design)

    # Later bots have draws of their own, so a second call adds independent ones.
    begun = sum(study.logs.first(participant).get("bot") is not None for participant in study.logs.participants())

    known = arguments.knowledge == "known"
    bot = partial(Bot, arguments.rule, person, known=known, lapse=arguments.lapse, seed=arguments.seed)
    bot()  # checks the options before the folder is locked

    def play(transport: Any) -> None:
        for number in range(begun, begun + arguments.count):
            print(bot(number=number).play(transport, study.design.languages[0]))

    if arguments.url is not None:
        with closing(Http(arguments.url)) as web:
            play(web)
        return
    require_packages()
    with locked(arguments.dir), closing(InProcess(application(study))) as transport:
        play(transport)


def _status(arguments: argparse.Namespace) -> None:
    from mhng.experiment.people.status import status, status_lines
    from mhng.experiment.util.output import print_report

    print_report(status(_open(arguments)), lambda report: status_lines(dict(report)), as_json=arguments.json)


def _export(arguments: argparse.Namespace) -> None:
    from mhng.experiment.people.export import export

    out = typed_path(arguments.out, "--out")
    done = export(_open(arguments), out, bots=arguments.bots, everyone=arguments.all)
    print(f"Data of {done.participants} {'bots' if arguments.bots else 'participants'}: {out}")
    print(f"Offers of another name than the participant's: {done.other} of {done.offers}; only these tell rules apart")


def _forget(arguments: argparse.Namespace) -> None:
    from mhng.experiment.people.status import forget

    print(f"Deleted: {forget(_open(arguments), arguments.token)}")


_PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "new": _new,
    "serve": _serve,
    "bots": _bots,
    "status": _status,
    "export": _export,
    "forget": _forget,
    "demo": _demo,
}
