"""The command `language RUN`: what the agents' sentences are worth.

The scores are those of `mhng.experiment.training.language_scores`, computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation.vocabulary import pictures_of
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.training.language_scores import Speaker, fit_speakers, language_scores
from mhng.experiment.training.prepare import load_held_out
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.output import print_note, print_report
from mhng.experiment.util.text import decimal
from mhng.models.torch_defaults import torch_defaults


def language(path: Path, *, as_json: bool = False, plots: bool = True, trust_plugins: bool = False) -> dict[str, Any]:
    """Score the sentences of the run in `path`, draw and print; returns the report. Raises UsageError."""
    run = SavedRun(path, trust_plugins=trust_plugins)
    speakers = speakers_of(run)
    report = language_report(run, speakers)
    if plots:
        report["plots"] = _draw(run, report, speakers)
    print_report(report, report_lines, as_json=as_json)
    return report


@torch_defaults()
def speakers_of(run: SavedRun) -> dict[str, Speaker]:
    """The language of each agent of a run. Raises UsageError for a run of single signs."""
    if run.config.sentences is None:
        raise UsageError(f"{run.path} has single signs; language requires a run with --words 2 or more")
    return fit_speakers(run.config, run.objects, run.models, run.signs)


@torch_defaults()
def language_report(run: SavedRun, speakers: Mapping[str, Speaker] | None = None) -> dict[str, Any]:
    """The scores of a run's sentences as plain values. Raises UsageError for single signs, and a damaged summary."""
    config = run.config
    speakers = speakers_of(run) if speakers is None else speakers
    run.require_scores("kappa_slots")
    scores = language_scores(config, run.objects, speakers, partial(load_held_out, config))
    about: dict[str, Any] = {"words": config.words, "vocabulary": config.vocabulary, "meaning": config.meaning}
    about |= {"objects": run.objects.count, "kappa_slots": run.summary["kappa_slots"]}
    return {"run": str(run.path), **about, **scores}


@torch_defaults()
def _draw(run: SavedRun, report: Mapping[str, Any], speakers: Mapping[str, Speaker]) -> list[str]:
    """Draw the pictures into plots/; returns the names of those that succeeded. A failure prints a warning."""
    drawn = []
    for name, draw in pictures_of(run, report, speakers).items():
        try:
            draw(run.folder.file(run_folder.PLOTS) / name)
            drawn.append(name)
        except Exception as error:
            print_note(f"warning: {run_folder.PLOTS}/{name} could not be drawn: {error}")
    return drawn


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
            f"Agent {name}: positions over holistic {_nats(row['over_holistic'])}, over bag {_nats(row['over_bag'])}"
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
    if report.get("plots"):
        lines.append(f"Pictures: {Path(report['run']) / run_folder.PLOTS}: {', '.join(report['plots'])}")
    return lines


def _nats(gain: float | None) -> str:
    return "-" if gain is None else f"{gain:+.1f} nats"


def _listener_lines(scores: Mapping[str, Any]) -> list[str]:
    """Lines of the listener's scores in each pair of agents: reference games and decoded attributes."""
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
