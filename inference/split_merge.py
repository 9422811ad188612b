"""Split-merge steps: Metropolis-Hastings moves between vocabularies that single-sign moves do not connect.

A game in which two classes share a sign and another class has two signs stays there: single-sign moves lead through
improbable states. A split-merge step changes three signs k, l, m at once: objects of l join m, and a part of the
objects of k becomes l. (After Jain and Neal 2004, "A split-merge Markov chain Monte Carlo procedure for the Dirichlet
process mixture model"; here K is fixed, so each split comes with a merger.)

With one sign per object shared by all agents, the step keeps p(w | z), parameters integrated out:

    k, l, m      three different signs, uniformly
    i, j         two objects of k; i', j' two objects of l or m: the seeds of the two bipartitions, uniformly
    q(w')        each object of k becomes l with a probability that the speaker computes from (i, j) (EM, no draws)
    q(w)         the reverse move: the bipartition of l and m from (i', j')

    accept with min(1, p(w', z) q(w) / (p(w, z) q(w')))

The reverse move is the same step for (m, l, k) with the seeds exchanged; signs and seeds have equal probability there.
Parameters are redrawn given the signs after the step.

Agents exchange, besides signs, a scalar each: the change of its log evidence; and the speaker's log q(w) - log q(w').
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mhng.inference.types import SplitMergePlayer


class SplitMergeStep(NamedTuple):
    """The result of a step."""

    signs: Tensor  # (C, N) after the step
    accepted: Tensor  # (C,)
    log_ratio: Tensor  # (C,)


def split_merge(
    generator: torch.Generator,
    log_prior: Tensor,
    players: Sequence[SplitMergePlayer],
    speaker: int,
    signs: Tensor,
) -> SplitMergeStep:
    """One step for each chain, from shared signs (C, N): log_prior (K,) or (C, K), K >= 3.

    All draws come from `generator`, the speaker's. Raises ValueError for K < 3.
    """
    K = log_prior.shape[-1]
    if K < 3:
        raise ValueError(f"split-merge steps require 3 signs or more; K is {K}")
    C = len(signs)
    order = torch.rand(C, K, generator=generator, device=signs.device).argsort(1)
    k, l, m = order[:, :3].unsqueeze(-1).unbind(1)  # (C, 1) each  # noqa: E741 - the letters of the docstring
    split, joined = signs == k, (signs == l) | (signs == m)
    there = players[speaker].bipartition_logits(split, _seeds(generator, split))
    back = players[speaker].bipartition_logits(joined, _seeds(generator, joined))

    taken = split & (
        torch.rand(there.shape, generator=generator, dtype=there.dtype, device=there.device).logit() < there
    )
    proposed = torch.where(joined, m, signs).where(~taken, l)
    log_q = _log_probability(there, taken, split)
    log_q_back = _log_probability(back, signs == l, joined)
    log_prior = log_prior.expand(C, K)
    change = (log_prior.gather(1, proposed) - log_prior.gather(1, signs)).sum(1)
    for player in players:
        change = change + player.evidence(proposed, K) - player.evidence(signs, K)
    log_ratio = change + log_q_back - log_q
    log_u = torch.rand(C, generator=generator, dtype=log_ratio.dtype, device=log_ratio.device).log()
    accepted = log_u < log_ratio  # False for NaN
    return SplitMergeStep(torch.where(accepted.unsqueeze(1), proposed, signs), accepted, log_ratio)


def _seeds(generator: torch.Generator, group: Tensor) -> Tensor:
    """Two objects of each group (C, N), uniformly and possibly equal: (C, 2). Arbitrary for an empty group."""
    draws = torch.rand(2, *group.shape, generator=generator, device=group.device)
    return torch.where(group, draws, -1.0).argmax(-1).T


def _log_probability(log_odds: Tensor, taken: Tensor, group: Tensor) -> Tensor:
    """log probability (C,) that exactly the objects `taken` of the group are taken."""
    log_p = torch.where(taken, logsigmoid(log_odds), logsigmoid(-log_odds))
    return torch.where(group, log_p, 0.0).sum(1)
