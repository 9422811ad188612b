"""The recursive naming game: proposals from several agents to one listener (Inukai et al. 2023, RMHNG).

Notation: M agents in a row, agent m with likelihood N(z^m; w); agent M is the listener. C chains, N objects, K signs.

With two agents, the proposal is one draw of the speaker from pi_w N(z^1; w). With M agents, the proposal to agent M is
the outcome of an inner game among agents 1..M-1, whose last agent M-1 receives its proposals from an inner game among
agents 1..M-2, and so on down to agent 1, who draws from pi_w N(z^1; w). The listener needs its own likelihood ratio
only. The length of the inner games is a choice:

    ll:T   limited length: each agent between the first and the last makes T tries, one inner game each. One proposal
           takes T^(M-2) draws of agent 1
    os     one sample: ll:1
    exact  agent 1 draws until every agent between accepts, with probability N(z; w*) / max_w N(z; w). An object that
           would take more than MOST_DRAWS draws gets ll:16 from the sign of the agent above instead

The sign at which an inner game of `os` and `ll` starts is a choice too:

    listener  the sign that the agent above (the agent that receives the outcome) holds at that moment
    own       the sign of the agent that plays the inner game

From `listener` the law is exact for every M and T. Proof by induction: let Q_m(w -> w') be the law of the outcome of
agents 1..m for an agent above that holds w. Q_1 does not depend on w, so it is reversible with respect to
pi_w N(z^1; w). If Q_(m-1) is reversible with respect to pi_w N(z^1; w) ... N(z^(m-1); w), then one try of agent m, a
proposal from Q_(m-1) accepted with min(1, N(z^m; w*) / N(z^m; w)), is reversible with respect to
pi_w N(z^1; w) ... N(z^m; w), and so are T tries in a row. The proof needs the current sign at every try: agent m
moves during its tries, and the next inner game below it starts at the sign that agent m holds then.

From `own` the proposal depends on signs other than the sign that it is compared with; the law has a bias that falls
with T (docs/correctness.md).

`exact` is a rejection sampler for P(w | z^1..z^(M-1)) (Corcoran and Tweedie 2002 reach the same law by coupling from
the past). Its cost grows exponentially with M and with the disagreement between agents; see `expected_draws`. The
tables decide which objects get ll:16, and both kernels keep the same law, so the law of the game stays exact.

With two agents, all variants are the two-agent game. Agents exchange signs only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mhng.inference import RECURSIONS
from mhng.inference.proposals import Rule
from mhng.inference.types import Stream, TableBelief
from mhng.models.belief import proposal_logits
from mhng.models.rng import categorical

# Most expected draws per object in `exact`: beyond it, a proposal takes minutes on a CPU.
MOST_DRAWS = 10**6
# T of the inner games for objects beyond MOST_DRAWS.
_LENGTH_BEYOND = 16
# Most simultaneous draws for one object in `exact`, when few objects are left.
_BLOCK = 4096


class Speaker(NamedTuple):
    """One agent of the row."""

    generator: Stream
    belief: Any  # a `Belief`, or the answers of a block of words
    rule: Rule  # its acceptance rule; not used for the first agent
    start: Tensor | None = None  # (C, N) start of its inner games; None: the sign of the agent above


class Proposal(NamedTuple):
    """The proposal to the listener."""

    signs: Tensor  # (C, N)
    messages: Tensor  # (C,) signs that agents sent to each other for it


def inner_length(recursion: str) -> int | None:
    """T, the tries of an agent between; None for "exact". Raises ValueError for another name."""
    if recursion == "exact":
        return None
    if recursion == "os":
        return 1
    if (match := re.fullmatch(r"ll:([1-9][0-9]{0,5})", recursion)) is not None:
        return int(match[1])
    raise ValueError(f"must be one of {', '.join(RECURSIONS)} (T from 1); it is {recursion!r}")


def propose(log_prior: Tensor, speakers: Sequence[Speaker], length: int | None, current: Tensor) -> Proposal:
    """Make a proposal to a listener whose current signs are `current` (C, N).

    Args:
        log_prior: (K,), or (C, 1, K) if chains differ.
        speakers: the row of agents, first agent first. With one agent, the proposal is its draw.
        length: T, or None for "exact".
    """
    if length is None and len(speakers) > 1:
        return _exact(log_prior, speakers, current)
    signs = _outcome(log_prior, speakers, length or 1, current)
    C, N = signs.shape
    return Proposal(signs, torch.full((C,), N * _messages(speakers, length or 1), device=signs.device))


def _messages(speakers: Sequence[Speaker], length: int) -> int:
    """Signs that are sent for the proposal of one object with T = `length`."""
    from_above = all(speaker.start is None for speaker in speakers[1:])
    return proposals_sent(len(speakers), length) + (starts_sent(len(speakers), length) if from_above else 0)


def proposals_sent(speakers: int, length: int) -> int:
    """Proposals for one object, by all agents of a row with T = `length`: sum of T^j, j = 0 for the last agent."""
    return sum(length**place for place in range(speakers))


def starts_sent(speakers: int, length: int) -> int:
    """Start signs for one object: one from the agent above for each inner game of two agents or more."""
    return proposals_sent(speakers - 1, length)


def expected_draws(log_prior: Tensor, first: Tensor, between: Sequence[Tensor]) -> Tensor:
    """Expected draws of the first agent for one proposal of "exact": tables (..., N, K) -> (..., N)."""
    logits = proposal_logits(log_prior, first)
    accepted = logits + torch.stack([_relative_to_best(table) for table in between]).sum(0)
    return (logits.logsumexp(-1) - accepted.logsumexp(-1)).exp()


def _outcome(log_prior: Tensor, speakers: Sequence[Speaker], length: int, above: Tensor) -> Tensor:
    """The outcome (C, N) of an inner game of `os` or `ll:T`; `above` (C, N) is the current sign of the agent above."""
    *before, last = speakers
    if not before:
        drawn: Tensor = last.belief.propose(last.generator, log_prior)
        return drawn
    signs = above if last.start is None else last.start
    for _ in range(length):
        proposed = _outcome(log_prior, before, length, signs)
        signs = last.belief.respond(last.generator, proposed, signs, last.rule).signs
    return signs


def _exact(log_prior: Tensor, speakers: Sequence[Speaker], current: Tensor) -> Proposal:
    """The proposal of "exact"; ll:16 for objects that would take too many draws."""
    first, *between = speakers
    # The number of draws depends on the tables, so all agents must be in this process.
    tables = [cast(TableBelief, speaker.belief).table for speaker in speakers]
    endless = expected_draws(log_prior, tables[0], tables[1:]) > MOST_DRAWS
    found = _unanimous(log_prior, first, between, endless)
    if not endless.any():
        return Proposal(found.signs, found.messages.sum(1))
    row = [speaker._replace(start=None) for speaker in speakers]
    signs = torch.where(endless, _outcome(log_prior, row, _LENGTH_BEYOND, current), found.signs)
    messages = torch.where(endless, _messages(row, _LENGTH_BEYOND), found.messages)
    return Proposal(signs, messages.sum(1))


def _unanimous(log_prior: Tensor, first: Speaker, between: Sequence[Speaker], left_out: Tensor) -> Proposal:
    """Draws of the first agent, for each object and chain until all agents between accept one.

    left_out: mask (C, N) of objects without a proposal. The messages are those of each object, (C, N).
    """
    log_p, *tables = [cast(TableBelief, speaker.belief).table for speaker in (first, *between)]
    logits = proposal_logits(log_prior, log_p)
    C, N, K = log_p.shape
    tables = [_relative_to_best(table).reshape(C * N, K) for table in tables]
    logits = logits.expand(C, N, K).reshape(C * N, K)
    signs = torch.zeros(C * N, dtype=torch.int64, device=logits.device)
    messages = torch.zeros(C * N, dtype=torch.int64, device=logits.device)
    left = (~left_out).flatten().nonzero().squeeze(1)
    while len(left):
        # Many draws at once when few objects are left; draws after the first success are discarded.
        tries = min(_BLOCK, max(1, C * N // len(left)))
        draws = categorical(first.generator, logits[left].unsqueeze(1).expand(-1, tries, -1))
        accepted = torch.ones_like(draws, dtype=torch.bool)
        sent = torch.ones_like(draws)  # by the first agent, and by each agent that accepted
        for speaker, table in zip(between, tables, strict=True):
            u = torch.rand(draws.shape, generator=speaker.generator, dtype=torch.float64, device=draws.device)
            accepted &= u.log() < table[left].gather(1, draws)
            sent += accepted
        done = accepted.any(1)
        success = accepted.to(torch.int8).argmax(1)
        used = torch.arange(tries, device=draws.device) <= torch.where(done, success, tries).unsqueeze(1)
        messages[left] += (sent * used).sum(1)
        signs[left[done]] = draws[done].gather(1, success[done].unsqueeze(1)).squeeze(1)
        left = left[~done]
    return Proposal(signs.view(C, N), messages.view(C, N))


def _relative_to_best(table: Tensor) -> Tensor:
    """log N(z; w) / max_w N(z; w); 0 for every sign if all signs are impossible."""
    best = table.amax(-1, keepdim=True)
    return torch.where(best.isfinite(), table - best, 0.0)
