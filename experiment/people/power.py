"""The command `behaviour power`: what a study of a given size can show, by simulated participants.

Each simulated study has participants who all follow one rule, with lapses. It is analysed as `fit` does, but mu and s
are summed over a grid in place of NUTS. tests/proofs/people compare both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhng.experiment.errors import UsageError
from mhng.experiment.people import scores
from mhng.experiment.people.fit import CHOICES, choose
from mhng.experiment.people.hierarchy import COORDINATES, PARAMETERS, Floats, Table, node_weights, tabulate
from mhng.experiment.people.ratios import Offers
from mhng.experiment.people.simulated import Person, Played, simulate
from mhng.models.torch_defaults import torch_defaults

STUDIES = 200
LAPSE = 0.1
_RANGES = {"participants": (2, 1000), "offers": (1, 10_000), "studies": (1, 10_000)}


@torch_defaults()
def power(
    participants: int,
    offers: int,
    *,
    rules: Sequence[str] = CHOICES,
    studies: int = STUDIES,
    lapse: float = LAPSE,
    seed: int = 0,
) -> dict[str, Any]:
    """How often a study finds the right rule, with Wilson's 95% intervals, for participants of each of `rules`.

    Returns for each rule: `participants`, the share of participants whose own answers favour the right rule; `group`,
    the share of studies whose best rule is right; `mh_better`, the share that finds MH better than another rule, by
    the one-sided test over participants; `slope`, the share whose linear slope differs from 0. Raises UsageError.
    """
    for name, value in (("participants", participants), ("offers", offers), ("studies", studies)):
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise UsageError(f"--{name} is {value}; expected {low} to {high:,}")
    if not 0 <= lapse < 1:
        raise UsageError(f"--lapse is {lapse}; expected 0 to less than 1")
    found = {
        rule: _power(rule, participants, offers, studies, lapse, seed + 1000 * CHOICES.index(rule)) for rule in rules
    }
    return {
        "participants": participants,
        "offers": offers,
        "studies": studies,
        "lapse": lapse,
        "seed": seed,
        "simulated": True,
        "rules": found,
    }


def _power(rule: str, participants: int, offers: int, studies: int, lapse: float, seed: int) -> dict[str, Any]:
    played = simulate(Person(rule, lapse=lapse), participants * studies, offers, seed)
    results = [analyse(study_of(played, number, participants)) for number in range(studies)]
    chosen = np.concatenate([result["choice"] for result in results])
    right = CHOICES.index(rule)
    others = [other for other in CHOICES if other != "mh"]
    return {
        "participants": _share(chosen == right),
        "chosen": {other: float((chosen == n).mean()) for n, other in enumerate(CHOICES)},
        "group": _share(np.array([result["best"] == rule for result in results])),
        "mh_better": {other: _share(np.array([result["mh_better"][other] for result in results])) for other in others},
        "slope": _share(np.array([result["slope"] for result in results])),
    }


def study_of(played: Played, number: int, participants: int) -> Offers:
    """The offers of one of the studies that were simulated together."""
    return played.offers(slice(number * participants, (number + 1) * participants))


def analyse(offers: Offers) -> dict[str, Any]:
    """What a study finds: `choice` (H,) of each participant, `best`, `mh_better` by rule, and `slope` not 0."""
    tables = {rule: tabulate(offers, rule) for rule in CHOICES}
    left_out = {rule: leave_out(table) for rule, table in tables.items()}
    linear = scores.linear(offers, {})
    return {
        "choice": choose(tables).argmax(0),
        "best": max(CHOICES, key=lambda rule: left_out[rule].sum()),
        "mh_better": {
            rule: bool(scores.difference(left_out["mh"], left_out[rule])["better"]) for rule in CHOICES if rule != "mh"
        },
        "slope": linear["p"] is not None and linear["p"] < 0.05,
    }


def leave_out(table: Table) -> Floats:
    """log p(y_h | answers of the other participants): (H,), for a rule with one number of each participant."""
    (name,) = PARAMETERS[table.rule]
    mu, s, weight = scores.hyper_grid(name)
    p = np.maximum(table.values @ node_weights(COORDINATES[name].nodes, mu, s)[0].T, 1e-300)  # (H, grid)
    log_p = np.log(p)
    others = np.log(weight) + log_p.sum(0) - log_p
    return _log_mean(others, log_p) + table.log_scale


def _log_mean(log_weights: Floats, log_values: Floats) -> Floats:
    """Log of the weighted mean over the last axis."""
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    largest = log_values.max(-1, keepdims=True)
    mean = (weights * np.exp(log_values - largest)).sum(-1) / weights.sum(-1)
    return np.log(mean) + largest[..., 0]


def _share(hits: Any) -> dict[str, Any]:
    low, high = scores.wilson(int(hits.sum()), len(hits))
    return {"share": float(hits.mean()), "low": low, "high": high, "of": len(hits)}


def power_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of text."""
    lines = [
        f"{report['studies']} simulated studies of each rule, {report['participants']} participants, "
        f"{report['offers']} offers, lapses {report['lapse']:g}. 95% intervals (Wilson).",
        "",
        f"{'rule followed':<15}{'right, by participant':>26}{'right, by study':>26}{'linear slope not 0':>26}",
    ]
    for rule, row in report["rules"].items():
        lines.append(f"{rule:<15}" + "".join(f"{_cell(row[key]):>26}" for key in ("participants", "group", "slope")))
    others = [rule for rule in CHOICES if rule != "mh"]
    lines += ["", "Studies that find MH better than another rule:", ""]
    lines.append(f"{'rule followed':<15}" + "".join(f"{'than ' + other:>26}" for other in others))
    for rule, row in report["rules"].items():
        lines.append(f"{rule:<15}" + "".join(f"{_cell(row['mh_better'][other]):>26}" for other in others))
    return lines


def _cell(share: Mapping[str, Any]) -> str:
    return f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f})"
