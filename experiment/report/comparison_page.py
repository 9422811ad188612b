"""The report page of a comparison, built from the summary.json that `compare` writes.

Runs that have a report page are linked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mhng.experiment.comparison.compare import CSV, CURVES, GRID, LATEX, PICTURE, TABLE
from mhng.experiment.errors import UsageError
from mhng.experiment.report.drawing import ChartRenderer
from mhng.experiment.report.page import Cell, Page, Picture, Section, Table, as_text, cells, count, number
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.runs.folder import RunFolder

FILES = (GRID, run_folder.SUMMARY, TABLE, CSV, LATEX, PICTURE, CURVES)

_METRICS = {"ari": "ARI", "accuracy": "accuracy", "kappa": "kappa"}

Row = Mapping[str, Any]


def is_comparison(path: Path) -> bool:
    """Whether `path` is the folder of a comparison. Raises `UsageError` for a comparison without results."""
    try:
        if (path / run_folder.MANIFEST).exists() or not path.is_dir():
            return False
        if (path / run_folder.SUMMARY).exists():
            return "rows" in RunFolder(path).read_json(run_folder.SUMMARY)
        if (path / GRID).exists():
            raise UsageError(f"{path} has no {run_folder.SUMMARY}; run compare --out {path} to complete it")
    except ValueError:  # a null byte in the name
        return False
    return False


def compare_page(path: Path, file: Path) -> Page:
    """Build the page of the comparison in `path`. file: path of the page; links are relative to it."""
    summary = RunFolder(path).read_json(run_folder.SUMMARY)
    try:
        return _page(path, file, summary)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise UsageError(
            f"{path / run_folder.SUMMARY} is not a comparison summary of this version: {error!r:.100}"
        ) from error


def complete_runs(path: Path) -> list[Path]:
    """Folders of the complete runs of the comparison in `path`."""
    try:
        runs = [run for row in RunFolder(path).read_json(run_folder.SUMMARY)["rows"] for run in row["runs"]]
        return [path / run["folder"] for run in runs if run["status"] == "done"]
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path / run_folder.SUMMARY} is not a comparison summary of this version") from error


def _page(path: Path, file: Path, summary: dict[str, Any]) -> Page:
    rows: list[Row] = summary["rows"]
    baseline = summary.get("baseline")
    runs = [(row, run) for row in rows for run in row["runs"]]
    failed = [(row, run) for row, run in runs if run["status"] != "done"]
    seeds = sorted({run["seed"] for _, run in runs})
    done = len(runs) - len(failed)
    with ChartRenderer() as renderer:
        references: list[Row] = summary.get("references") or []
        sections = [
            _scores(renderer, rows, baseline, references),
            _differences(rows, baseline),
            _runs(path, file, runs),
        ]
    if failed:
        sections.insert(0, _failures(failed))
    sections.append(_settings(path, summary))
    best = _best(rows)
    return Page(
        kind="Comparison of naming-game runs",
        title=path.resolve().name or str(path),
        summary=f"{count(len(rows), 'row')}, {count(len(seeds), 'seed')}; {done} of {count(len(runs), 'run')} done."
        + (f" Highest mean ARI: {best}." if best else ""),
        facts=[f"seeds {as_text(seeds)}", *([] if baseline is None else [f"baseline {baseline}"])],
        warnings=[f"{len(failed)} of {count(len(runs), 'run')} without results; means use the other runs."]
        if failed
        else [],
        sections=[section for section in sections if section is not None],
    )


def _best(rows: Sequence[Row]) -> str:
    """Row with the highest mean ARI, and its value; empty for fewer than two rows with an ARI."""
    means = [(row["statistics"]["ari"]["mean"], row["row"]) for row in rows]
    known = [(mean, name) for mean, name in means if mean is not None]
    if len(known) < 2:
        return ""
    mean, name = max(known)
    return f"{name}, {number(mean)}"


# -- scores ------------------------------------------------------------------------------------------


def _scores(renderer: ChartRenderer, rows: Sequence[Row], baseline: str | None, references: Sequence[Row]) -> Section:
    head = [
        "", "runs done", "ARI", "sd of ARI", "95% interval of ARI", "lowest ARI", "ARI after burn-in", "accuracy",
        "kappa", "lowest kappa", "kappa after matching", "acceptance rate", "seconds",
    ]  # fmt: skip
    body = []
    for row in rows:
        statistics = row["statistics"]
        runs = row["runs"]
        ari = statistics["ari"]
        body.append(
            cells(
                [
                    Cell(str(row["row"]), strong=row["row"] == baseline),
                    f"{sum(run['status'] == 'done' for run in runs)} of {len(runs)}",
                    number(ari["mean"]), number(ari.get("sd")), _interval(ari), number(ari.get("worst")),
                    number(_mean(statistics, "ari_after_burn_in")), number(_mean(statistics, "accuracy")),
                    number(_mean(statistics, "kappa")) + _alone(row),
                    number((statistics.get("kappa") or {}).get("worst")),
                    number(_mean(statistics, "kappa_matched")), number(_mean(statistics, "acceptance")),
                    number(_mean(statistics, "seconds"), 0),
                ]
            )
        )  # fmt: skip
    line = f" Vertical line: mean of {baseline}." if baseline is not None else ""
    return Section(
        "scores",
        "Scores",
        [
            "Values are means over the seeds. The score of a run is averaged over its agents and uses the final draw; "
            "ARI after burn-in is averaged over the sweeps after burn-in. The interval is Student's 95% interval of "
            "the mean.",
            f"Dots in the plots: seeds. Diamond: mean and its 95% interval.{line}",
            *(
                ["alone: all agents share one chain of signs; kappa compares what each agent would say alone."]
                if any(_alone(row) for row in rows)
                else []
            ),
        ],
        tables=[Table(head, body, "Mean scores per row"), *_sentence_table(rows), *_reference_table(references)],
        pictures=[_score_plots(renderer, rows, baseline)],
    )


def _alone(row: Row) -> str:
    """The mark of a kappa between what agents that share their signs would say alone."""
    return "" if row.get("kappa_of", "signs") == "signs" else " alone"


_SENTENCE_COLUMNS = {
    "unseen right": ("unseen_in", "mean", 3),
    "lowest": ("unseen_in", "worst", 3),
    "unseen right, out of distribution": ("unseen_out", "mean", 3),
    "positions over holistic (nats)": ("over_holistic", "mean", 1),
    "lowest kappa of a word": ("kappa_slot", "mean", 3),
    "topsim": ("topsim", "mean", 3),
    "found among 10": ("found_10", "mean", 3),
}


def _sentence_table(rows: Sequence[Row]) -> list[Table]:
    """Scores of sentences, for the rows that have them."""
    spoken = [row for row in rows if _mean(row["statistics"], "over_holistic") is not None]
    body = [
        cells(
            [
                str(row["row"]),
                *(
                    number((row["statistics"].get(metric) or {}).get(kind), digits)
                    for metric, kind, digits in _SENTENCE_COLUMNS.values()
                ),
            ]
        )
        for row in spoken
    ]
    return [Table(["", *_SENTENCE_COLUMNS], body, "Scores of sentences")] if spoken else []


def _reference_table(references: Sequence[Row]) -> list[Table]:
    """Scores of the reference methods, if there are any."""
    if not references:
        return []
    head = ["", "ARI", "sd of ARI", "lowest ARI", "accuracy"]
    body = [
        cells([str(row["row"])] + [number(_of(row, metric, name)) for metric, name in _REFERENCE_CELLS])
        for row in references
    ]
    return [Table(head, body, "Reference methods on the observations of all agents, without agents")]


_REFERENCE_CELLS = (("ari", "mean"), ("ari", "sd"), ("ari", "worst"), ("accuracy", "mean"))


def _of(row: Row, metric: str, name: str) -> Any:
    return row["statistics"][metric][name]


def _score_plots(renderer: ChartRenderer, rows: Sequence[Row], baseline: str | None) -> list[Picture]:
    from mhng.experiment.plots.comparison import Dots, plot_dots

    pictures = []
    for metric, name in _METRICS.items():
        label = f"{name}, final draw"
        dots = []
        base = None
        for row in rows:
            values = [(run["numbers"] or {}).get(metric) for run in row["runs"]]
            statistics = row["statistics"].get(metric) or {}
            mean = statistics.get("mean")
            known = [value for value in values if value is not None]
            dots.append(Dots(str(row["row"]), known, mean, statistics.get("low"), statistics.get("high")))
            if row["row"] == baseline:
                base = mean
        if not any(row_dots.values for row_dots in dots):
            continue
        means = ", ".join(f"{row_dots.name} {number(row_dots.mean)}" for row_dots in dots)
        draw = partial(plot_dots, rows=dots, label=label, base=base)
        pictures.append(renderer.chart(draw, f"{label}, one dot per seed; means: {means}."))
    return pictures


# -- differences -------------------------------------------------------------------------------------


def _differences(rows: Sequence[Row], baseline: str | None) -> Section | None:
    compared = [row for row in rows if row.get("paired") is not None]
    if not compared:
        return None
    known = [
        name for name in _METRICS if any((row["paired"].get(name) or {}).get("mean") is not None for row in compared)
    ]
    head = [""]
    for name in known:
        head += [f"{_METRICS[name]} difference", "95% interval", "seeds with a higher value"]
    body = []
    for row in compared:
        texts = [str(row["row"])]
        for name in known:
            paired = row["paired"].get(name) or {}
            won, seeds = paired.get("won"), paired.get("of")
            texts += [
                _signed(paired.get("mean")), _interval(paired, _signed), "–" if not seeds else f"{won} of {seeds}"
            ]  # fmt: skip
        body.append(cells(texts))
    paragraphs = [
        f"Mean of the paired differences: value of the row minus value of {baseline} at the same seed. If the "
        "interval contains 0, the seeds do not distinguish the two rows."
    ]
    return Section(
        "differences",
        f"Differences from {baseline}",
        paragraphs,
        tables=[Table(head, body, f"Paired differences from {baseline}")],
    )


# -- runs and settings -------------------------------------------------------------------------------


def _runs(path: Path, file: Path, runs: Sequence[tuple[Row, Row]]) -> Section:
    metrics = {"ARI": "ari", "accuracy": "accuracy", "kappa": "kappa", "acceptance rate": "acceptance"}
    linked = False
    body = []
    for row, run in runs:
        numbers = run["numbers"] or {}
        href = _link(path, file, str(run["folder"]))
        linked |= bool(href)
        body.append(
            cells(
                [
                    Cell(str(run["folder"]), href),
                    str(row["row"]),
                    str(run["status"]),
                    str(run["seed"]),
                    *(number(numbers.get(name)) for name in metrics.values()),
                    number(numbers.get("seconds"), 0),
                ]
            )
        )
    note = (
        "Linked folders have a report page."
        if linked
        else "To link a run, create its page with the command report RUN, then create this page again."
    )
    return Section(
        "runs",
        "Runs",
        [note],
        tables=[
            Table(["folder", "row", "status", "seed", *metrics, "seconds"], body, "Scores per run", text_columns=3)
        ],
    )


def _failures(failed: Sequence[tuple[Row, Row]]) -> Section:
    body = [
        cells([str(row["row"]), str(run["seed"]), str(run["folder"]), str(run.get("error") or run["status"])])
        for row, run in failed
    ]
    table = Table(["row", "seed", "folder", "error"], body, "Errors per run", text_columns=4)
    return Section("failed", "Runs without results", tables=[table])


def _settings(path: Path, summary: Mapping[str, Any]) -> Section:
    shared = summary.get("settings") or {}
    lists = [("all runs", [(str(key), as_text(value), False) for key, value in shared.items()])] if shared else []
    for row in summary["rows"]:
        values = {"mode": row.get("mode"), **(row.get("settings") or {})}
        if row.get("variant") is not None:
            values = {"variant": row["variant"], **values}
        lists.append((str(row["row"]), [(str(key), as_text(value), False) for key, value in values.items()]))
    return Section(
        "settings", "Settings", [f"Settings given to compare; all others are defaults. Folder: {path}"], lists=lists
    )


def _link(path: Path, file: Path, folder: str) -> str:
    """Relative, quoted link from the page to the page of a run; empty if the run has no page."""
    try:
        target = path / folder / run_folder.REPORT
        if not target.is_file() or target.resolve() == file.resolve():
            return ""
        relative = os.path.relpath(target.resolve(), file.resolve().parent)
    except (OSError, ValueError):  # an impossible name, or another drive
        return ""
    # A leading "./" and quoted colons: otherwise a folder's name could be read as a URL scheme.
    return quote(f"./{Path(relative).as_posix()}", errors="surrogateescape")


# -- cells -------------------------------------------------------------------------------------------


def _mean(statistics: Mapping[str, Any], metric: str) -> Any:
    return (statistics.get(metric) or {}).get("mean")


def _signed(value: Any, digits: int = 3) -> str:
    text = number(value, digits)
    return text if text.startswith(("−", "–")) else f"+{text}"


def _interval(statistics: Mapping[str, Any], show: Any = number) -> str:
    if statistics.get("low") is None or statistics.get("high") is None:
        return "–"
    return f"{show(statistics['low'])} to {show(statistics['high'])}"
