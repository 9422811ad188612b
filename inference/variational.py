"""The variational naming game: agents tell each other how much they think of every sign, instead of proposing one.

The integrative model of the game (docs/correctness.md) with a posterior that falls apart,

    q(w, phi^A, phi^B, ...) = prod_n q(w_n)  q(phi^A) q(phi^B) ...

whose factors are made best in turn (variational Bayes: Attias 1999; Bishop 2006, section 10.2). A variational
Bayesian naming game is what Nagano et al. (2025) speak of; only their abstract could be read, and this is our own. Of
an object n agent m says

    lambda^m_nk = E_q(phi^m)[log p(z^m_n | w_n = k, phi^m)]    K numbers, the natural parameters of a categorical

and who listens adds what it heard to its own, q(w_n = k) proportional to pi_k exp(sum_m lambda^m_nk), and makes its
q(phi) the best for that. No percept and no parameter crosses; more than a name does. Nothing is drawn, nothing is
refused: the game climbs to the nearest maximum of a bound of the log evidence and stands there.

An agent's sign is the one that its q(w_n) thinks most of. Who meets whom is as in every game:
`mhng.inference.topology`.

The bound never falls where all meet together, one after another. In pairs each agent knows what one other said, and
where they are `synchronous` all change at once; neither is the ascent of any bound.

Shapes: C chains, M agents, N objects, K signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from mhng.inference.proposals import joint_logits
from mhng.inference.remote import Table
from mhng.inference.topology import Meetings, lonely
from mhng.inference.types import Belief, Player, State


class Expecting(Player, Protocol):
    """A player that can also believe an object to be of several signs."""

    def expect(self, shares: Tensor) -> Belief:
        """Its belief if object n belongs to sign k by its share: shares (C, N, K), which are 1 summed over signs.

        The belief's table is what it says, E_q[log p(z_n | k, phi)], and its `log_density` is -KL(q(phi) || p(phi)).
        """


def begin(players: Sequence[Player], signs: Tensor, K: int) -> State:
    """Begin from signs (C, M, N), of which every agent is sure."""
    own = [torch.nn.functional.one_hot(signs[:, m], K).double() for m in range(len(players))]
    beliefs = tuple(cast(Expecting, player).expect(shares) for player, shares in zip(players, own, strict=True))
    return State(signs, signs, beliefs)


def sweep(
    log_prior: Tensor, meetings: Meetings, players: Sequence[Player], state: State, number: int
) -> tuple[State, int]:
    """Every encounter of sweep `number`; also how many messages of K numbers were said."""
    M, N = len(players), state.signs.shape[-1]
    listens = [(*speakers, listener) for *speakers, listener in meetings.encounters(M, number)]
    messages = N * sum(len(encounter) - 1 for encounter in listens)
    listens += [(m,) for m in lonely(meetings, M, number)]
    if meetings.synchronous:
        heard: dict[int, list[int]] = {}
        for *speakers, listener in listens:
            heard.setdefault(listener, []).extend(speakers)
        listens = [(*speakers, listener) for listener, speakers in heard.items()]
    signs, beliefs, before = state.signs.clone(), list(state.beliefs), state.beliefs
    for encounter in listens:
        said = before if meetings.synchronous else beliefs
        logits = joint_logits(log_prior, [_said(said[m].table) for m in encounter])
        listener = encounter[-1]
        beliefs[listener] = cast(Expecting, players[listener]).expect(logits.softmax(-1))
        signs[:, listener] = logits.argmax(-1)
    return State(signs, signs, tuple(beliefs)), messages


def bound(log_prior: Tensor, state: State) -> Tensor:
    """The lower bound of log p(all percepts), with the best q(w) for what all agents believe: (C,).

    log sum_k pi_k exp(sum_m lambda^m_nk) over objects, less each agent's KL(q(phi^m) || p(phi^m)).
    """
    logits = joint_logits(log_prior, [_said(belief.table) for belief in state.beliefs])
    return logits.logsumexp(-1).sum(-1) + torch.stack([belief.log_density for belief in state.beliefs]).sum(0)


def _said(table: Table) -> Tensor:
    assert isinstance(table, Tensor), "agents in other processes do not play the variational game"
    return table
