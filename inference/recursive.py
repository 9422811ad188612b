"""What several agents propose to one more: the recursive naming game (Inukai et al. 2023, RMHNG).

For two agents the proposal is one draw of the speaker's, and the listener's acceptance makes of it a chain of
P(w | z^1, z^2). For M agents in a row, the proposal to the last is made by a game among those before it, whose law
is to be P(w | z^1..z^(M-1)), and so on down to the first, who draws by itself. Then the last one's likelihood ratio is
again all that the acceptance needs. How long those inner games are is a choice:

    ll:T   limited length: every agent between plays a chain of T proposals, each of them made by the agents before it
           in the same way: T^(M-2) draws of the first agent for one proposal
    os     one sample, ll:1: a sign walks down the row, and each agent passes on what it holds after hearing it
    exact  the first agent names anew until all agents between, one after the other, accept, each against the sign that
           it finds best itself, with probability N(z; w*) / max_w N(z; w)

And where they begin, for `os` and `ll`:

    listener  at the sign that the listener holds and has said. An inner chain is reversible with respect to
              P(w | z^1..z^(M-1)), however short it is, and begins where the listener's chain stands: so the acceptance
              min(1, N(z^M; w*) / N(z^M; w)) satisfies detailed balance with P(w | z^1..z^M), for every T. With `os` a
              name is taken up if everybody accepts it, one after the other
    own       at the sign that each agent between holds itself. Proposals then depend on what has nothing to do with
              the sign they are compared with, and the law has a bias that falls with T (docs/correctness.md)

`exact` makes independent proposals: an agent that holds its best sign accepts just as often as a rejection sampler
must, so what all accept is a fresh draw from P(w | z^1..z^(M-1)) (and what the independence chain's coupling from the
past would return; Corcoran and Tweedie 2002). Its price grows exponentially with the number of agents and with what
they disagree about; `expected_draws` tells it beforehand. With two agents there is nobody between, and all of these
are the two-agent game.

Only signs go from agent to agent, in every kind. Shapes: C chains, N objects, K signs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mhng.inference import RECURSIONS
from mhng.inference.metropolis import draw
from mhng.inference.proposals import Rule, proposal_logits
from mhng.inference.remote import Stream, Table, answer, speak

# `exact` gives up before it begins if one object would take more draws than this, which is minutes on a CPU.
MOST_DRAWS = 10**6
# How many draws one object may take at once, when few objects are left.
_BLOCK = 4096


class EndlessGameError(ArithmeticError):
    """An exact proposal would take more draws than anyone waits for; says of which object, and how many."""


class Voice(NamedTuple):
    """One agent in the row."""

    generator: Stream
    table: Table  # (C, N, K)
    signs: Tensor  # (C, N) where its inner game begins
    rule: Rule  # by which it accepts, if it is one of those between


class Proposal(NamedTuple):
    """What is proposed to the last agent."""

    signs: Tensor  # (C, N)
    messages: Tensor  # (C,) names that were said for it among the agents before, and to the last: N or more


def inner_length(recursion: str) -> int | None:
    """Proposals that an agent between hears for each one it passes on; None: as many as it takes ("exact").

    ValueError says what a name must be.
    """
    if recursion == "exact":
        return None
    if recursion == "os":
        return 1
    if (found := re.fullmatch(r"ll:([1-9][0-9]{0,5})", recursion)) is not None:
        return int(found[1])
    raise ValueError(f"must be one of {', '.join(RECURSIONS)} (T from 1); it is {recursion!r}")


def propose(log_prior: Tensor, voices: Sequence[Voice], length: int | None) -> Proposal:
    """The proposal of a row of agents, first speaker first: log_prior (K,), or (C, 1, K) where chains differ.

    With one voice it is its own draw. EndlessGameError from `exact`.
    """
    first, between = voices[0], voices[1:]
    if length is None and between:
        return _unanimous(log_prior, first, between)
    signs = _passed_on(log_prior, first, between, length or 1)
    C, N = signs.shape
    return Proposal(signs, torch.full((C,), N * names_said(len(voices), length or 1), device=signs.device))


def names_said(speakers: int, length: int) -> int:
    """Names said for one proposal of `os` and `ll`, for each object: by each agent to the next in the row."""
    # The agent at place j, from the last to the first, speaks length^j times.
    return sum(length**place for place in range(speakers))


def expected_draws(log_prior: Tensor, first: Tensor, between: Sequence[Tensor]) -> Tensor:
    """Draws of the first agent that `exact` takes for one proposal, on average: tables (..., N, K) -> (..., N)."""
    logits = proposal_logits(log_prior, first)
    accepted = logits + torch.stack([_against_its_best(table) for table in between]).sum(0)
    return (logits.logsumexp(-1) - accepted.logsumexp(-1)).exp()


def _passed_on(log_prior: Tensor, first: Voice, between: Sequence[Voice], length: int) -> Tensor:
    if not between:
        return speak(first.generator, log_prior, first.table)
    last = between[-1]
    held = last.signs
    for _ in range(length):
        heard = _passed_on(log_prior, first, between[:-1], length)
        held = answer(last.generator, last.table, heard, held, last.rule).signs
    return held


def _unanimous(log_prior: Tensor, first: Voice, between: Sequence[Voice]) -> Proposal:
    """Names of the first agent until those between accept; objects and chains wait for none but themselves."""
    # It reads tables, to know when to stop: these agents are all here.
    logits = proposal_logits(log_prior, first.table)
    C, N, K = first.table.shape
    _refuse_the_endless(logits, first, between)
    tables = [_against_its_best(voice.table).reshape(C * N, K) for voice in between]
    logits = logits.expand(C, N, K).reshape(C * N, K)
    signs = torch.zeros(C * N, dtype=torch.int64, device=logits.device)
    said = torch.zeros(C * N, dtype=torch.int64, device=logits.device)
    left = torch.arange(C * N, device=logits.device)
    while len(left):
        # Many tries at once where few objects are left; what comes after the first success is thrown away.
        tries = min(_BLOCK, max(1, C * N // len(left)))
        names = draw(first.generator, logits[left].unsqueeze(1).expand(-1, tries, -1))
        good = torch.ones_like(names, dtype=torch.bool)
        said_here = torch.ones_like(names)  # by the first agent, and by each that accepted
        for voice, table in zip(between, tables, strict=True):
            log_p = table[left].gather(1, names)
            u = torch.rand(names.shape, generator=voice.generator, dtype=torch.float64, device=names.device)
            good &= u.log() < log_p
            said_here += good
        done = good.any(1)
        which = good.to(torch.int8).argmax(1)
        used = torch.arange(tries, device=names.device) <= torch.where(done, which, tries).unsqueeze(1)
        said[left] += (said_here * used).sum(1)
        signs[left[done]] = names[done].gather(1, which[done].unsqueeze(1)).squeeze(1)
        left = left[~done]
    return Proposal(signs.view(C, N), said.view(C, N).sum(1))


def _refuse_the_endless(logits: Tensor, first: Voice, between: Sequence[Voice]) -> None:
    expected = expected_draws(torch.zeros_like(logits[0, 0]), logits, [voice.table for voice in between])
    worst = expected.amax(0)
    if float(worst.max()) > MOST_DRAWS:
        raise EndlessGameError(
            f"an exact recursive proposal would take {float(worst.max()):.1e} names of object {int(worst.argmax())} "
            f"({int((worst > MOST_DRAWS).sum())} objects take more than {MOST_DRAWS:.0e}): --recursion os or ll:T "
            "do not wait"
        )


def _against_its_best(table: Tensor) -> Tensor:
    """log N(z; w) / max_w N(z; w): of a percept that every sign finds impossible, 0 for all."""
    best = table.amax(-1, keepdim=True)
    return torch.where(best.isfinite(), table - best, 0.0)
