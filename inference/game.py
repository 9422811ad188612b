"""The naming game: what happens in a sweep, in each mode, for M agents and C chains.

A sweep of two agents A, B is A speaks and B listens, then B speaks and A listens; each listener redraws its own
parameters given its own signs before it speaks (Taniguchi et al. 2023, algorithm 1). With more agents every encounter
of `inference.meetings` is such a turn, its proposal made by one agent or by several, recursively
(`inference.recursion`).

Modes
    com     Metropolis-Hastings: a proposal is accepted by the listener's rule
    no-com  nobody speaks: each agent draws its own signs from its own posterior
    all     every proposal is accepted
    gibbs   the topline: signs are drawn from the product of all agents' likelihoods, which no agent may see
    variational  nothing is drawn: agents tell how much they think of every sign (`inference.variational`)

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
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from inference import abreast, variational
from inference.asked import Stream, answer, best, log_likelihood, read, speak
from inference.captured import Chain, kept
from inference.meetings import Encounter, Graph, Meetings, Together, lonely
from inference.metropolis import Turn, draw
from inference.proposals import Rule, acceptance_rule, joint_logits
from inference.recursion import Voice, inner_length, propose
from inference.splits import split_merge
from inference.types import Divider, Info, Player, State
from models.randomness import Choir
from models.weights import Weights

# Sweeps on a GPU that save more time than it takes to capture one.
_WORTH_A_GRAPH = 40


@dataclass(frozen=True)
class Game:
    """The rules of one game. `log_prior` (K,) is log pi, where it is known.

    weights: the prior of pi, where it is not: each agent draws its own given its signs, all one where signs are
    shared. split_merge: steps of `inference.splits` that each agent proposes in a sweep; more than 0 only where one
    sign is shared (ValueError otherwise).
    acceptance: the rule of every listener, or one for each agent (Okumura et al. 2023 find people to differ so).
    graphs: many sweeps on a CUDA device are captured and replayed (`inference.captured`). No run does so yet: on a
    card that other programs used too, replayed sweeps were not always those made kernel by kernel
    (docs/performance.md).
    meetings: who meets whom. recursion, inner_start: how three or more in an encounter make a proposal.
    """

    log_prior: Tensor
    mode: str = "com"
    listener_state: str = "chain"
    acceptance: str | tuple[str, ...] = "mh"
    split_merge: int = 0
    meetings: Meetings = Together()
    recursion: str = "os"
    inner_start: str = "listener"
    weights: Weights | None = None
    graphs: bool = False

    def __post_init__(self) -> None:
        if self.split_merge and not shares(self):
            raise ValueError("split-merge steps need signs that agents share: mode gibbs, or listener state shared")
        if self.weights is not None and self.mode == "variational":
            raise ValueError("the variational game is for weights of signs that are known")
        inner_length(self.recursion)

    @property
    def K(self) -> int:  # noqa: N802 - the letter of the mathematics
        """How many signs there are."""
        return len(self.log_prior)


class Trace(NamedTuple):
    """The draws of T sweeps, on the device where they were made."""

    signs: Tensor  # (C, T, M, N) int16
    alone: Tensor | None  # (C, T, M, N) int16, each agent's own best sign; kept where signs are shared
    accepted: Tensor  # (C, T, M)
    heard: Tensor  # (T, M)
    messages: Tensor  # (C, T)
    not_a_number: Tensor  # (C, T)
    splits: Tensor  # (C, T)
    log_joint: Tensor  # (C, T)
    evidence: Tensor  # (C, T)
    means: Tensor | None  # (C, T, M, K, L) where each agent's components lie; None if not kept, or there are none


def joined(first: Trace, then: Trace) -> Trace:
    """Two traces of one game, the second of the sweeps after the first."""
    tensors = first._asdict()
    for name, after in then._asdict().items():
        if after is not None:
            tensors[name] = torch.cat([tensors[name], after], dim=0 if name == "heard" else 1)
    return Trace(**tensors)


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
    return state, told._replace(log_joint=log_joint(game, state), evidence=_evidence(game, state))


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
    M, rules = len(players), _rules(game, len(players))
    length = 1 if game.mode == "all" else inner_length(game.recursion)
    # Written into by every encounter: a copy each would cost as much as M agents' signs, M times a sweep.
    state = state._replace(signs=state.signs.clone(), private=state.private.clone())
    encounters = game.meetings.encounters(M, number)
    # Who holds one sign with all others waits for every encounter.
    for layer in [[one] for one in encounters] if shares(game) else abreast.layers(encounters):
        at_once, others = abreast.pairs(layer, rules, state)
        for rule, pairs in at_once:
            told = _meet_at_once(game, rule, generators, state, pairs, told)
        for encounter in others:
            told = _meet(game, rules, length, generators, state, encounter, told)
        if not game.meetings.synchronous:
            heard = [m for encounter in layer for m in _hearers(game, encounter, M)]
            state = _redraw(game, players, generators, state, heard, kind)
    solitary = [] if shares(game) else lonely(game.meetings, M, number)
    for m in solitary:
        state.signs[:, m] = speak(generators[m], _log_pi(game, state, m), state.beliefs[m].table)
        state.private[:, m] = state.signs[:, m]
    if solitary:  # for nobody, weights that all share would be drawn once more
        state = _redraw(game, players, generators, state, solitary, kind)
    if game.meetings.synchronous:
        heard = [m for m, times in enumerate(told.heard) if times or shares(game)]
        state = _redraw(game, players, generators, state, heard, kind)
    return state, told


def _jointly(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """One draw for all agents, from what all of them see: (C, M, N)."""
    logits = joint_logits(_log_pi(game, state, 0), [belief.table for belief in state.beliefs])
    return draw(generators[0], logits).unsqueeze(1).expand_as(state.signs)


def _each_its_own(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """A draw of each agent's own: (C, M, N)."""
    each = enumerate(zip(generators, state.beliefs, strict=True))
    return torch.stack([speak(own, _log_pi(game, state, m), belief.table) for m, (own, belief) in each], dim=1)


def _meet(
    game: Game,
    rules: Sequence[Rule],
    length: int | None,
    generators: Sequence[Stream],
    state: State,
    encounter: Encounter,
    told: Info,
) -> Info:
    """One encounter: its proposal and the listener's answer, which are written into the signs of `state`."""
    *speakers, listener = encounter
    current = state.private if game.listener_state == "speaker-sample" else state.signs
    voices = [
        Voice(
            generators[m],
            state.beliefs[m].table,
            current[:, m if game.inner_start == "own" else listener],
            rules[m],
        )
        for m in speakers
    ]
    proposal = propose(_log_pi(game, state, speakers[0]), voices, length)
    turn = answer(
        generators[listener], state.beliefs[listener].table, proposal.signs, current[:, listener], rules[listener]
    )
    messages = proposal.messages + _told_beforehand(game, state, len(speakers))
    return _took_place(game, state, encounter, turn, told._replace(messages=told.messages + messages))


def _meet_at_once(
    game: Game, rule: Rule, generators: Sequence[Stream], state: State, pairs: Sequence[Encounter], told: Info
) -> Info:
    """`_meet` for G pairs of agents, none of them in two, as one computation."""
    speakers, listeners = zip(*pairs, strict=True)
    current = state.private if game.listener_state == "speaker-sample" else state.signs
    log_pi = game.log_prior
    if state.log_pi is not None:
        log_pi = torch.stack([_log_pi(game, state, m) for m in speakers])
    said = speak(
        Choir([generators[m] for m in speakers]), log_pi, torch.stack([state.beliefs[m].table for m in speakers])
    )
    turns = answer(
        Choir([generators[m] for m in listeners]),
        torch.stack([state.beliefs[m].table for m in listeners]),
        said,
        torch.stack([current[:, m] for m in listeners]),
        rule,
    )
    told = told._replace(messages=told.messages + len(pairs) * said.shape[-1])
    for encounter, *turn in zip(pairs, *(part.unbind(0) for part in turns), strict=True):
        told = _took_place(game, state, encounter, Turn(*turn), told)
    return told


def _took_place(game: Game, state: State, encounter: Encounter, turn: Turn, told: Info) -> Info:
    """What an encounter changes: the listener's signs, the speaker's last sample, and what is told of it."""
    *speakers, listener = encounter
    told.accepted[:, listener] += turn.accepted.sum(-1)
    heard = list(told.heard)
    heard[listener] += 1
    for m in _hearers(game, encounter, state.signs.shape[1]):  # one by one: a list as an index is copied to the device
        state.signs[:, m] = turn.signs
    state.private[:, speakers[0]] = turn.proposed
    return told._replace(heard=heard, not_a_number=told.not_a_number + turn.not_a_number.sum(-1))


def _rules(game: Game, M: int) -> list[Rule]:
    """The acceptance rule of each agent."""
    if game.mode == "all":
        return [acceptance_rule("constant:1")] * M
    if isinstance(game.acceptance, str):
        return [acceptance_rule(game.acceptance)] * M
    return [acceptance_rule(name) for name in game.acceptance]


def _told_beforehand(game: Game, state: State, speakers: int) -> int:
    """Names by which the listener tells the agents between what it holds."""
    tells = game.inner_start == "listener" and game.recursion != "exact"
    return state.signs.shape[-1] * (speakers - 1) if tells else 0


def _hearers(game: Game, encounter: Encounter, M: int) -> Sequence[int]:
    """Who, of M agents, holds the listener's sign."""
    return range(M) if shares(game) else encounter[-1:]


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


def shares(game: Game) -> bool:
    """Whether all agents hold one and the same sign for an object."""
    return game.mode == "gibbs" or (game.mode in ("com", "all") and game.listener_state == "shared")


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
        sweep, game, players, generators, kind=abreast.kinds(players)
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


def alone(game: Game, state: State) -> Tensor:
    """What each agent would say by itself: the best sign of its own posterior, (C, M, N)."""
    return torch.stack([best(_log_pi(game, state, m), belief.table) for m, belief in enumerate(state.beliefs)], dim=1)


def component_means(state: State) -> Tensor | None:
    """The means of all agents' components, (C, M, K, L); None if one has no `mu`, or they differ in L."""
    parameters = [read(belief.parameters) for belief in state.beliefs]
    if not all(hasattr(phi, "mu") and phi.mu.shape == parameters[0].mu.shape for phi in parameters):
        return None
    return torch.stack([phi.mu for phi in parameters], dim=1)


def log_joint(game: Game, state: State) -> Tensor:
    """log p(w, phi, z) of all agents: (C,). Signs that are not shared count once for each agent, p(w^m) too."""
    owners = slice(0, 1) if shares(game) else slice(None)
    if state.log_pi is None:
        total = game.log_prior[state.signs[:, owners]].sum((-2, -1))
    else:
        assert game.weights is not None
        log_pi = state.log_pi[:, owners]
        total = (log_pi.gather(-1, state.signs[:, owners]).sum(-1) + game.weights.log_density(log_pi)).sum(-1)
    for m, belief in enumerate(state.beliefs):
        total = total + belief.log_density + log_likelihood(belief.table, state.signs[:, m])
    return total


def _evidence(game: Game, state: State) -> Tensor:
    total = torch.stack([belief.evidence for belief in state.beliefs]).sum(0)
    if game.weights is None:
        return total
    return total + evidence_of_signs(game, game.weights, state.signs)


def evidence_of_signs(game: Game, weights: Weights, signs: Tensor) -> Tensor:
    """log p(w), pi integrated out: signs (C, M, N) -> (C,). Signs that are not shared count once for each agent."""
    owners = slice(0, 1) if shares(game) else slice(None)
    return weights.log_evidence(counts_of(signs[:, owners], game.K)).sum(-1)


def counts_of(signs: Tensor, K: int) -> Tensor:
    """How many objects each sign has: (..., N) -> (..., K)."""
    counts = torch.zeros(*signs.shape[:-1], K, dtype=torch.int64, device=signs.device)
    return counts.scatter_add_(-1, signs, torch.ones_like(signs))


def _redraw(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    who: Sequence[int],
    kind: Sequence[int] | None,
) -> State:
    beliefs = abreast.redraw(players, generators, state.signs, game.K, state.beliefs, who, kind)
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


def _log_pi(game: Game, state: State, m: int) -> Tensor:
    """log pi of agent m, as it is added to a table (C, N, K)."""
    return game.log_prior if state.log_pi is None else state.log_pi[:, m].unsqueeze(1)
