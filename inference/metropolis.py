"""One direction of the naming game: a speaker names every object, a listener accepts or keeps its own sign.

The coin of `proposals`. All objects, and all chains, at once: given the parameters, the names of different
objects are independent.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference.proposals import Rule, offer, proposal_logits
from mhng.models.rng import Streams, uniform


class Turn(NamedTuple):
    """The outcome of one direction."""

    signs: Tensor  # (C, N) the listener's signs afterwards
    proposed: Tensor  # (C, N) what the speaker said
    accepted: Tensor  # (C, N) bool
    not_a_number: Tensor  # (C, N) bool


def draw(generator: Streams, logits: Tensor) -> Tensor:
    """One sign per row: logits (..., K), any constant added -> (...). By inversion: one uniform number a row."""
    cumulated = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1)
    total = cumulated[..., -1]
    u = uniform(generator, total)
    # Strictly below the total, also where u * total is rounded up to it: a sign of probability 0 is never drawn.
    level = torch.minimum(u * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulated <= level.unsqueeze(-1)).sum(-1)


def answer(generator: Streams, listener_table: Tensor, proposed: Tensor, current: Tensor, rule: Rule) -> Turn:
    """A listener accepts what is `proposed` (C, N), or keeps its `current` (C, N): its table (C, N, K)."""
    offered = offer(listener_table, proposed, current)
    log_u = uniform(generator, offered.log_ratio).log()
    # Two impossible signs are a rejection, also by rules that never look at the ratio.
    not_a_number = offered.log_ratio.isnan()
    accepted = (log_u < rule(offered)) & ~not_a_number
    return Turn(
        signs=torch.where(accepted, proposed, current),
        proposed=proposed,
        accepted=accepted,
        not_a_number=not_a_number,
    )


def step(
    speaker_generator: torch.Generator,
    listener_generator: torch.Generator,
    log_prior: Tensor,
    speaker_table: Tensor,
    listener_table: Tensor,
    current: Tensor,
    rule: Rule,
) -> Turn:
    """Propose and accept: log_prior (K,), tables (C, N, K), `current` (C, N) is the listener's w_cur.

    Each agent draws from its own generator, so that one agent's randomness never depends on another's.
    """
    proposed = draw(speaker_generator, proposal_logits(log_prior, speaker_table))
    return answer(listener_generator, listener_table, proposed, current, rule)
