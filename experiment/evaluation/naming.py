"""What agents call what they see, when nobody proposes anything: each alone, and all of them together.

    alone     P(w | z^m)            proportional to  pi_w N(z^m; mu^m_w, Lambda^m_w^-1)
    jointly   P(w | z^A, z^B, ...)  proportional to  pi_w prod_m N(z^m; mu^m_w, Lambda^m_w^-1)

z^m is the mean of q(z | x^m): nothing is drawn, so that a name depends on the image alone. The joint decision is what
the naming game samples from (with its parameters fixed); no agent could take it by itself. Both are given by their
most probable sign.

Notation: M agents, B objects, K signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mhng.experiment.metrics import partitions
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
