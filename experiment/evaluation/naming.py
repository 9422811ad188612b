"""What agents call what they see, when nobody proposes anything: each alone, and all of them together.

    alone     P(w | z^m)            proportional to  pi_w N(z^m; mu^m_w, Lambda^m_w^-1)
    jointly   P(w | z^A, z^B, ...)  proportional to  pi_w prod_m N(z^m; mu^m_w, Lambda^m_w^-1)

z^m is the mean of q(z | x^m): nothing is drawn, so that a name depends on the image alone. The joint decision is what
the naming game samples from (with its parameters fixed); no agent could take it by itself. Both are given by their
most probable sign.

Notation: M agents, B objects, K signs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.data.custom import dataset as own
from mhng.experiment.errors import UsageError
from mhng.experiment.evaluation import matching, new_objects
from mhng.experiment.evaluation.new_objects import Unseen
from mhng.experiment.metrics import partitions
from mhng.experiment.metrics.thresholds import KAPPA_PARTLY
from mhng.experiment.runs import folder as run_folder
from mhng.experiment.settings.parsing import entries_of
from mhng.experiment.training.restore import Trained, load_trained
from mhng.experiment.util.jsonable import to_plain
from mhng.experiment.util.output import check_out, write_out
from mhng.experiment.util.text import decimal
from mhng.models.agent import Agent
from mhng.models.percepts import Percepts

# Times the usual distance from the middle
_FAR = 1e4

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Said(NamedTuple):
    """The most probable signs and their probabilities."""

    signs: Ints  # (M, B) each agent's
    probability: Floats  # (M, B)
    joint: Ints  # (B,)
    joint_probability: Floats  # (B,)


@torch.no_grad()
def say(agents: Sequence[Agent], components: Sequence[Any], views: Sequence[Tensor]) -> Said:
    """What the agents say of B objects: views, one an agent, (B, *shape)."""
    log_pi = torch.stack([agent.log_pi for agent in agents])
    together = log_pi.logsumexp(0, keepdim=True) - math.log(len(agents))  # where agents differ, the mean of their pi
    tables = [_judged(agent, own, view) for agent, own, view in zip(agents, components, views, strict=True)]
    logits = torch.stack([*tables, torch.stack(tables).sum(0)])
    laws = (logits + torch.cat([log_pi, together]).unsqueeze(1)).softmax(-1)
    probability, signs = (part.numpy() for part in laws.max(-1))
    return Said(signs[:-1], probability[:-1], signs[-1], probability[-1])


def _judged(agent: Agent, own: Any, view: Tensor) -> Tensor:
    """log p(z | w, phi) of each object: (B, K)."""
    percepts = agent.perceive(view, None)
    table: Tensor = percepts.judge(own)
    # Percepts are measured from their mean, in which one that lies far off would drown all the others' digits.
    off = (percepts.z - percepts.z.nanmedian(0).values).abs()
    far = ~(off <= _FAR * (1 + off.nanmedian(0).values)).all(1)  # also what is no number
    if far.any():
        near = ~far
        if near.any():
            table[near] = Percepts(percepts.z[near], percepts.mixture).judge(own)
        for n in far.nonzero().flatten().tolist():
            table[n] = Percepts(percepts.z[n : n + 1], percepts.mixture).judge(own)[0]
    return table


def joined(parts: Sequence[Said]) -> Said:
    """Chunks of objects, put together in their order."""
    return Said(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))


def score(said: Said, names: Sequence[str], labels: Ints | None, classes_of: Sequence[Ints]) -> dict[str, Any]:
    """Scores of new objects, as plain values; those that need `labels` (B,) are None without.

    classes_of: the class that each sign means, for each agent and, last, for their joint decision, (M + 1) of (K,),
    -1 for none; an object whose sign means none is an error. They come from the objects of the run; where no sign
    means any, as in a run without labels, there is no accuracy.
    """
    rows = {}
    for name, signs, mapped in zip([*names, "joint"], [*said.signs, said.joint], classes_of, strict=True):
        rows[name] = {
            "ari": partitions.ari(signs, labels),
            "nmi": partitions.nmi(signs, labels),
            "accuracy": None if labels is None or (mapped < 0).all() else float((mapped[signs] == labels).mean()),
        }
    return {
        "objects": len(said.joint),
        "agents": {name: rows[name] for name in names},
        "joint": rows["joint"],
        "kappa": partitions.mean_pairwise_kappa(said.signs),
        "agreed": float((said.signs == said.signs[0]).all(0).mean()),
    }


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
            right = "" if scored["accuracy"] is None else f", accuracy {decimal(scored['accuracy'])}"
            text.append(f"{agent}: ARI {decimal(scored['ari'])}, NMI {decimal(scored['nmi'])}{right}")
    text.append(f"Kappa: {decimal(found['kappa'])}; agreed on {found['agreed']:.1%} of {found['objects']} objects")
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
