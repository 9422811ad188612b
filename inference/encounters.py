"""Encounters of a sweep: one after the other, or several pairs of agents in one computation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mhng.inference.log_joint import agent_log_pi
from mhng.inference.metropolis import step
from mhng.inference.proposals import Rule
from mhng.inference.recursive import Speaker, propose
from mhng.inference.sentence_turns import blocks, take_turns
from mhng.inference.spec import Game
from mhng.inference.topology import Encounter
from mhng.inference.types import Info, State, Stream
from mhng.models.belief import Belief, Response
from mhng.models.rng import GeneratorStack


def play_encounter(
    game: Game,
    rules: Sequence[Rule],
    length: int | None,
    generators: Sequence[Stream],
    state: State,
    encounter: Encounter,
    info: Info,
) -> Info:
    """Play one encounter; the result is written into the signs of `state`. length: T, see `recursive.propose`."""
    *speakers, listener = encounter
    compared = _compared_signs(game, state)
    log_pi = agent_log_pi(game, state, speakers[0])
    belief, current, rule = state.beliefs[listener], compared[:, listener], rules[listener]
    if len(speakers) == 1 and game.sentences is None:
        (speaker,) = speakers
        response = step(
            state.beliefs[speaker], belief, generators[speaker], generators[listener], log_pi, current, rule
        )
        return _record(game, state, encounter, response, info, messages=current.shape[-1])
    row = [
        Speaker(generators[m], state.beliefs[m], rules[m], compared[:, m] if game.inner_start == "own" else None)
        for m in speakers
    ]
    if game.sentences is not None:
        response, messages = take_turns(
            game.sentences, game.turns, row, belief, generators[listener], log_pi, current, rule, length
        )
        return _record(game, state, encounter, response, info, messages, turns=turns_of(game))
    proposal = propose(log_pi, row, length, current)
    response = belief.respond(generators[listener], proposal.signs, current, rule)
    return _record(game, state, encounter, response, info, proposal.messages)


def play_pairs(
    game: Game, rule: Rule, generators: Sequence[Stream], state: State, pairs: Sequence[Encounter], info: Info
) -> Info:
    """`play_encounter` for G disjoint pairs of agents with stackable beliefs, in one computation."""
    speakers, listeners = zip(*pairs, strict=True)
    compared = _compared_signs(game, state)
    log_pi = game.log_prior
    if state.log_pi is not None:
        log_pi = torch.stack([agent_log_pi(game, state, m) for m in speakers])
    beliefs = cast(Sequence[Belief], state.beliefs)
    stacked = step(
        Belief.stack([beliefs[m] for m in speakers]),
        Belief.stack([beliefs[m] for m in listeners]),
        GeneratorStack([generators[m] for m in speakers]),
        GeneratorStack([generators[m] for m in listeners]),
        log_pi,
        torch.stack([compared[:, m] for m in listeners]),
        rule,
    )
    for encounter, *response in zip(pairs, *(part.unbind(0) for part in stacked), strict=True):
        info = _record(game, state, encounter, Response(*response), info, messages=stacked.signs.shape[-1])
    return info


def sign_holders(game: Game, encounter: Encounter, M: int) -> Sequence[int]:
    """The agents, out of M, whose sign an encounter changes: the listener, or all if signs are shared."""
    return range(M) if game.shares_signs else encounter[-1:]


def turns_of(game: Game) -> int:
    """Proposals about one object in an encounter."""
    return 1 if game.sentences is None else len(blocks(game.sentences, game.turns))


def _compared_signs(game: Game, state: State) -> Tensor:
    """(C, M, N) the signs with which listeners compare proposals."""
    return state.private if game.listener_state == "speaker-sample" else state.signs


def _record(
    game: Game,
    state: State,
    encounter: Encounter,
    response: Response,
    info: Info,
    messages: int | Tensor,
    turns: int = 1,
) -> Info:
    """Write the response into the signs of `state`, and count it. turns: proposals about each object."""
    *speakers, listener = encounter
    info.accepted[:, listener] += response.accepted.sum(-1)
    encounters = list(info.encounters)
    encounters[listener] += turns
    # One agent at a time: an index with a list is copied to the device.
    for m in sign_holders(game, encounter, state.signs.shape[1]):
        state.signs[:, m] = response.signs
    state.private[:, speakers[0]] = response.proposed
    return info._replace(
        encounters=encounters,
        messages=info.messages + messages,
        not_a_number=info.not_a_number + response.not_a_number.sum(-1),
    )
