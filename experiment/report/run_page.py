"""The page of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mhng.experiment.diagnostics.diagnose import build_report
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.report import (
    evaluation_sections,
    run_sections,
)
from mhng.experiment.report.drawing import Studio
from mhng.experiment.report.page import Page, Section, number, word
from mhng.experiment.runs.folder import POSTERIOR, RunFolder
from mhng.experiment.training.saved_run import SavedRun


def run_page(path: Path, *, kind: str, data_root: Path | None, data: str | None, trust_plugins: bool) -> Page:
    """All that the run folder says of its run. kind: of the latent map. UsageError if the run has no results."""
    _refuse_unfinished(path)
    run = SavedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    report = build_report(run)
    reason = _missing_agents(run, moved=data_root is not None or data is not None)
    with Studio() as studio:
        sections = [
            run_sections.scores(run.summary),
            run_sections.curves(studio, run.metrics),
            evaluation_sections.confusion(studio, run, None if reason else run.objects.class_names),
            *_of_agents(studio, run, reason, kind),
            run_sections.diagnostics(studio, run, report),
            run_sections.settings(run.manifest.get("settings") or run.settings),
            run_sections.provenance(run.manifest | {"status": run.status}, str(path)),
        ]
    return Page(
        kind="A run of the naming game",
        title=_title(run),
        lead=_lead(run.summary),
        facts=_facts(run, path),
        answers=run_sections.answers(report),
        next=report["next"],
        warnings=[*_status(run.status), *map(str, report["warnings"])],
        sections=sections,
        made=str(run.manifest.get("updated", "")),
    )


def _refuse_unfinished(path: Path) -> None:
    with RunFolder.open(path, lock=False) as folder:
        status = folder.status
        if folder.file(POSTERIOR).exists():
            return
    remedy = "wait for it" if status == "running" else f"go on with it by train --resume {path}"
    raise UsageError(f"{path} has no results yet (no {POSTERIOR}; status {status!r}): {remedy}")


def _missing_agents(run: SavedRun, *, moved: bool) -> str:
    """Why the agents or their objects cannot be loaded; empty if they can. If the data were `moved`, a UsageError."""
    try:
        _ = run.models
    except UntrustedError:
        raise
    except UsageError as error:
        if moved:
            raise
        return f"{error}. If the data have moved, pass --data-root DIR, or --data for your own data."
    return ""


def _of_agents(studio: Studio, run: SavedRun, reason: str, kind: str) -> list[Section]:
    if reason:
        missing = f"This section needs the agents and their objects. {reason}"
        return [
            Section("map", "Latent map", missing=missing),
            Section("recall", "Recall", missing=missing),
        ]
    return [evaluation_sections.latent_map(studio, run, kind), evaluation_sections.recall(run)]


def _title(run: SavedRun) -> str:
    mode, dataset, seed = run.settings["mode"], run.manifest.get("dataset"), run.manifest.get("seed")
    return f"Mode {word(mode)} on {word(dataset)}, seed {word(seed)}"


def _lead(summary: dict[str, Any]) -> str:
    """The run in a sentence."""
    aris = [f"{name} {number(own['ari'])}" for name, own in summary["agents"].items() if own.get("ari") is not None]
    parts = [f"ARI with the labels: {', '.join(aris)}."] if aris else ["The objects have no labels."]
    parts.append(f"Agreement: kappa {number(summary.get('kappa'))}.")
    rates = summary.get("acceptance") or {}
    if rates:
        parts.append("Accepted: " + ", ".join(f"{name} {number(rate, 2)}" for name, rate in rates.items()) + ".")
    return " ".join(parts)


def _facts(run: SavedRun, path: Path) -> list[str]:
    settings, summary = run.settings, run.summary
    seconds = summary.get("seconds")
    found = [
        f"{number(summary.get('objects'), 0)} objects",
        f"{word(settings['signs'])} signs",
        f"{len(run.agents)} agents",
        f"{word(summary['rounds'])} rounds",
        f"{word(summary.get('device'))}",
    ]
    if isinstance(seconds, int | float):
        found.append(f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min")
    return [*found, path.resolve().name]


def _status(status: str) -> list[str]:
    if status == "done":
        return []
    return [f"The run's status is {status}: what is shown may be of a round before its last."]
