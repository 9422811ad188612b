"""The command `language RUN`: what the agents' sentences are worth.

The scores are those of `mhng.experiment.training.language_scores`, computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.training.language_scores import language_scores
from mhng.experiment.training.prepare import load_held_out
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import print_report
from mhng.experiment.util.text import decimal
from mhng.models.torch_defaults import torch_defaults


def language(path: Path, *, as_json: bool = False, trust_plugins: bool = False) -> dict[str, Any]:
    """Score the sentences of the run in `path` and print them; returns the report. Raises UsageError."""
    report = language_report(SavedRun(path, trust_plugins=trust_plugins))
    print_report(report, report_lines, as_json=as_json)
    return report


@torch_defaults()
def language_report(run: SavedRun) -> dict[str, Any]:
    """The scores of a run's sentences as plain values. Raises UsageError for a run of single signs."""
    config = run.config
    if config.sentences is None:
        raise UsageError(f"{run.path} has single signs; language requires a run with --words 2 or more")
    scores = language_scores(config, run.objects, run.models, run.signs, partial(load_held_out, config))
    about = {"words": config.words, "vocabulary": config.vocabulary, "meaning": config.meaning}
    return {"run": str(run.path), **about, "objects": run.objects.count, **scores}


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The report as printed lines."""
    slots = ", ".join(f"word {slot} {decimal(kappa)}" for slot, kappa in enumerate(report["kappa_slots"], 1))
    lines = [
        f"Run: {report['run']}",
        f"Sentences of {report['words']} words from {report['vocabulary']}, meaning {report['meaning']}; "
        f"{report['objects']} objects",
        f"Kappa: {slots}",
    ]
    for name, row in report["agents"].items():
        lines.append(
            f"Agent {name}: positions over holistic {row['over_holistic']:+.1f} nats, over bag {row['over_bag']:+.1f}"
        )
        if (seen := row["seen"]) is not None:
            scores = ", ".join(f"{kind} {decimal(seen[kind])}" for kind in ("topsim", "posdis", "bosdis"))
            lines += [
                f"  seen: all words right {decimal(seen['all_right'])}; {scores}",
                f"  concept best matching {decimal(seen['cbm'])}, by slot {decimal(seen['cbm_slots'])}; "
                f"{seen['messages']} sentences, entropy {decimal(seen['entropy'], 2)} bits, of words "
                f"{decimal(seen['entropy_words'], 2)}",
            ]
    lines += ["Seen objects:", *_listener_lines(report["seen"])]
    if (unseen := report["unseen"]) is not None:
        lines.append(f"Unseen: {unseen['objects']} objects with {unseen['combinations']} combinations")
        for name, shares in unseen["all_right"].items():
            who = name if name == "together" else f"agent {name}"
            lines.append(f"  all words right, {who}: {_shares(shares)}")
        lines += _listener_lines(unseen)
    return lines


def _listener_lines(scores: Mapping[str, Any]) -> list[str]:
    """What the listener of each pair of agents makes of a sentence."""
    lines = []
    for pair, shares in scores["found"].items():
        parts = [f"found among {count} {decimal(share)}" for count, share in shares.items()]
        if scores["decoded"] is not None:
            parts.append(f"all attributes decoded {_shares(scores['decoded'][pair])}")
        lines += [f"  {pair}: {', '.join(parts)}"] if parts else []
    return lines


def _shares(shares: Any) -> str:
    """A share, or the shares in and out of distribution."""
    if not isinstance(shares, Mapping):
        return decimal(shares)
    outside = "" if shares["out"] is None else f", out of distribution {decimal(shares['out'])}"
    return f"{decimal(shares['in'])}{outside}"
