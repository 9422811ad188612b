"""Statistics of a grid: scores of the runs, of the rows over their seeds, and paired differences from the baseline.

`summarise` returns the content of the summary.json that `compare` writes:

    {"baseline": "com",                   name of the baseline row; null for a single row
     "settings": {"dataset": "mnist5k"},  settings given for all runs, by key; all others are defaults
     "rows": [
       {"row": "com, split", "mode": "com", "variant": "split",     variant: null for rows without a variant
        "settings": {"start": "split"},                             settings given for the variant
        "kappa_of": "signs",         of one chain of signs that all agents share: "what each agent would say alone"
        "runs": [
          {"seed": 0, "folder": "com-split-seed0", "status": "done", "error": null, "numbers": {"ari": 0.8, ...}},
          {"seed": 1, "folder": "com-split-seed1", "status": "failed", "error": "one line", "numbers": null}],
        "statistics": {"ari": {"count": 1, "mean": 0.8, "sd": null, "low": null, "high": null, "worst": 0.8}, ...},
        "paired": {"ari": {"mean": 0.1, "low": null, "high": null, "won": 1, "lost": 0, "of": 1}, ...}}],
     "references": [...]}                  reference methods without agents (`references.evaluate`)

The keys of `numbers` and `statistics` are METRICS; the keys of `paired` are PAIRED. `paired` is null for the baseline
and for a single row. A score uses the final draw, or the mean over the sweeps after burn-in (`*_after_burn_in`),
averaged over the agents; no score is a maximum over sweeps. A missing score is null and not counted: ARI without
labels, acceptance without communication. `low` and `high` are Student's 95% interval of the mean, null for fewer than
two values. `folder` is relative to the folder of the grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

# Scores of sentences: the lowest kappa of a slot; nats of positions over holistic; topsim of seen objects; share of
# unseen combinations (in and out of distribution) whose words are all right, for all agents together; share found
# among 10, of unseen objects if there are any.
SENTENCE_METRICS = ("kappa_slot", "over_holistic", "topsim", "unseen_in", "unseen_out", "found_10")

METRICS = (
    "ari", "ari_after_burn_in", "nmi", "accuracy", "kappa", "kappa_after_burn_in", "kappa_matched", "acceptance",
    "log_evidence", "seconds", *SENTENCE_METRICS,
)  # fmt: skip

# Metrics that can be compared between rows; higher is better. A log evidence depends on the latents of its row.
PAIRED = ("ari", "ari_after_burn_in", "nmi", "accuracy", "kappa", "kappa_after_burn_in", "kappa_matched")

LEVEL = 0.95

Numbers = dict[str, float | None]


class Outcome(NamedTuple):
    """Outcome of a run: seed, name of its folder, and its numbers or, if it failed, an error of one line."""

    seed: int
    folder: str
    numbers: Numbers | None = None
    error: str | None = None
    kappa_of: str = "signs"


class Row(NamedTuple):
    """Runs that differ only in their seeds. variant: "" if there is none. settings: those of the variant, by key."""

    name: str
    mode: str
    variant: str
    settings: Mapping[str, Any]
    outcomes: Sequence[Outcome]


def numbers(summary: Mapping[str, Any]) -> Numbers:
    """METRICS of a run from its summary.json, averaged over agents and directions of communication."""
    agents = list(summary["agents"].values())
    acceptance = summary["acceptance"] or {}
    return {
        "ari": _mean([scores["ari"] for scores in agents]),
        "ari_after_burn_in": _mean([scores["ari_mean"] for scores in agents]),
        "nmi": _mean([scores["nmi"] for scores in agents]),
        "accuracy": _mean([scores["accuracy"] for scores in agents]),
        "kappa": summary["kappa"],
        "kappa_after_burn_in": summary["kappa_mean"],
        "kappa_matched": summary["kappa_matched"],
        "acceptance": _mean(list(acceptance.values())),
        "log_evidence": summary["log_evidence_mean"],
        "seconds": summary["seconds"],
        **dict.fromkeys(SENTENCE_METRICS),
        **_of_sentences(summary),
    }


def _of_sentences(summary: Mapping[str, Any]) -> Numbers:
    """SENTENCE_METRICS; empty for single signs."""
    language = summary.get("language")
    if language is None:
        return {}
    agents, unseen = list(language["agents"].values()), language["unseen"] or {}
    right = unseen.get("all_right", {}).get("together", {})
    found = unseen.get("found") or language["seen"]["found"]
    return {
        "kappa_slot": min(summary["kappa_slots"]),
        "over_holistic": _mean([row["over_holistic"] for row in agents]),
        "topsim": _mean([(row["seen"] or {}).get("topsim") for row in agents]),
        "unseen_in": right.get("in"),
        "unseen_out": right.get("out"),
        "found_10": _mean([shares.get("10") for shares in found.values()]),
    }


def spread(values: Sequence[float | None], *, most_is_worst: bool = False) -> dict[str, float | int | None]:
    """Count, mean, standard deviation (n - 1), 95% interval of the mean, and worst value; None is not counted."""
    known = [value for value in values if value is not None]
    result: dict[str, float | int | None] = {"count": len(known)}
    result |= dict.fromkeys(("mean", "sd", "low", "high", "worst"))
    if known:
        result["mean"] = float(np.mean(known))
        result["worst"] = max(known) if most_is_worst else min(known)
    if len(known) > 1:
        sd = float(np.std(known, ddof=1))
        half = float(stdtrit(len(known) - 1, (1 + LEVEL) / 2)) * sd / len(known) ** 0.5
        middle = float(np.mean(known))
        result |= {"sd": sd, "low": middle - half, "high": middle + half}
    return result


def paired(row: Mapping[int, float | None], base: Mapping[int, float | None]) -> dict[str, float | int | None]:
    """Paired differences row - base: mean, 95% interval, and the numbers of positive (won) and negative (lost) ones.

    row, base: values by seed. `of` is the number of seeds at which both values are known.
    """
    differences = []
    for seed, value in row.items():
        other = base.get(seed)
        if value is not None and other is not None:
            differences.append(value - other)
    statistics = spread(differences)
    return {
        "mean": statistics["mean"],
        "low": statistics["low"],
        "high": statistics["high"],
        "won": sum(difference > 0 for difference in differences),
        "lost": sum(difference < 0 for difference in differences),
        "of": len(differences),
    }


def summarise(
    rows: Sequence[Row],
    baseline: str | None,
    settings: Mapping[str, Any],
    references: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Content of summary.json, see above. baseline: name of a row, or None. settings: those of all runs."""
    base = next((row for row in rows if row.name == baseline), None)
    return {
        "baseline": baseline,
        "settings": dict(settings),
        "rows": [_summarise_row(row, base) for row in rows],
        "references": list(references),
    }


def _summarise_row(row: Row, base: Row | None) -> dict[str, Any]:
    return {
        "row": row.name,
        "mode": row.mode,
        "variant": row.variant or None,
        "settings": dict(row.settings),
        "kappa_of": next((outcome.kappa_of for outcome in row.outcomes if outcome.numbers is not None), "signs"),
        "runs": [
            {
                "seed": outcome.seed,
                "folder": outcome.folder,
                "status": "failed" if outcome.numbers is None else "done",
                "error": outcome.error,
                "numbers": outcome.numbers,
            }
            for outcome in row.outcomes
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
    """Values of a metric by seed, without failed runs."""
    return {outcome.seed: outcome.numbers[metric] for outcome in row.outcomes if outcome.numbers is not None}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None
