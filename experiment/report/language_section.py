"""Page section on the sentences of a run: scores, evidence by meaning, vocabulary, and images as words change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from mhng.experiment.evaluation.language import language_report, speakers_of
from mhng.experiment.evaluation.vocabulary import attributes_of_run, base_meaning, imagined, meanings
from mhng.experiment.report.drawing import ChartRenderer, image_strip
from mhng.experiment.report.page import ImageRows, Picture, Section, Table, cells, number
from mhng.experiment.training.saved_run import SavedRun

TITLE = "Sentences and the meanings of words"

_SEEN = {
    "all words right": "all_right",
    "topsim": "topsim",
    "posdis": "posdis",
    "bosdis": "bosdis",
    "CBM": "cbm",
    "CBM by slot": "cbm_slots",
    "entropy (bits)": "entropy",
    "entropy of words (bits)": "entropy_words",
}


def language(renderer: ChartRenderer, run: SavedRun) -> Section:
    """Scores and pictures of the sentences."""
    from mhng.experiment.plots import language as plots

    speakers = speakers_of(run)
    report = language_report(run, speakers)
    evidence = {name: row["evidence"] for name, row in report["agents"].items()}
    base = base_meaning(next(iter(evidence.values())))
    gains = ", ".join(
        f"{name} {meaning} {number(nats[meaning] - nats[base], 1)}"
        for name, nats in evidence.items()
        for meaning in nats
        if meaning != base
    )
    pictures = [
        [
            renderer.chart(
                partial(plots.plot_evidence, agents=evidence, base=base),
                f"Log evidence in nats above that of {base}: {gains}.",
                "Evidence by meaning",
            )
        ]
    ]
    attributes = attributes_of_run(run)
    if attributes is not None:
        tables = {name: meanings(run.words[name], attributes) for name in run.agents}
        pictures += [[_vocabulary(renderer, name, words) for words in table] for name, table in tables.items()]
    paragraphs = [
        f"A sentence has {report['words']} words from a vocabulary of {report['vocabulary']}; the meaning is "
        f"{report['meaning']}. The evidence is that of the final sentences. Positive nats of positions over holistic: "
        "the sentences are compositional. No labels are used for it.",
    ]
    if attributes is not None:
        paragraphs.append(
            "The vocabulary shows the words of each slot against the values of the attribute that the slot is matched "
            "with. CBM is concept best matching."
        )
    return Section(
        "language",
        TITLE,
        paragraphs,
        tables=_tables(report),
        pictures=pictures,
        image_rows=[_images(name, grid) for name, grid in imagined(run, speakers).items()],
    )


def _vocabulary(renderer: ChartRenderer, name: str, words: Any) -> Picture:
    from mhng.experiment.plots import language as plots

    title = f"Vocabulary of agent {name}, word {words.slot + 1}"
    alt = f"{title}: mean share of a word's objects with its main value {words.shares.max(1).mean():.0%}."
    return renderer.chart(partial(plots.plot_vocabulary, agents={name: [words]}), alt, title)


def _tables(report: Mapping[str, Any]) -> list[Table]:
    slots = [number(kappa) for kappa in report["kappa_slots"]]
    tables = [Table([f"word {slot}" for slot in range(1, len(slots) + 1)], [cells(slots)], "Kappa of words", 0)]
    seen = {name: row["seen"] for name, row in report["agents"].items() if row["seen"] is not None}
    head = ["", "positions over holistic (nats)", "over bag (nats)", *(_SEEN if seen else ())]
    rows = [
        cells(
            [
                f"Agent {name}",
                number(row["over_holistic"], 1),
                number(row["over_bag"], 1),
                *(number(seen[name][key]) for key in _SEEN.values() if seen),
            ]
        )
        for name, row in report["agents"].items()
    ]
    tables.append(Table(head, rows, "Scores of the final sentences"))
    if (unseen := report["unseen"]) is not None:
        rows = [
            cells([name if name == "together" else f"Agent {name}", number(shares["in"]), number(shares["out"])])
            for name, shares in unseen["all_right"].items()
        ]
        tables.append(Table(["", "in distribution", "out of distribution"], rows, "All words right, unseen objects"))
    kinds = {"seen": report["seen"]} | ({} if unseen is None else {"unseen": unseen})
    rows = [
        cells([f"{pair}, {kind}", *_understood(scores, pair)])
        for kind, scores in kinds.items()
        for pair in scores["found"]
    ]
    head = ["speaker->listener", "found among 10", "found among 100", "all attributes decoded", "out of distribution"]
    return [*tables, Table(head, rows, "What the listener makes of a sentence")]


def _understood(scores: Mapping[str, Any], pair: str) -> list[str]:
    decoded = None if scores["decoded"] is None else scores["decoded"][pair]
    inside, outside = (decoded["in"], decoded["out"]) if isinstance(decoded, Mapping) else (decoded, None)
    found = scores["found"][pair]
    return [number(found.get("10")), number(found.get("100")), number(inside), number(outside)]


def _images(name: str, grid: Any) -> ImageRows:
    """A strip for each first word; the second word changes along it."""
    rows = []
    for word, images, unsaid in zip(grid.rows, grid.images, grid.unsaid, strict=True):
        alt = f"Agent {name}, word 1 is {word}: images for {len(images)} second words."
        new = [column for column, none in zip(grid.columns, unsaid, strict=True) if none]
        rows.append((f"word 1: {word}", f"no object has: {', '.join(new)}" if new else "", image_strip(images, alt)))
    note = f"{grid.title}; {grid.column_label} from left to right: {', '.join(grid.columns)}."
    return ImageRows(f"What agent {name} imagines", note[0].upper() + note[1:], rows)
