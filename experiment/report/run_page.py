"""The report page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mhng.experiment.diagnostics.diagnose import build_report
from mhng.experiment.errors import UntrustedError, UsageError
from mhng.experiment.report import evaluation_sections, language_section, run_sections
from mhng.experiment.report.drawing import ChartRenderer
from mhng.experiment.report.page import Page, Section, as_text, count, number
from mhng.experiment.runs.folder import POSTERIOR, RunFolder
from mhng.experiment.training.saved_run import SavedRun

_MINUTES_FROM = 600  # seconds; longer run times are given in minutes


def run_page(path: Path, *, kind: str, data_root: Path | None, data: str | None, trust_plugins: bool) -> Page:
    """Build the page of the run in `path`. kind: projection of the latents. Raises `UsageError` without results."""
    _check_finished(path)
    run = SavedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    report = build_report(run)
    reason = _missing_agents(run, moved=data_root is not None or data is not None)
    with ChartRenderer() as renderer:
        sections = [
            run_sections.scores(run.summary),
            run_sections.curves(renderer, run.metrics),
            *([] if run.config.program else _object_sections(renderer, run, reason, kind)),
            run_sections.diagnostics(renderer, run, report),
            run_sections.settings(run.manifest.get("settings") or run.settings),
            run_sections.provenance(run.manifest | {"status": run.status}, str(path)),
        ]
    return Page(
        kind="Report of a naming-game run",
        title=_title(run),
        summary=_summary(run.summary),
        facts=_facts(run, path),
        answers=run_sections.answers(report),
        next=report["next"],
        warnings=[*_status_warning(run), *map(str, report["warnings"])],
        sections=sections,
        made=str(run.manifest.get("updated", "")),
    )


def _check_finished(path: Path) -> None:
    with RunFolder.open(path, lock=False) as folder:
        status = folder.status
        if folder.file(POSTERIOR).exists():
            return
    remedy = "wait for the end of the run" if status == "running" else f"run train --resume {path} first"
    raise UsageError(f"{path} has no {POSTERIOR} (status {status!r}); {remedy}")


def _missing_agents(run: SavedRun, *, moved: bool) -> str:
    """Reason why the agents or their data cannot be loaded; empty if they can.

    moved: whether a new location of the data was given. Raises `UsageError` if the data are not there.
    """
    try:
        _ = run.models
    except UntrustedError:
        raise
    except UsageError as error:
        if moved:
            raise
        return f"{error}. For moved data, pass --data-root DIR, or --data PATHS for your own data."
    return ""


def _object_sections(renderer: ChartRenderer, run: SavedRun, reason: str, kind: str) -> list[Section]:
    confusion = evaluation_sections.confusion(renderer, run, None if reason else run.objects.class_names)
    spoken = run.config.sentences is not None
    if reason:
        missing = f"This section requires the trained agents and their data. {reason}"
        return [
            *([Section("language", language_section.TITLE, missing=missing)] if spoken else []),
            confusion,
            Section("map", evaluation_sections.MAP_TITLE, missing=missing),
            Section("recall", evaluation_sections.RECALL_TITLE, missing=missing),
        ]
    return [
        *([language_section.language(renderer, run)] if spoken else []),
        confusion,
        evaluation_sections.latent_map(renderer, run, kind),
        evaluation_sections.recall(run),
    ]


def _title(run: SavedRun) -> str:
    mode, dataset, seed = run.settings["mode"], run.manifest.get("dataset"), run.manifest.get("seed")
    return f"Mode {as_text(mode)} on {as_text(dataset)}, seed {as_text(seed)}"


def _summary(summary: dict[str, Any]) -> str:
    """The main scores in three sentences."""
    aris = [
        f"{name} {number(scores['ari'])}"
        for name, scores in summary["agents"].items()
        if scores.get("ari") is not None
    ]
    parts = [f"ARI between signs and labels: {', '.join(aris)}."] if aris else ["The objects have no labels."]
    parts.append(f"Agreement between agents: kappa {number(summary.get('kappa'))}.")
    rates = summary.get("acceptance") or {}
    if rates:
        parts.append(
            "Acceptance rate: " + ", ".join(f"{name} {number(rate, 2)}" for name, rate in rates.items()) + "."
        )
    return " ".join(parts)


def _facts(run: SavedRun, path: Path) -> list[str]:
    settings, summary = run.settings, run.summary
    seconds = summary.get("seconds")
    facts = [
        f"{number(summary.get('objects'), 0)} objects",
        f"{as_text(settings['signs'])} signs",
        count(len(run.agents), "agent"),
        count(summary["rounds"], "round"),
        f"device {as_text(summary.get('device'))}",
    ]
    if isinstance(seconds, int | float):
        facts.append(f"run time {seconds:.0f} s" if seconds < _MINUTES_FROM else f"run time {seconds / 60:.0f} min")
    return [*facts, f"run folder {path.resolve().name}"]


def _status_warning(run: SavedRun) -> list[str]:
    if run.status == "done":
        return []
    rounds = f"{as_text(run.summary['rounds'])} of {run.config.rounds}"
    return [f"The status of the run is {run.status!r}; the results come from round {rounds}."]
