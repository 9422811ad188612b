"""Tables of a grid as Markdown and CSV, from its summary (`mhng.experiment.comparison.statistics`)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from mhng.experiment.comparison.statistics import METRICS
from mhng.experiment.util.text import decimal

_HEAD = (
    "row", "ARI per seed, final draw", "mean ± sd [95%]", "worst", "mean after burn-in", "accuracy", "kappa (worst)",
    "matched kappa", "acceptance", "seconds",
)  # fmt: skip
_SENTENCE_HEAD = (
    "row", "unseen right: mean ± sd [95%]", "worst", "out of distribution", "worst", "positions over holistic (nats)",
    "lowest kappa of a word (worst)", "topsim", "found among 10",
)  # fmt: skip
_REFERENCE_HEAD = ("method", "ARI: mean ± sd [95%]", "worst", "accuracy")
_PAIRED_HEAD = ("row", "ARI: mean [95%]", "seeds above, below", "kappa: mean [95%]", "seeds above, below")


def markdown(summary: Mapping[str, Any]) -> str:
    """Table of the rows, table of the differences from the baseline, and list of the failed runs."""
    rows = summary["rows"]
    seeds = " ".join(str(run["seed"]) for run in rows[0]["runs"])
    parts = [_table(_HEAD, [_line(row) for row in rows])]
    parts += [f"Seeds: {seeds}. ±: standard deviation over seeds. [ ]: Student's 95% interval of the mean."]
    if any(_is_alone(row) for row in rows):
        parts += ["alone: all agents share one chain of signs; kappa compares what each agent would say alone."]
    if spoken := [row for row in rows if row["statistics"]["over_holistic"]["count"]]:
        parts += ["Sentences (docs/sentences.md):", _table(_SENTENCE_HEAD, [_sentence_line(row) for row in spoken])]
    if references := summary["references"]:
        parts += ["Reference methods on the observations of all agents, without agents:"]
        parts += [_table(_REFERENCE_HEAD, [_reference_line(row) for row in references])]
    compared = [row for row in rows if row["paired"] is not None]
    if compared:
        parts += [f"Paired differences from {summary['baseline']} (same seeds):"]
        parts += [_table(_PAIRED_HEAD, [_paired_line(row) for row in compared])]
    failed = [(row["row"], run) for row in rows for run in row["runs"] if run["status"] == "failed"]
    if failed:
        parts += ["Failed runs:"]
        parts += ["\n".join(f"- {name}, seed {run['seed']} ({run['folder']}): {run['error']}" for name, run in failed)]
    return "\n\n".join(parts) + "\n"


def comma_separated(summary: Mapping[str, Any]) -> str:
    """One line per run, failed runs included: its place in the grid, its status, METRICS. Missing values are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "mode", "variant", "seed", "folder", "status", "error", *METRICS])
    for row in summary["rows"]:
        for run in row["runs"]:
            numbers = run["numbers"] or {}
            head = [row["row"], row["mode"], row["variant"], run["seed"], run["folder"], run["status"], run["error"]]
            writer.writerow([*head, *(numbers.get(name) for name in METRICS)])
    return text.getvalue()


def latex(summary: Mapping[str, Any]) -> str:
    """The scores of the rows and of the reference methods as a LaTeX table (booktabs): mean ± sd over seeds."""
    head = ("", "ARI", "worst ARI", "accuracy", "$\\kappa$")
    lines = [_latex_line(row, row["statistics"].get("kappa"), _is_alone(row)) for row in summary["rows"]]
    references = [_latex_line(row, None, False) for row in summary["references"]]
    body = [*lines, *(["\\midrule", *references] if references else [])]
    return "\n".join(
        ["\\begin{tabular}{lrrrr}", "\\toprule", " & ".join(head) + " \\\\", "\\midrule", *body, "\\bottomrule",
         "\\end{tabular}", ""]
    )  # fmt: skip


def _latex_line(row: Mapping[str, Any], kappa: Mapping[str, Any] | None, is_alone: bool) -> str:
    ari, accuracy = row["statistics"]["ari"], row["statistics"]["accuracy"]
    cells = [_latex_text(row["row"]), _latex_mean(ari), decimal(ari["worst"]), decimal(accuracy["mean"])]
    cells.append("-" if kappa is None else _latex_mean(kappa) + " (alone)" * is_alone)
    return " & ".join(cells) + " \\\\"


def _latex_mean(statistics: Mapping[str, Any]) -> str:
    sd = "" if statistics["sd"] is None else f" $\\pm$ {statistics['sd']:.3f}"
    return decimal(statistics["mean"]) + sd


def _latex_text(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def _line(row: Mapping[str, Any]) -> list[str]:
    runs, statistics = row["runs"], row["statistics"]
    done = sum(run["status"] == "done" for run in runs)
    ari = statistics["ari"]
    return [
        row["row"] if done == len(runs) else f"{row['row']} ({done} of {len(runs)})",
        " ".join(decimal((run["numbers"] or {}).get("ari")) for run in runs) if ari["count"] else "-",
        _with_interval(ari, sd=True),
        decimal(ari["worst"]),
        *(decimal(statistics[name]["mean"]) for name in ("ari_after_burn_in", "accuracy")),
        f"{decimal(statistics['kappa']['mean'])} ({decimal(statistics['kappa']['worst'])})" + " alone" * _is_alone(row)
        if statistics["kappa"]["count"]
        else "-",
        *(decimal(statistics[name]["mean"]) for name in ("kappa_matched", "acceptance")),
        decimal(statistics["seconds"]["mean"], 0),
    ]


def _is_alone(row: Mapping[str, Any]) -> bool:
    return bool(row["kappa_of"] != "signs")


def _sentence_line(row: Mapping[str, Any]) -> list[str]:
    of = row["statistics"]
    return [
        row["row"],
        *(text for name in ("unseen_in", "unseen_out") for text in _right(of[name])),
        decimal(of["over_holistic"]["mean"], 1),
        f"{decimal(of['kappa_slot']['mean'])} ({decimal(of['kappa_slot']['worst'])})",
        *(decimal(of[name]["mean"]) for name in ("topsim", "found_10")),
    ]


def _right(statistics: Mapping[str, Any]) -> tuple[str, str]:
    return _with_interval(statistics, sd=True), decimal(statistics["worst"])


def _reference_line(row: Mapping[str, Any]) -> list[str]:
    ari, accuracy = row["statistics"]["ari"], row["statistics"]["accuracy"]
    return [row["row"], _with_interval(ari, sd=True), decimal(ari["worst"]), decimal(accuracy["mean"])]


def _paired_line(row: Mapping[str, Any]) -> list[str]:
    cells = [row["row"]]
    for name in ("ari", "kappa"):
        paired = row["paired"][name]
        cells += [_with_interval(paired, sign="+"), f"{paired['won']}, {paired['lost']} of {paired['of']}"]
    return cells


def _with_interval(statistics: Mapping[str, Any], *, sd: bool = False, sign: str = "") -> str:
    """Format "0.849 ± 0.051 [0.785, 0.913]", without the missing parts."""
    if statistics["mean"] is None:
        return "-"
    text = f"{statistics['mean']:{sign}.3f}"
    if statistics["low"] is None:
        return text
    spread = f" ± {statistics['sd']:.3f}" if sd else ""
    return f"{text}{spread} [{statistics['low']:{sign}.3f}, {statistics['high']:{sign}.3f}]"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruled = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in ruled)
