"""The variational naming game: agents exchange expected log densities of all signs instead of single signs.

The integrative model with a mean-field posterior

    q(w, phi^1, ..., phi^M) = prod_n q(w_n)  prod_m q(phi^m)

optimised by coordinate ascent (variational Bayes: Attias 1999; Bishop 2006, section 10.2). For object n, speaker m
sends K numbers, the natural parameters of a categorical:

    lambda^m_nk = E_q(phi^m)[log p(z^m_n | w_n = k, phi^m)]

The listener sets q(w_n = k) proportional to pi_k exp(sum_m lambda^m_nk), its own lambda included, and then its q(phi)
to the optimum for these responsibilities. Latents and parameters are not exchanged. The game is deterministic and ends
at a local maximum of the lower bound. An agent's sign is the mode of its q(w_n).

With `Together`, sequential, the lower bound never decreases. Pairs, and synchronous meetings, ascend no bound.

Nagano et al. (2025) name a variational Bayesian naming game; only their abstract was available, and this game is not
taken from it.

Shapes: C chains, M agents, N objects, K signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from mhng.inference.proposals import joint_logits
from mhng.inference.topology import Meetings, isolated_agents
from mhng.inference.types import Belief, Player, State, TableBelief


class VariationalPlayer(Player, Protocol):
    """A player with a variational posterior of its parameters."""

    def variational_belief(self, responsibilities: Tensor) -> TableBelief:
        """The optimal q(phi) given responsibilities (C, N, K), which sum to 1 over signs.

        In the belief, `table` is E_q[log p(z_n | k, phi)] and `log_density` is -KL(q(phi) || p(phi)).
        """


def init(players: Sequence[Player], signs: Tensor, K: int) -> State:
    """The state with q(w) concentrated on signs (C, M, N)."""
    responsibilities = [torch.nn.functional.one_hot(signs[:, m], K).double() for m in range(len(players))]
    beliefs = tuple(
        cast(VariationalPlayer, player).variational_belief(own)
        for player, own in zip(players, responsibilities, strict=True)
    )
    return State(signs, signs, beliefs)


def sweep(
    log_prior: Tensor, meetings: Meetings, players: Sequence[Player], state: State, number: int
) -> tuple[State, int]:
    """Play every encounter of sweep `number`; also returns the number of messages of K numbers."""
    M, N = len(players), state.signs.shape[-1]
    encounters = [(*speakers, listener) for *speakers, listener in meetings.encounters(M, number)]
    messages = N * sum(len(encounter) - 1 for encounter in encounters)
    encounters += [(m,) for m in isolated_agents(meetings, M, number)]
    if meetings.synchronous:
        speakers_of: dict[int, list[int]] = {}
        for *speakers, listener in encounters:
            speakers_of.setdefault(listener, []).extend(speakers)
        encounters = [(*speakers, listener) for listener, speakers in speakers_of.items()]
    signs, beliefs = state.signs.clone(), list(state.beliefs)
    for encounter in encounters:
        sent = state.beliefs if meetings.synchronous else beliefs
        logits = joint_logits(log_prior, [_table(sent[m]) for m in encounter])
        listener = encounter[-1]
        player = cast(VariationalPlayer, players[listener])
        beliefs[listener] = player.variational_belief(logits.softmax(-1))
        signs[:, listener] = logits.argmax(-1)
    return State(signs, signs, tuple(beliefs)), messages


def lower_bound(log_prior: Tensor, state: State) -> Tensor:
    """The lower bound of log p(z^1, ..., z^M), with the optimal q(w) for the agents' q(phi): (C,).

    Sum over objects of log sum_k pi_k exp(sum_m lambda^m_nk), minus sum_m KL(q(phi^m) || p(phi^m)).
    """
    logits = joint_logits(log_prior, [_table(belief) for belief in state.beliefs])
    return logits.logsumexp(-1).sum(-1) + torch.stack([belief.log_density for belief in state.beliefs]).sum(0)


def _table(belief: Belief) -> Tensor:
    return cast(TableBelief, belief).table
