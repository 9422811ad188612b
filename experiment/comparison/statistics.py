"""The numbers of a grid: of every run, of a row over its seeds, and of a row against the baseline, seed by seed.

`summarise` makes what summary.json in the folder of `compare` holds:

    {"baseline": "com",                   the row that others are held against; null if there is but one row
     "settings": {"dataset": "mnist5k"},  what all runs were given, by key; the rest is the default
     "rows": [
       {"row": "com, split", "mode": "com", "variant": "split",     variant: null where there is none
        "settings": {"start": "split"},                             what the variant was given
        "runs": [
          {"seed": 0, "folder": "com-split-seed0", "status": "done", "error": null, "numbers": {"ari": 0.8, ...}},
          {"seed": 1, "folder": "com-split-seed1", "status": "failed", "error": "one line", "numbers": null}],
        "statistics": {"ari": {"count": 1, "mean": 0.8, "sd": null, "low": null, "high": null, "worst": 0.8}, ...},
        "paired": {"ari": {"mean": 0.1, "low": null, "high": null, "won": 1, "lost": 0, "of": 1}, ...}}]}

The keys of `numbers` and `statistics` are METRICS, those of `paired` are PAIRED; `paired` is null for the baseline and
where there is none. Scores are of the final draw, or the mean over the sweeps after burn-in (`*_after_burn_in`),
averaged over the agents: never a maximum over sweeps. What a run does not have (ARI without labels, acceptance where
nobody speaks) is null, and is left out of `count`. `low` and `high` are Student's 95% interval of the mean, null for
fewer than two values. `folder` is relative to that of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

METRICS = (
    "ari", "ari_after_burn_in", "nmi", "accuracy", "kappa", "kappa_after_burn_in", "kappa_matched", "acceptance",
    "log_evidence", "seconds",
)  # fmt: skip

# Of these more is better, whatever the row. A log evidence is of the row's own percepts and compares no rows.
PAIRED = ("ari", "ari_after_burn_in", "nmi", "accuracy", "kappa", "kappa_after_burn_in", "kappa_matched")

LEVEL = 0.95

Numbers = dict[str, float | None]


class Outcome(NamedTuple):
    """One run: its seed, its folder's name, and either its numbers or, if it failed, why (one line)."""

    seed: int
    folder: str
    numbers: Numbers | None = None
    error: str | None = None


class Row(NamedTuple):
    """The runs that differ by seed only. `variant` is "" where there is none; `settings` are the variant's, by key."""

    name: str
    mode: str
    variant: str
    settings: Mapping[str, Any]
    outcomes: Sequence[Outcome]


def numbers(summary: Mapping[str, Any]) -> Numbers:
    """METRICS of a run, from its summary.json; averaged over agents and directions of speech."""
    agents = list(summary["agents"].values())
    acceptance = summary["acceptance"] or {}
    return {
        "ari": _mean([own["ari"] for own in agents]),
        "ari_after_burn_in": _mean([own["ari_mean"] for own in agents]),
        "nmi": _mean([own["nmi"] for own in agents]),
        "accuracy": _mean([own["accuracy"] for own in agents]),
        "kappa": summary["kappa"],
        "kappa_after_burn_in": summary["kappa_mean"],
        "kappa_matched": summary["kappa_matched"],
        "acceptance": _mean(list(acceptance.values())),
        "log_evidence": summary["log_evidence_mean"],
        "seconds": summary["seconds"],
    }


def spread(values: Sequence[float | None], *, most_is_worst: bool = False) -> dict[str, float | int | None]:
    """Count, mean, standard deviation (n - 1), 95% interval of the mean and worst of the values that are known."""
    known = [value for value in values if value is not None]
    found: dict[str, float | int | None] = {"count": len(known)}
    found |= dict.fromkeys(("mean", "sd", "low", "high", "worst"))
    if known:
        found["mean"] = float(np.mean(known))
        found["worst"] = max(known) if most_is_worst else min(known)
    if len(known) > 1:
        sd = float(np.std(known, ddof=1))
        half = float(stdtrit(len(known) - 1, (1 + LEVEL) / 2)) * sd / len(known) ** 0.5
        middle = float(np.mean(known))
        found |= {"sd": sd, "low": middle - half, "high": middle + half}
    return found


def paired(own: Mapping[int, float | None], base: Mapping[int, float | None]) -> dict[str, float | int | None]:
    """Differences own - base, seed by seed: their mean, its 95% interval, and how many seeds were won and lost.

    own, base: seed -> value. `of` counts the seeds at which both are known.
    """
    differences = []
    for seed, value in own.items():
        other = base.get(seed)
        if value is not None and other is not None:
            differences.append(value - other)
    found = spread(differences)
    return {
        "mean": found["mean"],
        "low": found["low"],
        "high": found["high"],
        "won": sum(difference > 0 for difference in differences),
        "lost": sum(difference < 0 for difference in differences),
        "of": len(differences),
    }


def summarise(rows: Sequence[Row], baseline: str | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What summary.json holds, see above. baseline: one of `rows` by name, or None. settings: those of all runs."""
    base = next((row for row in rows if row.name == baseline), None)
    return {"baseline": baseline, "settings": dict(settings), "rows": [_summary_of(row, base) for row in rows]}


def _summary_of(row: Row, base: Row | None) -> dict[str, Any]:
    return {
        "row": row.name,
        "mode": row.mode,
        "variant": row.variant or None,
        "settings": dict(row.settings),
        "runs": [
            {
                "seed": one.seed,
                "folder": one.folder,
                "status": "failed" if one.numbers is None else "done",
                "error": one.error,
                "numbers": one.numbers,
            }
            for one in row.outcomes
        ],
        "statistics": {
            name: spread(list(_by_seed(row, name).values()), most_is_worst=name == "seconds") for name in METRICS
        },
        "paired": (
            None
            if base is None or row.name == base.name
            else {name: paired(_by_seed(row, name), _by_seed(base, name)) for name in PAIRED}
        ),
    }


def _by_seed(row: Row, metric: str) -> dict[int, float | None]:
    """Seed -> value, of the runs that did not fail."""
    return {one.seed: one.numbers[metric] for one in row.outcomes if one.numbers is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None
