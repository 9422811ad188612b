"""The command `name RUN`: infer signs for objects that the agents have not learned from.

    agent    P(w | z^m)            proportional to  pi_w N(z^m; mu^m_w, Lambda^m_w^-1)
    joint    P(w | z^A, z^B, ...)  proportional to  pi_w prod_m N(z^m; mu^m_w, Lambda^m_w^-1)

z^m is the mean of q(z | x^m). Nothing is sampled, so the sign depends on the observation alone. Each posterior is
reported by its most probable sign. The joint posterior is the stationary law of the naming game with fixed
parameters; a single agent cannot compute it.

Notation: M agents, B objects, K signs.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.combinations import attributes_of
from mhng.experiment.data.custom import dataset as custom_dataset
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching, new_objects
from mhng.experiment.evaluation.new_objects import NewObjects, print_note
from mhng.experiment.evaluation.unlike import UnlikeObjects
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.language import fit_decoder
from mhng.experiment.metrics.thresholds import KAPPA_PARTLY
from mhng.experiment.settings.parsing import parse_data
from mhng.experiment.training.saved_run import SavedRun
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import check_out, write_out
from mhng.experiment.util.text import decimal

# Most signs that are matched to classes. Sentences of large vocabularies are more.
_MOST_MATCHED = 2**20

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class InferredSigns(NamedTuple):
    """Most probable signs and their posterior probabilities."""

    signs: Ints  # (M, B) by agent
    probability: Floats  # (M, B)
    joint: Ints  # (B,)
    joint_probability: Floats  # (B,)


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
    """Infer signs for the objects of `images`, `new` or `split`, write one row per object, print and return scores.

    new: paths, as --data of train takes them. form: format of the rows; None selects jsonl if `out` ends in .jsonl,
    else csv. as_json: print the scores as JSON; requires `out`.
    Raises UsageError before anything is written.
    """
    if sum(source is not None for source in (images, new, split)) != 1:
        raise UsageError("one of --images, --new and --split is required")
    if as_json and out is None:
        raise UsageError("--json requires --out FILE; without it stdout holds the rows")
    run = SavedRun(path, data_root=data_root, data=data, trust_plugins=trust_plugins)
    if out is not None:
        inputs = [*run.inputs, *([images] if images else [])]
        for entry in parse_data(new, "--new") if new else ():
            inputs += custom_dataset.paths(entry)
        check_out(out, inputs)
    if images is not None:
        objects = new_objects.from_images(run, images, limit)
    elif new is not None:
        objects = new_objects.from_data(run, new, limit)
    else:
        assert split is not None
        objects = new_objects.from_split(run, split, limit)
    inferred = name_objects(run, objects)
    _warn_if_joint_is_meaningless(run)
    scores: dict[str, Any] = to_plain(score(inferred, run.agents, objects.labels, classes_of_signs(run)))
    form = form or ("jsonl" if out and out.suffix == ".jsonl" else "csv")
    write_out([_to_text(table_rows(run, objects, inferred), form)], out)
    if as_json:
        print(json.dumps(scores, allow_nan=False, indent=2))
    else:
        for line in score_lines(scores):
            (print if out is not None else print_note)(line)
        if out is not None:
            print(f"Rows: {out}")
    return scores


def _warn_if_joint_is_meaningless(run: SavedRun) -> None:
    if run.config.mode == "no-com":
        print_note("note: in mode no-com signs are private; agreement and the joint sign are not meaningful")
    elif len(run.agents) > 1:
        kappa = partitions.mean_pairwise_kappa(np.stack(list(run.signs.values())))
        if kappa < KAPPA_PARTLY:
            print_note(
                f"note: the agents use different signs for the run's own objects (kappa {kappa:.2f}), so the joint "
                "sign is not reliable"
            )


# -- inference ---------------------------------------------------------------------------------------


def name_objects(run: SavedRun, objects: NewObjects) -> InferredSigns:
    """Infer the signs of all objects, batch by batch. Notes objects that are unlike those of the run.

    Raises UsageError if a probability is not finite.
    """
    parts, masks, unlike = [], [], UnlikeObjects(run)
    for views in objects.batches:
        parts.append(infer_signs(run, views))
        masks.append(unlike.find(views))
    inferred = InferredSigns(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))
    finite = np.isfinite(inferred.probability).all(0) & np.isfinite(inferred.joint_probability)
    if not finite.all():
        raise UsageError(
            f"{objects.heading} {objects.names[int(np.argmin(finite))]} cannot be named: its sign probabilities are "
            "not finite; it lies too far from the objects of the run"
        )
    _note_unlike(objects, np.concatenate(masks))
    return inferred


def _note_unlike(objects: NewObjects, mask: NDArray[np.bool_]) -> None:
    if not (count := int(mask.sum())):
        return
    listed = ", ".join(str(objects.names[n]) for n in np.flatnonzero(mask)[:3]) + (", ..." if count > 3 else "")
    print_note(
        f"note: {count} of {len(mask)} objects are unlike those of the run, so their signs mean little whatever their "
        f"probability ({objects.heading} {listed}): their reconstructions are far less likely; images must be bright "
        "on black if those of the run are"[:400]
    )


@torch.no_grad()
def infer_signs(run: SavedRun, views: Sequence[Tensor]) -> InferredSigns:
    """Infer the signs of B objects from one view per agent, (B, *shape)."""
    agents = list(run.models.values())
    log_pi = torch.stack([agent.log_pi for agent in agents])
    # The joint posterior uses the mean of the agents' sign priors, where these differ.
    joint_log_pi = log_pi.logsumexp(0, keepdim=True) - math.log(len(agents))
    tables = [
        agent.mixture.log_prob(agent.perceive(view, None).z, run.parameters[name])
        for (name, agent), view in zip(run.models.items(), views, strict=True)
    ]
    logits = torch.stack([*tables, torch.stack(tables).sum(0)])
    laws = (logits + torch.cat([log_pi, joint_log_pi]).unsqueeze(1)).softmax(-1)
    probability, signs = (part.numpy() for part in laws.max(-1))
    return InferredSigns(signs[:-1], probability[:-1], signs[-1], probability[-1])


# -- scores ------------------------------------------------------------------------------------------


def classes_of_signs(run: SavedRun) -> list[Any]:
    """Match signs to classes for each agent and, last, for the joint signs: M + 1 arrays (K,).

    The matching uses the run's own final signs and labels; the joint one pools all agents' signs.
    All entries are -1 for a run without labels. A sentence has the class with the attributes that its words tell, if
    the objects have attributes, so it can be right about a combination that the run does not have.
    """
    K, labels = run.config.signs, run.objects.labels
    if labels is None or K > _MOST_MATCHED:
        return [np.full(K, -1)] * (len(run.agents) + 1)
    attributes = None if run.config.sentences is None else attributes_of(run.objects.class_names, labels)
    if attributes is not None:
        return [_told_classes(run, words, attributes) for words in run.words.values()] + [
            _told_classes(run, np.concatenate(list(run.words.values())), np.tile(attributes, (len(run.agents), 1)))
        ]
    classes = len(run.objects.class_names)
    counts = [matching.contingency_table(signs, labels, K, classes) for signs in run.signs.values()]
    return [matching.match_signs(table) for table in [*counts, np.sum(counts, axis=0)]]


def _told_classes(run: SavedRun, words: Ints, attributes: Ints) -> Ints:
    """The class with the attributes that each sentence tells: (K,), -1 without one.

    words (N, S), attributes (N, A): the objects on which words are matched with values.
    """
    sentences = run.config.sentences
    assert sentences is not None
    told = fit_decoder(words, attributes).decode(sentences.split(torch.arange(sentences.count)).numpy())
    classes = {tuple(map(int, name.split())): k for k, name in enumerate(run.objects.class_names)}
    return np.array([classes.get(tuple(row), -1) for row in told.tolist()])


def score(
    inferred: InferredSigns, names: Sequence[str], labels: Ints | None, sign_classes: Sequence[Ints]
) -> dict[str, Any]:
    """Score the signs of new objects. Scores that need `labels` (B,) are None without them.

    sign_classes: from `classes_of_signs`; an object whose sign has no class (-1) counts as an error. Without any
    matched sign, as for a run without labels, the accuracy is None.
    """
    rows = {}
    for row, signs, classes in zip([*names, "joint"], [*inferred.signs, inferred.joint], sign_classes, strict=True):
        rows[row] = {
            "ari": partitions.ari(signs, labels),
            "nmi": partitions.nmi(signs, labels),
            "accuracy": None if labels is None or (classes < 0).all() else float((classes[signs] == labels).mean()),
        }
    return {
        "objects": len(inferred.joint),
        "agents": {agent: rows[agent] for agent in names},
        "joint": rows["joint"],
        "kappa": partitions.mean_pairwise_kappa(inferred.signs),
        "agreed": float((inferred.signs == inferred.signs[0]).all(0).mean()),
    }


def score_lines(scores: Mapping[str, Any]) -> list[str]:
    """The scores as printed lines."""
    lines = []
    for title, row in [
        *((f"Agent {agent}", row) for agent, row in scores["agents"].items()),
        ("Joint", scores["joint"]),
    ]:
        if row["ari"] is not None:
            accuracy = "" if row["accuracy"] is None else f", accuracy {decimal(row['accuracy'])}"
            lines.append(f"{title}: ARI {decimal(row['ari'])}, NMI {decimal(row['nmi'])}{accuracy}")
    kappa = decimal(scores["kappa"])
    return [*lines, f"Kappa: {kappa}; agreed on {scores['agreed']:.1%} of {scores['objects']} objects"]


# -- rows --------------------------------------------------------------------------------------------


def table_rows(run: SavedRun, objects: NewObjects, inferred: InferredSigns) -> Iterator[dict[str, Any]]:
    """One row per object: its name, label if known, signs and probabilities by agent and joint, and agreement.

    A sentence is a list of words, in a column that is called sentence, not sign.
    """
    sentences = run.config.sentences
    kind = "sign" if sentences is None else "sentence"

    def said(sign: Any) -> int | list[int]:
        return int(sign) if sentences is None else sentences.digits(int(sign))

    for n, object_name in enumerate(objects.names):
        row: dict[str, Any] = {objects.heading: object_name}
        if objects.labels is not None:
            row["label"] = objects.class_names[objects.labels[n]]
        for m, agent in enumerate(run.agents):
            row |= {
                f"{kind}_{agent}": said(inferred.signs[m, n]),
                f"probability_{agent}": round(float(inferred.probability[m, n]), 6),
            }
        yield row | {
            f"joint_{kind}": said(inferred.joint[n]),
            "joint_probability": round(float(inferred.joint_probability[n]), 6),
            "agree": bool((inferred.signs[:, n] == inferred.signs[0, n]).all()),
        }


def _to_text(rows: Iterator[dict[str, Any]], form: str) -> str:
    buffer = io.StringIO()
    if form == "jsonl":
        for row in rows:
            buffer.write(json.dumps(row, ensure_ascii=False) + "\n")
        return buffer.getvalue()
    writer: csv.DictWriter[str] | None = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(buffer, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """A value for CSV: true and false, and the words of a sentence with spaces between them."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value
