"""Split and merge: a step from one vocabulary to another that single names cannot make.

A game that names two classes by one sign and one class by two stays there: every object on the way would have to be
misnamed first. Here a speaker proposes at once that sign l give its objects to sign m, and take a part of the objects
of sign k instead; the part is what the speaker, by its own percepts, would call another kind. Each agent judges the
whole proposal by its own evidence. (After Jain and Neal 2004, "A split-merge Markov chain Monte Carlo procedure for
the Dirichlet process mixture model"; here for a fixed number of signs, so that each split is paid for by a merger.)

For objects with one sign shared by all agents this leaves p(w | z), parameters integrated out, unchanged:

    k, l, m      three different signs, uniformly
    i, j         two objects of k; i', j' two objects of l or m: the seeds of the two divisions, uniformly
    q(w')        every object of k goes to l with a probability that the speaker finds from (i, j) without chance
    q(w)         the same for the way back: how l and m were divided, from (i', j')

    accept with min(1, p(w', z) q(w) / (p(w, z) q(w')))

The way back is the same step for (m, l, k) with the seeds exchanged, and signs and seeds are as probable there.
Parameters are drawn anew given the signs, accepted or not.

What crosses between agents, beyond names: a scalar from each, its change of log evidence, and the speaker's
log q(w) - log q(w').
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from mhng.inference.types import Divider


class Proposal(NamedTuple):
    """A step that was proposed, and what became of it."""

    signs: Tensor  # (C, N) after the step
    accepted: Tensor  # (C,)
    log_ratio: Tensor  # (C,)


def split_merge(
    generator: torch.Generator,
    log_prior: Tensor,
    players: Sequence[Divider],
    speaker: int,
    signs: Tensor,
) -> Proposal:
    """One step for each chain, from signs (C, N) that all players share. log_prior (K,) or (C, K), K >= 3.

    The speaker's choices, its division and the coin are drawn from `generator`.
    """
    K = log_prior.shape[-1]
    if K < 3:
        raise ValueError(f"a split that is paid for by a merger needs three signs or more; there are {K}")
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
    coin = torch.rand(C, generator=generator, dtype=log_ratio.dtype, device=log_ratio.device).log()
    accepted = coin < log_ratio  # not where it is NaN
    return Proposal(torch.where(accepted.unsqueeze(1), proposed, signs), accepted, log_ratio)


def _seeds(generator: torch.Generator, group: Tensor) -> Tensor:
    """Two objects of each group (C, N), uniformly, perhaps the same: (C, 2). Of an empty group any two."""
    draws = torch.rand(2, *group.shape, generator=generator, device=group.device)
    return torch.where(group, draws, -1.0).argmax(-1).T


def _log_probability(log_odds: Tensor, taken: Tensor, group: Tensor) -> Tensor:
    """(C,) of exactly those objects of the group being taken."""
    each = torch.where(taken, logsigmoid(log_odds), logsigmoid(-log_odds))
    return torch.where(group, each, 0.0).sum(1)
