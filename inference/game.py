"""The naming game for M agents and C chains.

Notation: object n, sign w_n of K, agent m with latents z^m, component parameters phi^m and sign prior pi.

One sweep with two agents A, B (Taniguchi et al. 2023, algorithm 1):

    A proposes w* ~ P(w | z^A, phi^A); B accepts with min(1, N(z^B; w*) / N(z^B; w_cur)) and redraws phi^B given its
    signs; then the same with B as speaker and A as listener.

With more agents, a sweep is a list of encounters (`mhng.inference.topology`); several speakers make one proposal by
the recursive game (`mhng.inference.recursive`).

Modes
    com          Metropolis-Hastings naming game
    no-com       no communication: each agent draws its signs from its own posterior
    all          every proposal is accepted
    gibbs        centralised topline: signs are drawn from the product of all agents' likelihoods
    variational  deterministic coordinate ascent (`mhng.inference.variational`)

Listener states, for com and all: the current sign w_cur
    chain           each agent has its own sign, and so its own chain
    shared          one sign for all agents: the textbook sampler of the joint model
    speaker-sample  the listener's last proposal as a speaker (at the start of a round, its sign). This is the rule of
                    the public reference code. It is not a Markov chain of the posterior: the accepted sign updates the
                    parameters and is then dropped

Laws, for two agents, or for any number that meet together with `inner_start` listener: with fixed parameters, `chain`,
`shared` and `gibbs` have P(w | z^1, ..., z^M, phi) as their stationary law. With parameters redrawn, `shared` and
`gibbs` sample the joint posterior of signs and parameters. `chain` samples it approximately: the parameters of each
agent follow its own copy of the signs, and these conditionals belong to no joint law. `mhng.inference.laws` has the
verdict on every game.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from mhng.inference import batched, variational
from mhng.inference.encounters import play_encounter, play_pairs, sign_holders
from mhng.inference.log_joint import agent_log_pi, agent_terms, best_signs, log_evidence, log_joint, sign_counts
from mhng.inference.proposals import acceptance_rule, joint_logits
from mhng.inference.recursive import inner_length
from mhng.inference.sentence_turns import draw
from mhng.inference.spec import Game
from mhng.inference.split_merge import split_merge
from mhng.inference.topology import isolated_agents, newcomers
from mhng.inference.trace import Trace, component_means
from mhng.inference.types import Info, Player, SplitMergePlayer, State, Stream, TableBelief
from mhng.models.rng import categorical
from mhng.models.torch_defaults import torch_defaults

__all__ = ["Game", "init", "play", "sweep"]

_ACCEPT_ALL = acceptance_rule("constant:1")


@torch_defaults()
def init(players: Sequence[Player], generators: Sequence[Stream], signs: Tensor, K: int, mode: str = "com") -> State:
    """The initial state: every agent redraws its parameters given signs (C, M, N).

    Raises ValueError if the signs are unsuitable.
    """
    _check_signs(players, signs, K)
    if mode == "variational":
        return variational.init(players, signs, K)
    _check_generators(players, generators)
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
    groups: Sequence[int] | None = None,
) -> tuple[State, Info]:
    """One sweep: all encounters of sweep `number` (com, all), or one redraw of all signs (no-com, gibbs).

    groups: players that redraw in one computation, as `batched.batch_groups` returns them; None: single calls.
    """
    if game.weights is not None and state.log_pi is None:
        state = _redraw_log_pi(game, generators, state, range(len(players)))
    accepted = torch.zeros(state.signs.shape[:2], dtype=torch.int64, device=state.signs.device)
    zero = accepted[:, 0].clone()
    none = torch.zeros_like(accepted, dtype=torch.float64)
    info = Info(accepted, [0] * len(players), zero, zero, zero, none, none, zero, zero)
    if game.mode == "variational":
        state, messages = variational.sweep(game.log_prior, game.meetings, players, state, number)
        bound = variational.lower_bound(game.log_prior, state)
        likelihood, density = agent_terms(state)
        info = info._replace(log_likelihood=likelihood, log_density=density)
        return state, info._replace(messages=info.messages + messages, log_joint=bound, evidence=bound)
    if game.mode in ("com", "all"):
        state, info = _encounters(game, players, generators, state, number, groups, info)
    else:
        signs = _joint_draw(game, generators, state) if game.mode == "gibbs" else _own_draws(game, generators, state)
        state = state._replace(signs=signs, private=signs)
        state = _redraw(game, players, generators, state, range(len(players)), groups)
    if game.split_merge:
        state, splits = _split_merge(game, cast(Sequence[SplitMergePlayer], players), generators, state, groups)
        info = info._replace(splits=splits)
    likelihood, density = agent_terms(state)
    info = info._replace(log_likelihood=likelihood, log_density=density)
    joint = log_joint(game, state, (likelihood, density))
    return state, info._replace(log_joint=joint, evidence=log_evidence(game, state))


def _encounters(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    number: int,
    groups: Sequence[int] | None,
    info: Info,
) -> tuple[State, Info]:
    """All encounters of a sweep; listeners redraw after each layer, or at the end if synchronous."""
    M, rules = len(players), game.acceptance_rules(len(players))
    new = newcomers(game.meetings, M, number) if game.newcomers == "take" else []
    length = 1 if game.mode == "all" else inner_length(game.recursion)
    # Encounters write into these tensors: a copy for each encounter would cost M times the signs per sweep.
    state = state._replace(signs=state.signs.clone(), private=state.private.clone())
    encounters = game.meetings.encounters(M, number)
    # With shared signs, every encounter depends on the one before.
    layers = [[encounter] for encounter in encounters] if game.shares_signs else batched.layers(encounters)
    for layer in layers:
        # A newcomer has no signs to compare with, so it accepts the first proposal.
        layer_rules = [_ACCEPT_ALL if m in new and not info.encounters[m] else rule for m, rule in enumerate(rules)]
        batches, singles = batched.split_layer(layer, layer_rules, state) if game.sentences is None else ([], layer)
        for rule, pairs in batches:
            info = play_pairs(game, rule, generators, state, pairs, info)
        for encounter in singles:
            info = play_encounter(game, layer_rules, length, generators, state, encounter, info)
        if not game.meetings.synchronous:
            listeners = [m for encounter in layer for m in sign_holders(game, encounter, M)]
            state = _redraw(game, players, generators, state, listeners, groups)
    isolated = [] if game.shares_signs else isolated_agents(game.meetings, M, number)
    for m in isolated:
        state.signs[:, m] = _own_draw(game, generators[m], state, m)
        state.private[:, m] = state.signs[:, m]
    if isolated:
        state = _redraw(game, players, generators, state, isolated, groups)
    if game.meetings.synchronous:
        listeners = [m for m, count in enumerate(info.encounters) if count or game.shares_signs]
        state = _redraw(game, players, generators, state, listeners, groups)
    return state, info


def _joint_draw(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """One draw for all agents, from the product of their likelihoods: (C, M, N)."""
    if game.sentences is not None:
        log_pi, current = agent_log_pi(game, state, 0), state.signs[:, 0]
        signs = draw(game.sentences, game.turns, state.beliefs, generators[0], log_pi, current)
        return signs.unsqueeze(1).expand_as(state.signs)
    beliefs = cast(Sequence[TableBelief], state.beliefs)
    logits = joint_logits(agent_log_pi(game, state, 0), [belief.table for belief in beliefs])
    return categorical(generators[0], logits).unsqueeze(1).expand_as(state.signs)


def _own_draws(game: Game, generators: Sequence[Stream], state: State) -> Tensor:
    """A draw of each agent from its own posterior: (C, M, N)."""
    return torch.stack([_own_draw(game, generator, state, m) for m, generator in enumerate(generators)], dim=1)


def _own_draw(game: Game, generator: Stream, state: State, m: int) -> Tensor:
    """Signs of agent m from its own posterior, (C, N); sentences block by block."""
    belief, log_pi = state.beliefs[m], agent_log_pi(game, state, m)
    if game.sentences is None:
        return belief.propose(generator, log_pi)
    return draw(game.sentences, game.turns, [belief], generator, log_pi, state.signs[:, m])


def _split_merge(
    game: Game,
    players: Sequence[SplitMergePlayer],
    generators: Sequence[Stream],
    state: State,
    groups: Sequence[int] | None,
) -> tuple[State, Tensor]:
    """Split-merge steps of each agent in turn, then a redraw of all; also the number of accepted steps, (C,)."""
    signs, accepted = state.signs[:, 0], torch.zeros(len(state.signs), dtype=torch.int64, device=state.signs.device)
    log_pi = game.log_prior if state.log_pi is None else state.log_pi[:, 0]
    for _ in range(game.split_merge):
        for speaker, generator in enumerate(generators):
            step = split_merge(generator, log_pi, players, speaker, signs)
            signs, accepted = step.signs, accepted + step.accepted
    shared = signs.unsqueeze(1).expand_as(state.signs)
    state = _redraw(game, players, generators, state._replace(signs=shared), range(len(players)), groups)
    return state, accepted


@torch_defaults()
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
    keep_pointwise: bool = False,
) -> tuple[State, Trace]:
    """Play `sweeps` sweeps, numbered from `first`; returns the last state and the trace.

    On a GPU the host does not wait for the device before the last sweep, except in `exact` recursion.

    Args:
        progress: wraps the range of sweeps, for a progress bar.
        keep_means: whether the trace stores the component means.
        keep_pointwise: whether the trace stores the log likelihood of every object, for beliefs with `pointwise`.

    Raises:
        ValueError: the players or generators are not those of the state, or `sweeps` is negative.
    """
    C, M, N = state.signs.shape
    if len(players) != M:
        raise ValueError(f"the state has {M} agents, but {len(players)} players are given")
    if game.mode != "variational":
        _check_generators(players, generators)
    if sweeps < 0:
        raise ValueError(f"sweeps is {sweeps}; expected 0 or more")
    means = component_means(state) if keep_means else None
    keep_pointwise = keep_pointwise and all(hasattr(belief, "pointwise") for belief in state.beliefs)
    device = state.signs.device
    code = torch.int16 if game.K <= 2**15 else torch.int32
    real: dict[str, Any] = {"dtype": torch.float64, "device": device}
    trace = Trace(
        signs=torch.empty(C, sweeps, M, N, dtype=code, device=device),
        best_signs=torch.empty(C, sweeps, M, N, dtype=code, device=device) if game.shares_signs else None,
        accepted=torch.empty(C, sweeps, M, dtype=torch.int64, device=device),
        encounters=torch.empty(sweeps, M, dtype=torch.int64),
        messages=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        not_a_number=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        splits=torch.empty(C, sweeps, dtype=torch.int64, device=device),
        log_likelihood=torch.empty(C, sweeps, M, **real),
        log_density=torch.empty(C, sweeps, M, **real),
        pointwise=torch.empty(C, sweeps, M, N, dtype=torch.float32, device=device) if keep_pointwise else None,
        log_joint=torch.empty(C, sweeps, **real),
        evidence=torch.empty(C, sweeps, **real),
        means=None if means is None else torch.empty(C, sweeps, *means.shape[1:], **real),
    )
    groups = batched.batch_groups(players)
    for t in progress(range(sweeps)):
        state, info = sweep(game, players, generators, state, first + t, groups)
        trace.signs[:, t] = state.signs
        if trace.best_signs is not None:
            trace.best_signs[:, t] = best_signs(game, state)
        trace.accepted[:, t] = info.accepted
        trace.encounters[t] = torch.tensor(info.encounters)
        trace.messages[:, t] = info.messages
        trace.not_a_number[:, t] = info.not_a_number
        trace.splits[:, t] = info.splits
        trace.log_likelihood[:, t] = info.log_likelihood
        trace.log_density[:, t] = info.log_density
        if trace.pointwise is not None:
            for m, belief in enumerate(state.beliefs):
                trace.pointwise[:, t, m] = cast(TableBelief, belief).pointwise(state.signs[:, m])
        trace.log_joint[:, t] = info.log_joint
        trace.evidence[:, t] = info.evidence
        if trace.means is not None and (means := component_means(state)) is not None:
            trace.means[:, t] = means
    return state, trace


def _check_generators(players: Sequence[Player], generators: Sequence[Stream]) -> None:
    """Raise ValueError unless every player has a generator."""
    if len(players) != len(generators):
        raise ValueError(f"{len(players)} players and {len(generators)} generators are given; expected equal numbers")


def _check_signs(players: Sequence[Player], signs: Tensor, K: int) -> None:
    """Raise ValueError unless signs (C, M, N) are those of the players' objects, 0..K-1."""
    M = len(players)
    if signs.dtype != torch.int64:
        raise ValueError(f"signs have the type {signs.dtype}; expected torch.int64")
    if signs.dim() != 3 or signs.shape[1] != M:
        raise ValueError(f"signs have the shape {tuple(signs.shape)}; expected (chains, {M} agents, objects)")
    for m, player in enumerate(players):
        count = getattr(player, "count", None)
        if isinstance(count, int) and count != signs.shape[2]:
            raise ValueError(f"agent {m} has {count} objects; the signs are those of {signs.shape[2]}")
    # On a GPU, this question would make the host wait for the device.
    if signs.device.type == "cpu" and len(wrong := ((signs < 0) | (signs >= K)).nonzero()):
        c, m, n = wrong[0].tolist()
        raise ValueError(f"the sign of object {n} is {int(signs[c, m, n])}; expected 0 to {K - 1}")


def _redraw(
    game: Game,
    players: Sequence[Player],
    generators: Sequence[Stream],
    state: State,
    agents: Sequence[int],
    groups: Sequence[int] | None,
) -> State:
    """Redraw the parameters, and pi if it is drawn, of some agents given their signs."""
    beliefs = batched.redraw(players, generators, state.signs, game.K, state.beliefs, agents, groups)
    return _redraw_log_pi(game, generators, state._replace(beliefs=tuple(beliefs)), agents)


def _redraw_log_pi(game: Game, generators: Sequence[Stream], state: State, agents: Iterable[int]) -> State:
    """Redraw pi of some agents given their signs; if signs are shared, one draw of the first agent for all."""
    if game.weights is None:
        return state
    C, M, _ = state.signs.shape
    if game.shares_signs:
        drawn = game.weights.redraw(generators[0], sign_counts(state.signs[:, 0], game.K))
        return state._replace(log_pi=drawn.unsqueeze(1).expand(C, M, game.K))
    log_pi = list(state.log_pi.unbind(1)) if state.log_pi is not None else [torch.empty(0)] * M
    for m in agents:
        log_pi[m] = game.weights.redraw(generators[m], sign_counts(state.signs[:, m], game.K))
    return state._replace(log_pi=torch.stack(log_pi, dim=1))
