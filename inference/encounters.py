"""An encounter: speakers make a proposal, a listener answers; one by one, or many pairs of agents at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mhng.inference.log_joint import log_pi_of
from mhng.inference.metropolis import Turn
from mhng.inference.proposals import Rule
from mhng.inference.recursive import Speaker, propose
from mhng.inference.remote import Stream, answer, speak
from mhng.inference.spec import Game, shares
from mhng.inference.topology import Encounter
from mhng.inference.types import Info, State
from mhng.models.rng import Choir


def meet(
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
    starts = [current[:, m] if game.inner_start == "own" else None for m in speakers]
    row = [
        Speaker(generators[m], state.beliefs[m].table, rules[m], start)
        for m, start in zip(speakers, starts, strict=True)
    ]
    proposal = propose(log_pi_of(game, state, speakers[0]), row, length, current[:, listener])
    turn = answer(
        generators[listener], state.beliefs[listener].table, proposal.signs, current[:, listener], rules[listener]
    )
    return _took_place(game, state, encounter, turn, told._replace(messages=told.messages + proposal.messages))


def meet_at_once(
    game: Game, rule: Rule, generators: Sequence[Stream], state: State, pairs: Sequence[Encounter], told: Info
) -> Info:
    """`meet` for G pairs of agents, none of them in two, as one computation."""
    speakers, listeners = zip(*pairs, strict=True)
    current = state.private if game.listener_state == "speaker-sample" else state.signs
    log_pi = game.log_prior
    if state.log_pi is not None:
        log_pi = torch.stack([log_pi_of(game, state, m) for m in speakers])
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


def hearers(game: Game, encounter: Encounter, M: int) -> Sequence[int]:
    """Who, of M agents, holds the listener's sign."""
    return range(M) if shares(game) else encounter[-1:]


def _took_place(game: Game, state: State, encounter: Encounter, turn: Turn, told: Info) -> Info:
    """What an encounter changes: the listener's signs, the speaker's last sample, and what is told of it."""
    *speakers, listener = encounter
    told.accepted[:, listener] += turn.accepted.sum(-1)
    heard = list(told.heard)
    heard[listener] += 1
    for m in hearers(game, encounter, state.signs.shape[1]):  # one by one: a list as an index is copied to the device
        state.signs[:, m] = turn.signs
    state.private[:, speakers[0]] = turn.proposed
    return told._replace(heard=heard, not_a_number=told.not_a_number + turn.not_a_number.sum(-1))
