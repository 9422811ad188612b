"""Exact laws of small games by enumeration: posteriors, transition matrices, stationary laws.

No random numbers. Transition matrices use the functions of the game (`mhng.models.belief`, acceptance rules), so a
fault there shows here; the posteriors do not use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mhng.inference.proposals import Rule
from mhng.models.belief import offer, proposal_logits

_CHUNK = 2**14


class EvidencePlayer(Protocol):
    """A player with a log evidence."""

    def evidence(self, signs: Tensor, K: int) -> Tensor:
        """(C,) log p(z | signs)."""


def sign_posterior(log_prior: Tensor, tables: Sequence[Tensor]) -> Tensor:
    """P(w_n | z^1_n, ..., z^M_n, phi) with fixed parameters: log_prior (K,), M tables (N, K) -> (N, K)."""
    logits = log_prior.clone()
    for table in tables:
        logits = logits + table
    return logits.softmax(-1)


def transition_matrix(log_prior: Tensor, speaker: Tensor, listener: Tensor, rule: Rule) -> Tensor:
    """P(next sign = j | current sign = i) for one object and two agents: log_prior, speaker, listener (K,) -> (K, K).

    The listener accepts proposal j with the rule's probability and otherwise keeps i. A ratio that is NaN is a
    rejection.
    """
    K = len(listener)
    proposal = proposal_logits(log_prior, speaker.unsqueeze(0)).softmax(-1)
    current, proposed = torch.arange(K).repeat_interleave(K), torch.arange(K).repeat(K)
    offered = offer(listener.expand(K * K, K), proposed, current)
    accept = torch.where(offered.log_ratio.isnan(), 0.0, rule(offered).exp()).view(K, K)
    moves = proposal * accept
    moves = moves - moves.diagonal().diag_embed()
    return moves + (1 - moves.sum(1)).diag_embed()


def stationary(matrix: Tensor) -> Tensor:
    """The stationary law (K,) of an irreducible transition matrix (K, K)."""
    K = len(matrix)
    equations = torch.cat([(matrix.T - torch.eye(K, dtype=matrix.dtype)), torch.ones(1, K, dtype=matrix.dtype)])
    right = torch.cat([torch.zeros(K, dtype=matrix.dtype), torch.ones(1, dtype=matrix.dtype)])
    return torch.linalg.lstsq(equations, right.unsqueeze(1)).solution.squeeze(1)


def all_signs(N: int, K: int) -> Tensor:
    """All assignments of K signs to N objects: (K^N, N)."""
    return torch.cartesian_prod(*[torch.arange(K)] * N).view(-1, N)


def joint_posterior(players: Sequence[EvidencePlayer], log_prior: Tensor, N: int) -> Tensor:
    """P(w_1..w_N | z^1, ..., z^M), parameters integrated out, for each row of `all_signs`: (K^N,)."""
    K = len(log_prior)
    logits = []
    for signs in all_signs(N, K).split(_CHUNK):  # a million assignments at once would take gigabytes
        total = log_prior[signs].sum(1)
        for player in players:
            total = total + player.evidence(signs, K)
        logits.append(total)
    return torch.cat(logits).softmax(0)
