"""The command `behaviour fit`: the fit of a table of trials as text, files and a report page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mhng.experiment.people.fit import CHOICES, Fit, fit
from mhng.experiment.people.rules import RULES
from mhng.experiment.plots import behaviour as plots
from mhng.experiment.report.drawing import ChartRenderer
from mhng.experiment.report.page import Cell, Page, Picture, Section, Table, cells, count, number, render
from mhng.experiment.runs.posterior import save_groups
from mhng.experiment.util.files import atomic_path
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import print_note, print_report
from mhng.experiment.util.paths import check_new_folder

FILES = ("fit.json", "posterior.nc", "report.html")
SIMULATED = "The answers are simulated. No person has given them."
NOTHING_LINEAR = (
    "A slope that differs from 0 is no evidence for MH: each rule that prefers better signs has one. The linear fit "
    "cannot tell MH from binary."
)
MAX_RHAT = 1.01
Report = Mapping[str, Any]


def behaviour_fit(data: Path, *, out: Path | None, perception: str, seed: int, as_json: bool) -> Report:
    """Fit the rules to the trials in `data`, print the report, and write it to the folder `out`. Raises UsageError."""
    if out is not None:
        check_new_folder(out, "--out")
    fitted = fit(data, perception=perception, seed=seed)
    if out is not None:
        write(fitted, out)
    print_report(to_plain(fitted.report), fit_lines, as_json=as_json)
    if out is not None and not as_json:
        print(f"Report: {out / 'report.html'}")
    return fitted.report


def write(fitted: Fit, out: Path) -> None:
    """Write fit.json, posterior.nc, plots/ and report.html to the folder `out`."""
    (out / "plots").mkdir(parents=True, exist_ok=True)
    for name, draw in pictures(fitted).items():
        draw(out / "plots" / f"{name}.png")
    with atomic_path(out / "fit.json") as beside:
        text = json.dumps(to_plain(fitted.report), ensure_ascii=False, allow_nan=False, indent=2)
        beside.write_text(text + "\n", encoding="utf-8")
    draws: dict[str, Any] = {}
    for rule, drawn in fitted.draws.items():
        draws |= {f"{rule}_mu": drawn.mu, f"{rule}_s": drawn.s}
    save_groups(out / "posterior.nc", {"posterior": draws})
    with atomic_path(out / "report.html") as beside:
        beside.write_bytes(render(page(fitted)).encode("utf-8", "backslashreplace"))
    print_note(f"files: {', '.join((*FILES, 'plots/'))} in {out}")


def pictures(fitted: Fit) -> dict[str, Any]:
    """The pictures by name: functions of a path."""
    report, tempered = fitted.report, fitted.draws["tempered"].mu
    return {
        "acceptance": partial(plots.plot_acceptance, rows=report["calibration"], rules=list(RULES)),
        "calibration": partial(plots.plot_calibration, rows=report["calibration"], rules=list(RULES)),
        "group": partial(plots.plot_group, bias=tempered[..., 0], log_temperature=tempered[..., 1]),
        "people": partial(plots.plot_people, people=report["people"], rules=CHOICES),
    }


# -- text --------------------------------------------------------------------------------------------


def fit_lines(report: Report) -> list[str]:
    """The report as lines of text."""
    lines = [SIMULATED] if report.get("simulated") else []
    lines += [
        summary(report),
        "",
        f"{'rule':<13}{'elpd, trials':>14}{'elpd, people':>14}{'R-hat':>8}{'chosen by':>11}",
    ]
    for rule in report["order"]:
        row = report["rules"][rule]
        chosen = "" if rule not in CHOICES else str(shares(report)[rule])
        elpd = f"{row['trial']['elpd']:>14.1f}{row['person']['elpd']:>14.1f}"
        lines.append(f"{rule:<13}{elpd}{number(row['rhat'], 3):>8}{chosen:>11}")
    lines += ["", "MH against the other rules, participants left out (nats, 95% interval; above 0 favours MH):"]
    for rule, ways in report["mh_against"].items():
        lines.append(f"  {rule:<13}{interval(ways['person'], 'nats', 1):>30}   {verdict(ways['person'])}")
    lines += ["", "Bias and temperature (mh: a = 0, T = 1), means of the group, 90% intervals:"]
    lines += [f"  {name:<24}{text}" for name, text in group(report)]
    lines += ["", linear_sentence(report), NOTHING_LINEAR]
    return lines + [f"warning: {text}" for text in warnings(report)]


def summary(report: Report) -> str:
    """The data and the best rule in two sentences."""
    return (
        f"{count(report['participants'], 'participant')}, {count(report['offers'], 'offer')}, "
        f"{report['taken']:.2f} taken. Best rule without parameters, participants left out: {report['best']}."
    )


def shares(report: Report) -> dict[str, int]:
    """How many participants' own answers favour each rule."""
    rules = [person["rule"] for person in report["people"].values()]
    return {rule: rules.count(rule) for rule in CHOICES}


def interval(row: Report, key: str, digits: int = 2) -> str:
    """ "0.30 (0.10 to 0.50)"."""
    if row["low"] is None:
        return number(row[key], digits)
    return f"{number(row[key], digits)} ({number(row['low'], digits)} to {number(row['high'], digits)})"


def verdict(row: Report) -> str:
    """What a difference says."""
    if row["low"] is None:
        return "one participant: no interval"
    if row["better"]:
        return "MH is better"
    return "MH is worse" if row["high"] < 0 else "not decided"


def group(report: Report) -> list[tuple[str, str]]:
    """The group's bias, temperature and lapse, as a name and a text with its interval."""
    rows = report["rules"]["tempered"]["posterior"]
    return [
        ("bias a", interval(rows["mu_bias"], "mean")),
        ("sd of a", interval(rows["s_bias"], "mean")),
        ("temperature T", interval(_changed(rows["mu_log_temperature"], np.exp), "mean")),
        ("sd of log T", interval(rows["s_log_temperature"], "mean")),
        ("lapse", interval(_changed(rows["mu_logit_lapse"], lambda x: 1 / (1 + np.exp(-x))), "mean")),
    ]


def _changed(row: Report, change: Any) -> dict[str, float]:
    return {key: float(change(row[key])) for key in ("mean", "low", "high")}


def linear_sentence(report: Report) -> str:
    """The linear fit in one sentence."""
    row = report["linear"]
    if row["slope"] is None:
        return "Linear fit: min(1, r) does not vary."
    predicted = ", ".join(
        f"{rule} {number(round(row['predicted'][rule], 2) + 0.0, 2)}" for rule in ("mh", "binary", "constant")
    )
    p = "" if row["p"] is None else f", p = {row['p']:.2g}"
    return (
        f"Linear fit of answers on min(1, r): mean slope {interval(row, 'slope')}{p}; fitted rules give {predicted}."
    )


def warnings(report: Report) -> list[str]:
    """What a reader must know before the results count."""
    result = []
    if report["rhat"] is None or not report["rhat"] <= MAX_RHAT:
        result.append(f"R-hat is {number(report['rhat'])}; the limit is {MAX_RHAT}. Pass more draws in Python.")
    if report["divergent"]:
        result.append(f"{report['divergent']} transitions of NUTS diverged.")
    bad = max(row["trial"]["high_k"] for row in report["rules"].values())
    if bad > 0.05 * report["offers"]:
        result.append(f"PSIS is unreliable for {bad} of {report['offers']} offers (Pareto k above 0.7).")
    result += [f"{number} left out: {reason}." for reason, number in report["skipped"].items() if number]
    return result


# -- page --------------------------------------------------------------------------------------------


def page(fitted: Fit) -> Page:
    """The report page."""
    report = fitted.report
    with ChartRenderer() as renderer:
        drawn = {
            name: renderer.chart(draw, alt, caption)
            for (name, draw), (alt, caption) in zip(pictures(fitted).items(), _texts(report), strict=True)
        }
    sections = [
        _section("rules", "Rules", _RULES, [_rules(report), _against(report)], drawn["acceptance"]),
        _section("group", "Bias and temperature", _GROUP, [_group(report)], drawn["group"]),
        _section("calibration", "Calibration", _CALIBRATION, [_deciles(report)], drawn["calibration"]),
        _section("people", "Participants", _PEOPLE, [_people(report)], drawn["people"]),
        Section("linear", "The linear fit", paragraphs=[linear_sentence(report), NOTHING_LINEAR]),
    ]  # fmt: skip
    return Page(
        kind="Report of a naming game with people",
        title=str(report.get("data", "offers")),
        summary=summary(report),
        facts=[
            f"perception {report.get('perception', '–')}",
            f"R-hat {number(report['rhat'], 3)}",
            f"seed {report['seed']}",
            f"{number(report['seconds'], 0)} s",
        ],
        warnings=[*([SIMULATED] if report.get("simulated") else []), *warnings(report)],
        sections=sections,
    )


def _section(id: str, title: str, paragraphs: list[str], tables: list[Table], picture: Picture) -> Section:
    return Section(id, title, paragraphs=paragraphs, tables=tables, pictures=[[picture]])


_RULES = [
    "elpd: expected log predictive density, higher is better. Trials: PSIS-LOO over single offers. People: one "
    "participant left out at a time, with that participant's numbers integrated out.",
    "Differences and their intervals are over participants, who are independent; single offers are not.",
]
_GROUP = [
    "The rule tempered takes an offer with min(1, exp(a) r^(1/T)), a and T of each participant. MH is a = 0, T = 1."
]
_CALIBRATION = ["Offers in tenths of r. A rule is calibrated if its prediction lies in the observed interval."]
_PEOPLE = [
    "Probabilities of the rules use a participant's own answers only, with equal probabilities before. Bias and "
    "temperature are those of the hierarchical model.",
]


def _texts(report: Report) -> list[tuple[str, str]]:
    rows = report["calibration"]
    best = report["best"]
    first, last = rows[0], rows[-1]
    return [
        (
            f"Acceptance by ratio: {first['observed']:.2f} of offers taken in the lowest tenth of r, "
            f"{last['observed']:.2f} in the highest; the rule {best} predicts {first['predicted'][best]:.2f} and "
            f"{last['predicted'][best]:.2f}",
            "Acceptance by ratio",
        ),
        (f"Calibration of {len(RULES)} rules by tenth of r; the numbers are in the table", "Calibration"),
        ("Posterior of the group: " + ", ".join(f"{name} {text}" for name, text in group(report)[:3]), "Group"),
        (
            "Participants: " + ", ".join(f"{number} favour {rule}" for rule, number in shares(report).items()),
            "Participants, by bias",
        ),
    ]


def _rules(report: Report) -> Table:
    head = ["", "elpd, trials", "se", "Pareto k > 0.7", "elpd, people", "se", "chosen by participants", "R-hat", "ESS"]
    body = []
    for rule in report["order"]:
        row = report["rules"][rule]
        body.append(
            cells(
                [
                    Cell(rule, strong=rule == report["best"]),
                    number(row["trial"]["elpd"], 1), number(row["trial"]["se"], 1), row["trial"]["high_k"],
                    number(row["person"]["elpd"], 1), number(row["person"]["se"], 1),
                    shares(report).get(rule, "–"), number(row["rhat"], 3), number(row["ess"], 0),
                ]
            )
        )  # fmt: skip
    return Table(head, body, "Rules, best first")


def _against(report: Report) -> Table:
    body = [
        cells([rule, interval(ways["trial"], "nats", 1), interval(ways["person"], "nats", 1), verdict(ways["person"])])
        for rule, ways in report["mh_against"].items()
    ]
    return Table(
        ["MH against", "trials", "people", "verdict"], body, "Differences in elpd, 95% intervals; above 0 favours MH"
    )


def _group(report: Report) -> Table:
    return Table(["", "mean (90% interval)"], [cells(row) for row in group(report)], "The group")


def _deciles(report: Report) -> Table:
    body = [
        cells(
            [
                f"{row['from']:.2g} to {row['to']:.2g}", str(row["offers"]),
                f"{row['observed']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
                *(f"{row['predicted'][rule]:.2f}" for rule in RULES),
            ]
        )
        for row in report["calibration"]
    ]  # fmt: skip
    return Table(["r", "offers", "taken (95%)", *RULES], body, "Shares of offers taken, observed and predicted")


def _people(report: Report) -> Table:
    body = []
    for name, row in report["people"].items():
        bias, log_t = row["bias"], row["log_temperature"]
        body.append(
            cells(
                [
                    name, row["rule"], number(row["probability"][row["rule"]], 2), row["offers"],
                    number(row["taken"], 2),
                    f"{bias['median']:.2f} ({bias['low']:.2f} to {bias['high']:.2f})",
                    " to ".join(f"{np.exp(log_t[end]):.2f}" for end in ("low", "high")),
                ]
            )
        )  # fmt: skip
    return Table(
        ["", "rule", "probability", "offers", "taken", "a (90%)", "T (90%)"], body, "Participants", text_columns=2
    )
