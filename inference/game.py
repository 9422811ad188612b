"""The naming game: what happens in a sweep, in each mode, for M agents and C chains.

A sweep of two agents A, B is A speaks and B listens, then B speaks and A listens; each listener redraws its own
parameters given its own signs before it speaks (Taniguchi et al. 2023, algorithm 1). With more agents every encounter
of `mhng.inference.topology` is such a turn, its proposal made by one agent or by several, recursively
(`mhng.inference.recursive`).

Modes
    com     Metropolis-Hastings: a proposal is accepted by the listener's rule
    no-com  nobody speaks: each agent draws its own signs from its own posterior
    all     every proposal is accepted
    gibbs   the topline: signs are drawn from the product of all agents' likelihoods, which no agent may see
    variational  nothing is drawn: agents tell how much they think of every sign (`mhng.inference.variational`)

Listener states, what a proposal is compared with (com and all)
    chain           the listener's own sign: every agent keeps a chain of its own
    shared          one sign per object for all agents: the textbook sampler of the joint model
    speaker-sample  the listener's own last sample as a speaker (at the beginning of a round: its sign), which is the
                    public reference's rule. It is not
                    a Markov chain of the posterior: the accepted sign updates the parameters and is forgotten

What is proved, for two agents, and for more that meet all together, unless inner games begin at the agents' own signs:
with the parameters held fixed, `chain`, `shared` and `gibbs` have the posterior of the
signs given all percepts as their stationary law. With the parameters redrawn, `shared` and `gibbs` sample the
joint posterior of signs and parameters. `chain` does not exactly: each agent's parameters then follow its own
copy of the signs, and the two conditionals belong to no one joint law (docs/correctness.md measures it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from mhng.inference import batched, variational
from mhng.inference.cuda_graphs import Chain, kept
from mhng.inference.encounters import hearers, meet, meet_at_once
from mhng.inference.log_joint import alone, counts_of, evidence, log_joint, log_pi_of
from mhng.inference.metropolis import draw
from mhng.inference.proposals import acceptance_rule, joint_logits
from mhng.inference.recursive import inner_length
from mhng.inference.remote import Stream, speak
from mhng.inference.spec import Game, rules_of, shares
from mhng.inference.split_merge import split_merge
from mhng.inference.topology import Graph, Together, lonely, newcomers
from mhng.inference.trace import Trace, component_means
from mhng.inference.types import Divider, Info, Player, State

# Sweeps on a GPU that save more time than it takes to capture one.
_WORTH_A_GRAPH = 40

# Who has no names yet has none to compare a name with.
_TAKE = acceptance_rule("constant:1")


def init(players: Sequence[Player], generators: Sequence[Stream], signs: Tensor, K: int, mode: str = "com") -> State:
    """Begin from signs (C, M, N): every agent draws its parameters given its own, or expects them (variational)."""
    if mode == "variational":
        return variational.begin(players, signs, K)
    beliefs = tuple(
        player.redraw(generator, signs[:, m], K)
        for m, (player, generator) in enumerate(zip(players, generators, strict=True))
    )
    return State(signs, signs, beliefs)


def sweep(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    number: int = 0,
    kind: Sequence[int] | None = None,
) -> tuple[State, Info]:
    """Every encounter of sweep `number`, or every agent redraws its signs once (no-com, gibbs).

    kind: which players may redraw in one computation (`abreast.kinds`); without it each does by itself.
    """
    if game.weights is not None and state.log_pi is None:
        state = _reweigh(game, generators, state, range(len(players)))
    counts = torch.zeros(state.signs.shape[:2], dtype=torch.int64, device=state.signs.device)
    none = counts[:, 0].clone()
    told = Info(counts, [0] * len(players), none, none, none, none, none)
    if game.mode == "variational":
        state, messages = variational.sweep(game.log_prior, game.meetings, players, state, number)
        reached = variational.bound(game.log_prior, state)
        return state, told._replace(messages=told.messages + messages, log_joint=reached, evidence=reached)
    if game.mode in ("com", "all"):
        state, told = _talk(game, players, generators, state, number, kind, told)
    else:
        signs = _jointly(game, generators, state) if game.mode == "gibbs" else _each_its_own(game, generators, state)
        state = state._replace(signs=signs, private=signs)
        state = _redraw(game, players, generators, state, range(len(players)), kind)
    if game.split_merge:
        state, splits = _split_merge(game, cast(Sequence[Divider], players), generators, state, kind)
        told = told._replace(splits=splits)
    return state, told._replace(log_joint=log_joint(game, state), evidence=evidence(game, state))


def _talk(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    number: int,
    kind: Sequence[int] | None,
    told: Info,
) -> tuple[State, Info]:
    """All encounters of a sweep; who listened redraws, after each or when all are over."""
    M, rules = len(players), rules_of(game, len(players))
    new = newcomers(game.meetings, M, number) if game.newcomers == "take" else []
    length = 1 if game.mode == "all" else inner_length(game.recursion)
    # Written into by every encounter: a copy each would cost as much as M agents' signs, M times a sweep.
    state = state._replace(signs=state.signs.clone(), private=state.private.clone())
    encounters = game.meetings.encounters(M, number)
    # Who holds one sign with all others waits for every encounter.
    for layer in [[one] for one in encounters] if shares(game) else batched.layers(encounters):
        answers = [_TAKE if m in new and not told.heard[m] else rule for m, rule in enumerate(rules)]
        at_once, others = batched.pairs(layer, answers, state)
        for rule, pairs in at_once:
            told = meet_at_once(game, rule, generators, state, pairs, told)
        for encounter in others:
            told = meet(game, answers, length, generators, state, encounter, told)
        if not game.meetings.synchronous:
            heard = [m for encounter in layer for m in hearers(game, encounter, M)]
            state = _redraw(game, players, generators, state, heard, kind)
    solitary = [] if shares(game) else lonely(game.meetings, M, number)
    for m in solitary:
        state.signs[:, m] = speak(generators[m], log_pi_of(game, state, m), state.beliefs[m].table)
        state.private[:, m] = state.signs[:, m]
    if solitary:  # for nobody, weights that all share would be drawn once more
        state = _redraw(game, players, generators, state, solitary, kind)
    if game.meetings.synchronous:
        heard = [m for m, times in enumerate(told.heard) if times or shares(game)]
        state = _redraw(game, players, generators, state, heard, kind)
    return state, told


def _jointly(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """One draw for all agents, from what all of them see: (C, M, N)."""
    logits = joint_logits(log_pi_of(game, state, 0), [belief.table for belief in state.beliefs])
    return draw(generators[0], logits).unsqueeze(1).expand_as(state.signs)


def _each_its_own(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """A draw of each agent's own: (C, M, N)."""
    each = enumerate(zip(generators, state.beliefs, strict=True))
    return torch.stack([speak(own, log_pi_of(game, state, m), belief.table) for m, (own, belief) in each], dim=1)


def _split_merge(
    game: Game,
    players: Sequence[Divider],
    generators: Sequence[Stream],
    state: State,
    kind: Sequence[int] | None,
) -> tuple[State, Tensor]:
    """Each agent in turn proposes its steps; then all redraw their parameters. Also the number accepted, (C,)."""
    signs, accepted = state.signs[:, 0], torch.zeros(len(state.signs), dtype=torch.int64, device=state.signs.device)
    log_pi = game.log_prior if state.log_pi is None else state.log_pi[:, 0]
    for _ in range(game.split_merge):
        for speaker, generator in enumerate(generators):
            done = split_merge(generator, log_pi, players, speaker, signs)
            signs, accepted = done.signs, accepted + done.accepted
    shared = signs.unsqueeze(1).expand_as(state.signs)
    state = _redraw(game, players, generators, state._replace(signs=shared), range(len(players)), kind)
    return state, accepted


def play(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    sweeps: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    *,
    first: int = 0,
    keep_means: bool = True,
) -> tuple[State, Trace]:
    """`sweeps` sweeps, numbered from `first`, and their trace. Nothing leaves the device before the last is done.

    (But for `exact` recursion, which must know which objects are still being named.)
    """
    C, M, N = state.signs.shape
    means = component_means(state) if keep_means else None
    device = state.signs.device
    real: dict[str, Any] = {"dtype": torch.float64, "device": device}
    trace = Trace(
        signs=torch.empty(C, sweeps, M, N, dtype=torch.int16, device=device),
        alone=torch.empty(C, sweeps, M, N, dtype=torch.int16, device=device) if shares(game) else None,
        accepted=torch.empty(C, sweeps, M, dtype=torch.int64, device=device),
        heard=torch.empty(sweeps, M, dtype=torch.int64),
        messages=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        not_a_number=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        splits=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        log_joint=torch.empty(C, sweeps, **real),
        evidence=torch.empty(C, sweeps, **real),
        means=None if means is None else torch.empty(C, sweeps, *means.shape[1:], **real),
    )
    step: Callable[[State, int], tuple[State, Info]] = partial(
        sweep, game, players, generators, kind=batched.kinds(players)
    )
    if by_graph := game.graphs and device.type == "cuda" and sweeps >= _WORTH_A_GRAPH and _alike(game):
        step = Chain(step, generators)
    for t in progress(range(sweeps)):
        state, info = step(state, first + t)
        trace.signs[:, t] = state.signs
        if trace.alone is not None:
            trace.alone[:, t] = alone(game, state)
        trace.accepted[:, t] = info.accepted
        trace.heard[t] = torch.tensor(info.heard)
        trace.messages[:, t] = info.messages
        trace.not_a_number[:, t] = info.not_a_number
        trace.splits[:, t] = info.splits
        trace.log_joint[:, t] = info.log_joint
        trace.evidence[:, t] = info.evidence
        if trace.means is not None and (means := component_means(state)) is not None:
            trace.means[:, t] = means
    return kept(state) if by_graph else state, trace


def _alike(game: Game) -> bool:
    """Whether every sweep is the same work, whatever is found in it."""
    return game.recursion != "exact" and isinstance(game.meetings, Together | Graph)


def _redraw(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    who: Sequence[int],
    kind: Sequence[int] | None,
) -> State:
    beliefs = batched.redraw(players, generators, state.signs, game.K, state.beliefs, who, kind)
    return _reweigh(game, generators, state._replace(beliefs=tuple(beliefs)), who)


def _reweigh(game: Game, generators: Sequence[Stream], state: State, who: Iterable[int]) -> State:
    """The weights of agents `who` given their signs; one draw for all, by the first, where signs are shared."""
    if game.weights is None:
        return state
    C, M, _ = state.signs.shape
    if shares(game):
        drawn = game.weights.redraw(generators[0], counts_of(state.signs[:, 0], game.K))
        return state._replace(log_pi=drawn.unsqueeze(1).expand(C, M, game.K))
    log_pi = list(state.log_pi.unbind(1)) if state.log_pi is not None else [torch.empty(0)] * M
    for m in who:
        log_pi[m] = game.weights.redraw(generators[m], counts_of(state.signs[:, m], game.K))
    return state._replace(log_pi=torch.stack(log_pi, dim=1))
