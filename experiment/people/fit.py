"""The command `behaviour fit`: which rule people follow, by the hierarchical model of `hierarchy.py`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mhng.experiment.people import scores
from mhng.experiment.people.hierarchy import PARAMETERS, Draws, Floats, Table, marginal, sample, tabulate
from mhng.experiment.people.predictive import predict
from mhng.experiment.people.ratios import Offers, offers
from mhng.experiment.people.reading import load
from mhng.experiment.people.rules import RULES
from mhng.experiment.people.trials import Trials
from mhng.experiment.runs.posterior import import_arviz
from mhng.experiment.util.output import print_note
from mhng.models.torch_defaults import torch_defaults

# A participant's own choice is among the rules without a parameter of their own; tempered contains mh.
CHOICES = tuple(rule for rule in RULES if rule != "tempered")
CHAINS, DRAWS, WARMUP = 4, 500, 300
_MOST_PREDICTED = 10_000_000  # numbers in a table of draws and offers


class Fit(NamedTuple):
    """A fitted table of trials. report: plain values. The others serve pictures and further analysis.

    By rule: draws, mu and s (chains, draws, D); people, the numbers of the participants (draws, H, D) in the order of
    `PARAMETERS`; probability, the posterior mean probability (n,) of taking each offer.
    """

    report: dict[str, Any]
    offers: Offers
    draws: dict[str, Draws]
    people: dict[str, Floats]
    probability: dict[str, Floats]


def fit(
    data: Trials | Path | str,
    *,
    perception: str = "categories",
    chains: int = CHAINS,
    draws: int = DRAWS,
    warmup: int = WARMUP,
    seed: int = 0,
    quiet: bool = False,
) -> Fit:
    """Fit every rule to a table of trials, or to the folder or file that holds one. Raises UsageError."""
    trials = data if isinstance(data, Trials) else load(Path(data))
    found = offers(trials, perception)
    about = {"data": trials.name, "simulated": trials.simulated, "perception": perception}
    return fit_offers(found, about, chains=chains, draws=draws, warmup=warmup, seed=seed, quiet=quiet)


@torch_defaults()
def fit_offers(
    found: Offers,
    about: Mapping[str, Any] | None = None,
    *,
    chains: int = CHAINS,
    draws: int = DRAWS,
    warmup: int = WARMUP,
    seed: int = 0,
    quiet: bool = True,
) -> Fit:
    """Fit every rule to offers."""
    began = time.perf_counter()
    tables, sampled, people, probability, left_out = {}, {}, {}, {}, {}
    rules: dict[str, Any] = {}
    for number, rule in enumerate(RULES):
        if not quiet:
            print_note(f"rule {number + 1} of {len(RULES)}: {rule}")
        table = tables[rule] = tabulate(found, rule)
        result = sampled[rule] = sample(table, chains=chains, draws=draws, warmup=warmup, seed=seed)
        kept = _thinned(chains, draws, len(found.person))
        mu, s = (values[:, kept].reshape(-1, values.shape[-1]) for values in (result.mu, result.s))
        predicted = predict(table, found, mu, s, seed)
        people[rule], probability[rule] = predicted.people, predicted.probability.mean(0)
        trial = scores.leave_one_out(predicted.log_prob.reshape(chains, len(kept), -1))
        person = scores.leave_one_out(marginals(table, result))
        left_out[rule] = {"trial": scores.by_person(trial.pop("pointwise"), found), "person": person.pop("pointwise")}
        rules[rule] = {"trial": trial, "person": person} | _posterior(rule, result)
    report = {
        **(about or {}),
        "participants": len(found.names),
        "offers": len(found.person),
        "skipped": found.skipped,
        "taken": float(found.accepted.mean()),
        "rules": rules,
        "order": sorted(rules, key=lambda rule: -rules[rule]["person"]["elpd"]),
        "mh_against": {
            rule: {way: scores.difference(left_out["mh"][way], left_out[rule][way]) for way in ("trial", "person")}
            for rule in RULES
            if rule != "mh"
        },
        "people": _people(found, tables, people["tempered"]),
        "calibration": scores.calibration(found, probability),
        "linear": scores.linear(found, probability),
        "rhat": max(row["rhat"] for row in rules.values()),
        "ess": min(row["ess"] for row in rules.values()),
        "divergent": sum(row["divergent"] for row in rules.values()),
        "seed": seed,
        "seconds": time.perf_counter() - began,
    }
    report["best"] = max(CHOICES, key=lambda rule: rules[rule]["person"]["elpd"])
    return Fit(report, found, sampled, people, probability)


def _thinned(chains: int, draws: int, offers: int) -> Floats:
    """Draws of each chain for which every offer is predicted: 250, or fewer of a large table."""
    most = int(np.clip(_MOST_PREDICTED // (offers * chains), 50, 250))
    return np.unique(np.linspace(0, draws - 1, min(most, draws)).astype(int))


def marginals(table: Table, draws: Draws) -> Floats:
    """log p(y_h | mu, s) of every draw: (chains, draws, H)."""
    chains, number, D = draws.mu.shape
    pairs = zip(draws.mu.reshape(-1, D), np.log(draws.s).reshape(-1, D), strict=True)
    return np.stack([marginal(table, mu, log_s)[0] for mu, log_s in pairs]).reshape(chains, number, -1)


def _posterior(rule: str, draws: Draws) -> dict[str, Any]:
    """Mean, standard deviation, 90% interval, R-hat and ESS of mu and s of each number."""
    rows = {}
    for d, name in enumerate(PARAMETERS[rule]):
        for letter, values in (("mu", draws.mu[..., d]), ("s", draws.s[..., d])):
            low, high = np.quantile(values, [0.05, 0.95])
            rows[f"{letter}_{name}"] = {
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)),
                "low": float(low),
                "high": float(high),
                "rhat": _diagnostic("rhat", values),
                "ess": _diagnostic("ess", values),
            }
    return {
        "posterior": rows,
        "rhat": max(row["rhat"] for row in rows.values()),
        "ess": min(row["ess"] for row in rows.values()),
        "divergent": draws.divergent,
    }


def _diagnostic(name: str, values: Floats) -> float:
    """R-hat or ESS by ArviZ of values (chains, draws). R-hat is infinite for chains that stand still apart."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(getattr(import_arviz(), name)(values))


def _people(found: Offers, tables: Mapping[str, Table], tempered: Floats) -> dict[str, Any]:
    """For each participant: the probability of each rule from its own answers, its bias and its temperature."""
    chosen = choose({rule: tables[rule] for rule in CHOICES})
    counts = scores.by_person(np.ones(len(found.person)), found)
    taken = scores.by_person(found.accepted.astype(float), found) / counts
    result = {}
    for h, name in enumerate(found.names):
        row: dict[str, Any] = {"offers": int(counts[h]), "taken": float(taken[h])}
        row["probability"] = {rule: float(chosen[n, h]) for n, rule in enumerate(CHOICES)}
        row["rule"] = CHOICES[int(chosen[:, h].argmax())]
        for d, number in enumerate(PARAMETERS["tempered"][:2]):
            low, middle, high = np.quantile(tempered[:, h, d], [0.05, 0.5, 0.95])
            row[number] = {"median": float(middle), "low": float(low), "high": float(high)}
        result[name] = row
    return result


def choose(tables: Mapping[str, Table]) -> Floats:
    """The probability (rules, H) of each rule from a participant's own answers; all rules equally probable before."""
    log_evidence = scores.alone(tables)
    weights = np.exp(log_evidence - log_evidence.max(0))
    return weights / weights.sum(0)
