"""The page of a comparison: what `compare` left in its folder.

Read is summary.json alone, and of each run whether it has a page of its own to link to.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mhng.experiment.comparison.compare import CSV, GRID, PICTURE, TABLE
from mhng.experiment.errors import UsageError
from mhng.experiment.report.drawing import Studio
from mhng.experiment.report.page import Cell, Page, Picture, Section, Table, cells, number, word
from mhng.experiment.runs import folder as run_folder

FILES = (GRID, run_folder.SUMMARY, TABLE, CSV, PICTURE)

_DRAWN = {"ari": "ARI, final draw", "accuracy": "accuracy, final draw", "kappa": "kappa, final draw"}
_PAIRED = {"ari": "ARI", "accuracy": "accuracy", "kappa": "kappa"}

Row = Mapping[str, Any]


def is_comparison(path: Path) -> bool:
    """Whether `path` is the folder of a comparison. UsageError if it is of one that has no results yet."""
    try:
        if (path / run_folder.MANIFEST).exists() or not path.is_dir():
            return False
        if (path / run_folder.SUMMARY).exists():
            return "rows" in _summary(path)
        if (path / GRID).exists():
            raise UsageError(
                f"{path} has no {run_folder.SUMMARY} yet: compare --out {path} goes on with its runs and writes it"
            )
    except ValueError:  # a null byte in the name
        return False
    return False


def compare_page(path: Path, file: Path) -> Page:
    """The page of the comparison in `path`. file: where the page will be, which links are relative to."""
    summary = _summary(path)
    try:
        return _page(path, file, summary)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UsageError(
            f"{path / run_folder.SUMMARY} is not of a comparison of this version: {error!r:.100}"
        ) from error


def _summary(path: Path) -> dict[str, Any]:
    file = path / run_folder.SUMMARY
    try:
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{file} is not a JSON object")
    return found


def _page(path: Path, file: Path, summary: dict[str, Any]) -> Page:
    rows: list[Row] = summary["rows"]
    baseline = summary.get("baseline")
    runs = [(row, run) for row in rows for run in row["runs"]]
    failed = [(row, run) for row, run in runs if run["status"] != "done"]
    seeds = sorted({run["seed"] for _, run in runs})
    done = len(runs) - len(failed)
    with Studio() as studio:
        sections = [_scores(studio, rows, baseline), _differences(rows, baseline), _runs(path, file, runs)]
    if failed:
        sections.insert(0, _failures(failed))
    sections.append(_settings(path, summary))
    best = _best(rows)
    return Page(
        kind="A comparison of runs of the naming game",
        title=path.resolve().name or str(path),
        lead=f"{_count(len(rows), 'row')}, {_count(len(seeds), 'seed')}; {done} of {len(runs)} runs are done."
        + (f" Highest mean ARI: {best}." if best else ""),
        facts=[
            f"seeds {word(seeds)}",
            *([] if baseline is None else [f"held against {baseline}"]),
        ],
        warnings=[f"{len(failed)} of {len(runs)} runs left no results; means are of the others."] if failed else [],
        sections=[section for section in sections if section is not None],
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _best(rows: Sequence[Row]) -> str:
    """A description of what was seen, not a claim that it is better: that is for the differences."""
    means = [(row["statistics"]["ari"]["mean"], row["row"]) for row in rows]
    known = [(mean, name) for mean, name in means if mean is not None]
    if len(known) < 2:
        return ""
    mean, name = max(known)
    return f"{name}, {number(mean)}"


def _scores(studio: Studio, rows: Sequence[Row], baseline: str | None) -> Section:
    head = [
        "", "runs", "ARI", "± sd", "95% interval", "ARI, worst", "ARI, mean", "accuracy", "kappa", "kappa, worst",
        "kappa, matched", "acceptance", "seconds",
    ]  # fmt: skip
    body = []
    for row in rows:
        found = row["statistics"]
        own = row["runs"]
        ari = found["ari"]
        body.append(
            cells(
                [
                    Cell(str(row["row"]), strong=row["row"] == baseline),
                    f"{sum(run['status'] == 'done' for run in own)} of {len(own)}",
                    number(ari["mean"]), number(ari.get("sd")), _interval(ari), number(ari.get("worst")),
                    number(_mean(found, "ari_after_burn_in")), number(_mean(found, "accuracy")),
                    number(_mean(found, "kappa")), number((found.get("kappa") or {}).get("worst")),
                    number(_mean(found, "kappa_matched")), number(_mean(found, "acceptance")),
                    number(_mean(found, "seconds"), 0),
                ]
            )
        )  # fmt: skip
    return Section(
        "scores",
        "Scores",
        [
            "Each run's score is of its final draw, averaged over its agents; a row's is the mean over seeds, with "
            "their standard deviation and Student's 95% interval of the mean. “ARI, mean” is over the sweeps after "
            "burn-in.",
            "In the pictures a dot is a seed, a diamond the mean with its interval"
            + (f", the grey line the mean of {baseline}." if baseline is not None else "."),
        ],
        tables=[Table(head, body)],
        pictures=[_pictures(studio, rows, baseline)],
    )


def _pictures(studio: Studio, rows: Sequence[Row], baseline: str | None) -> list[Picture]:
    from mhng.experiment.plots.comparison import Dots, plot_dots

    pictures = []
    for metric, label in _DRAWN.items():
        dots = []
        base = None
        for row in rows:
            values = [(run["numbers"] or {}).get(metric) for run in row["runs"]]
            found = row["statistics"].get(metric) or {}
            mean = found.get("mean")
            known = [value for value in values if value is not None]
            dots.append(Dots(str(row["row"]), known, mean, found.get("low"), found.get("high")))
            if row["row"] == baseline:
                base = mean
        if not any(one.values for one in dots):
            continue
        means = ", ".join(f"{one.name} {number(one.mean)}" for one in dots)
        draw = partial(plot_dots, rows=dots, label=label, base=base)
        pictures.append(studio.chart(draw, f"{label}, a dot a seed; means: {means}."))
    return pictures


def _differences(rows: Sequence[Row], baseline: str | None) -> Section | None:
    others = [row for row in rows if row.get("paired") is not None]
    if not others:
        return None
    known = [
        name for name in _PAIRED if any((row["paired"].get(name) or {}).get("mean") is not None for row in others)
    ]
    head = [""]
    for name in known:
        head += [_PAIRED[name], "95% interval", "seeds won"]
    body = []
    for row in others:
        line = [str(row["row"])]
        for name in known:
            found = row["paired"].get(name) or {}
            won, of = found.get("won"), found.get("of")
            line += [_signed(found.get("mean")), _interval(found, _signed), "–" if not of else f"{won} of {of}"]
        body.append(cells(line))
    words = [
        f"Each row less {baseline}, seed by seed, so that what a seed does to both falls out. An interval that "
        "holds 0 says that the seeds do not tell the two apart."
    ]
    return Section("differences", f"Differences from {baseline}", words, tables=[Table(head, body)])


def _runs(path: Path, file: Path, runs: Sequence[tuple[Row, Row]]) -> Section:
    metrics = {"ARI": "ari", "accuracy": "accuracy", "kappa": "kappa", "acceptance": "acceptance"}
    linked = False
    body = []
    for row, run in runs:
        found = run["numbers"] or {}
        href = _link(path, file, str(run["folder"]))
        linked |= bool(href)
        body.append(
            cells(
                [
                    Cell(str(run["folder"]), href),
                    str(row["row"]),
                    str(run["status"]),
                    str(run["seed"]),
                    *(number(found.get(name)) for name in metrics.values()),
                    number(found.get("seconds"), 0),
                ]
            )
        )
    words = (
        "Linked runs have a page of their own."
        if linked
        else "No run has a page of its own yet: report RUN makes one, and this page, made again, links to it."
    )
    return Section(
        "runs",
        "Runs",
        [words],
        tables=[Table(["folder", "row", "status", "seed", *metrics, "seconds"], body, words=3)],
    )


def _failures(failed: Sequence[tuple[Row, Row]]) -> Section:
    body = [
        cells([str(row["row"]), str(run["seed"]), str(run["folder"]), str(run.get("error") or run["status"])])
        for row, run in failed
    ]
    return Section("failed", "Runs without results", tables=[Table(["row", "seed", "folder", "why"], body, words=4)])


def _settings(path: Path, summary: Mapping[str, Any]) -> Section:
    shared = summary.get("settings") or {}
    lists = [("all runs", [(str(key), word(value), False) for key, value in shared.items()])] if shared else []
    for row in summary["rows"]:
        own = {"mode": row.get("mode"), **(row.get("settings") or {})}
        if row.get("variant") is not None:
            own = {"variant": row["variant"], **own}
        lists.append((str(row["row"]), [(str(key), word(value), False) for key, value in own.items()]))
    return Section("settings", "Settings", [f"What was given; the rest is the default. Folder: {path}"], lists=lists)


def _link(path: Path, file: Path, folder: str) -> str:
    """From the page to a run's own, relative and quoted; "" if there is none."""
    try:
        target = path / folder / run_folder.REPORT
        if not target.is_file() or target.resolve() == file.resolve():
            return ""
        relative = os.path.relpath(target.resolve(), file.resolve().parent)
    except (OSError, ValueError):  # a name that cannot be, another drive
        return ""
    # A leading "./", and quoted colons: no folder's name is taken for a scheme.
    return quote(f"./{Path(relative).as_posix()}", errors="surrogateescape")


def _mean(found: Mapping[str, Any], metric: str) -> Any:
    return (found.get(metric) or {}).get("mean")


def _signed(value: Any, digits: int = 3) -> str:
    text = number(value, digits)
    return text if text.startswith(("−", "–")) else f"+{text}"


def _interval(found: Mapping[str, Any], show: Any = number) -> str:
    if found.get("low") is None or found.get("high") is None:
        return "–"
    return f"{show(found['low'])} to {show(found['high'])}"
