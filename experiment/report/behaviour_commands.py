"""The command `behaviour`: its arguments and its parts."""

from __future__ import annotations

import argparse
from typing import Any

from mhng.experiment.util.arguments import seed
from mhng.experiment.util.output import print_report
from mhng.experiment.util.paths import check_new_folder, typed_path


def add_behaviour(parser: Any) -> None:
    """Add the arguments of `behaviour`."""
    parts = parser.add_subparsers(dest="behaviour", metavar="PART", required=True)

    def part(name: str, help: str) -> Any:
        added = parts.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        added.add_argument("--seed", metavar="SEED", type=seed, default=0, help="seed (default: 0)")
        return added

    fit = part("fit", "fit the hierarchical model of each rule to trials, and compare the rules")
    fit.add_argument("trials", metavar="DS", help="study folder, Psych-DS folder, or CSV file of trials")
    fit.add_argument("--out", metavar="DIR", help="new folder for fit.json, posterior.nc, pictures and report.html")
    fit.add_argument(
        "--perception",
        choices=("categories", "features"),
        default="categories",
        help="what a person perceives of an object. categories: the person's own sorting; features: the features in "
        "data/stimuli-*_data.csv (default: categories)",
    )
    fit.add_argument("--json", action="store_true", help="one JSON object instead of text")
    power = part("power", "simulate studies of a size, and count how often they find the right rule")
    power.add_argument("--participants", metavar="P", type=int, required=True, help="participants of each study")
    power.add_argument("--offers", metavar="N", type=int, required=True, help="offers to each participant")
    power.add_argument("--studies", metavar="S", type=int, default=200, help="studies of each rule (default: 200)")
    power.add_argument("--lapse", metavar="P", type=float, default=0.1, help="share of lapses (default: 0.1)")
    power.add_argument("--json", action="store_true", help="one JSON object instead of text")
    simulate = part("simulate", "write the trials of simulated participants who follow a rule")
    simulate.add_argument("out", metavar="DS", help="new folder of the data set, which says that it is simulated")
    simulate.add_argument(
        "--rule",
        default="mh",
        help="mh, numerator, subtraction, binary, constant or tempered (default: mh)",
    )
    simulate.add_argument("--participants", metavar="P", type=int, default=20, help="participants (default: 20)")
    simulate.add_argument("--offers", metavar="N", type=int, default=100, help="offers to each (default: 100)")
    simulate.add_argument("--lapse", metavar="P", type=float, default=0.1, help="share of lapses (default: 0.1)")


def run_behaviour(arguments: argparse.Namespace) -> int:
    """Run a part of `behaviour`."""
    if arguments.behaviour == "fit":
        from mhng.experiment.report.behaviour import behaviour_fit

        behaviour_fit(
            typed_path(arguments.trials, "DS"),
            out=None if arguments.out is None else typed_path(arguments.out, "--out"),
            perception=arguments.perception,
            seed=arguments.seed,
            as_json=arguments.json,
        )
    elif arguments.behaviour == "power":
        from mhng.experiment.people.power import power, power_lines

        report = power(
            arguments.participants,
            arguments.offers,
            studies=arguments.studies,
            lapse=arguments.lapse,
            seed=arguments.seed,
        )
        print_report(report, power_lines, as_json=arguments.json)
    else:
        from mhng.experiment.people.simulated import simulated
        from mhng.experiment.people.trials import save

        out = typed_path(arguments.out, "DS")
        check_new_folder(out, "DS")
        save(
            simulated(
                arguments.rule,
                arguments.participants,
                arguments.offers,
                lapse=arguments.lapse,
                seed=arguments.seed,
            ),
            out,
        )
        print(f"Simulated trials: {out}")
    return 0
