"""`name RUN`: the agents of a run name objects that they have not seen. One row an object, and scores.

Rows go to --out or stdout, whole or not at all: a damaged image among the last leaves nothing of the first. The
scores are lines for a reader, or one JSON object.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mhng.experiment.data.custom import dataset as own
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching, new_objects
from mhng.experiment.evaluation.naming import Said, joined, say, score
from mhng.experiment.evaluation.new_objects import Unseen
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.thresholds import KAPPA_PARTLY
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.parsing import entries_of
from mhng.experiment.training.restore import Trained, load_trained
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import check_out, write_out
from mhng.experiment.util.text import number

FORMATS = ("csv", "jsonl")


def name(
    path: Path,
    *,
    images: Path | None = None,
    new: str | None = None,
    split: str | None = None,
    data_root: Path | None = None,
    data: str | None = None,
    limit: int | None = None,
    out: Path | None = None,
    form: str | None = None,
    as_json: bool = False,
    trust_plugins: bool = False,
) -> dict[str, Any]:
    """Name the images of `images`, the objects of `new` or of `split`, write the rows, print the scores, return these.

    new: as --data of train. form: of the rows; None is jsonl where `out` ends so, else csv. as_json: scores as JSON,
    which needs `out`.
    Bad input is a `UsageError` before anything is written.
    """
    if sum(source is not None for source in (images, new, split)) != 1:
        raise UsageError("give one of --images, --new and --split")
    if as_json and out is None:
        raise UsageError("--json needs --out FILE: stdout is where the rows go otherwise")
    if out is not None:
        mine = [path / file for file in (run_folder.MANIFEST, *run_folder.RUN_FILES)]
        theirs = [file for entry in entries_of("data", new, "--new") for file in own.paths(entry)] if new else []
        check_out(out, mine + theirs + ([images] if images else []))
    trained = load_trained(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    if images is not None:
        objects = new_objects.of_path(trained, images, limit, note)
    elif new is not None:
        objects = new_objects.of_others(trained, new, limit, note)
    else:
        assert split is not None
        objects = new_objects.of_split(trained, split, limit, note)
    said = look(trained, objects)
    if trained.config.mode == "no-com":
        note("note: in mode no-com signs are private, so agreement and the joint decision say nothing")
    elif len(trained.agents) > 1 and (kappa := partitions.mean_pairwise_kappa(trained.signs)) < KAPPA_PARTLY:
        note(
            f"note: the agents do not call the run's own objects the same (kappa {kappa:.2f}), so the joint decision, "
            "the sign that is best for all of them, says little"
        )
    found = to_plain(score(said, list(trained.agents), objects.labels, meanings(trained)))
    write_out(
        [_text(rows(trained, objects, said), form or ("jsonl" if out and out.suffix == ".jsonl" else "csv"))], out
    )
    _print(found, objects, out, as_json)
    plain: dict[str, Any] = found
    return plain


def look(trained: Trained, objects: Unseen) -> Said:
    """What the agents say of all objects."""
    agents = list(trained.agents.values())
    said = joined([say(agents, trained.components, views) for views in objects.looks])
    lost = np.flatnonzero(~(np.isfinite(said.probability).all(0) & np.isfinite(said.joint_probability)))
    if len(lost):
        raise UsageError(
            f"{objects.title} {objects.names[lost[0]]} cannot be named: what agents make of it is not finite, so "
            "far is it from all that they learned from"
        )
    return said


def meanings(trained: Trained) -> list[Any]:
    """The class that each sign means, for each agent and, by all agents' signs, their joint decision: (M + 1) of (K,).

    By the matching of the run's own final signs and labels; -1 everywhere for a run without labels.
    """
    K, labels = trained.config.signs, trained.objects.labels
    if labels is None:
        return [np.full(K, -1)] * (len(trained.agents) + 1)
    counts = [matching.table(own, labels, K, trained.classes) for own in trained.signs]
    return [matching.matching(own) for own in [*counts, np.sum(counts, axis=0)]]


def rows(trained: Trained, objects: Unseen, said: Said) -> Iterator[dict[str, Any]]:
    """One an object: name, label if known, each agent's sign and its probability, the joint one, do they agree?"""
    for n, called in enumerate(objects.names):
        row: dict[str, Any] = {objects.title: called}
        if objects.labels is not None:
            row["label"] = objects.class_names[objects.labels[n]]
        for m, agent in enumerate(trained.agents):
            row |= {
                f"sign_{agent}": int(said.signs[m, n]),
                f"probability_{agent}": round(float(said.probability[m, n]), 6),
            }
        yield row | {
            "joint_sign": int(said.joint[n]),
            "joint_probability": round(float(said.joint_probability[n]), 6),
            "agree": bool((said.signs[:, n] == said.signs[0, n]).all()),
        }


def lines(found: Mapping[str, Any]) -> list[str]:
    """The scores for a reader."""
    text = []
    for agent, scored in [
        *((f"Agent {agent}", scored) for agent, scored in found["agents"].items()),
        ("Joint", found["joint"]),
    ]:
        if scored["ari"] is not None:
            right = "" if scored["accuracy"] is None else f", accuracy {number(scored['accuracy'])}"
            text.append(f"{agent}: ARI {number(scored['ari'])}, NMI {number(scored['nmi'])}{right}")
    text.append(f"Kappa: {number(found['kappa'])}; agreed on {found['agreed']:.1%} of {found['objects']} objects")
    return text


# -- writing -----------------------------------------------------------------------------------------


def _text(table: Iterator[dict[str, Any]], form: str) -> str:
    buffer = io.StringIO()
    if form == "jsonl":
        for row in table:
            buffer.write(json.dumps(row, ensure_ascii=False) + "\n")
        return buffer.getvalue()
    writer: csv.DictWriter[str] | None = None
    for row in table:
        if writer is None:
            writer = csv.DictWriter(buffer, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: str(value).lower() if isinstance(value, bool) else value for key, value in row.items()})
    return buffer.getvalue()


def _print(found: Mapping[str, Any], objects: Unseen, out: Path | None, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, allow_nan=False, indent=2))
        return
    say_it: Callable[[str], None] = print if out is not None else note
    for line in lines(found):
        say_it(line)
    if out is not None:
        print(f"Rows: {out}")


def note(text: str) -> None:
    """One line on stderr."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
