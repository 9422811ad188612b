"""Turns about sentences: a block of words is proposed, given the listener's other words.

    sentence   the block is the whole sentence: w* ~ p(w) p(z^Sp | w)
    word       the block is one word: the speaker draws it from its own posterior, given the LISTENER's other words

The listener accepts with min(1, p(z^Li | w*) / p(z^Li | w)), as in `mhng.inference.metropolis`. The sign prior and the
speaker's likelihood cancel for every block, because the other words are the listener's. So each turn leaves the
posterior of `mhng.inference.enumeration.sign_posterior` invariant. If the speaker completed its own sentence instead,
it would not.

In a word turn the V variants of a sentence take the place of the K signs: a table of C x N x V. With more than
`languages.MOST_TABLE` sentences there are word turns only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from mhng.inference.proposals import Rule, joint_logits
from mhng.inference.recursive import Speaker, propose
from mhng.inference.types import Belief, Stream, TableBelief
from mhng.models.belief import Response, TableAnswers
from mhng.models.languages import Sentences
from mhng.models.rng import categorical
from mhng.models.word_belief import WordBelief, draw_sentences


def blocks(sentences: Sentences, turns: str) -> list[int | None]:
    """The blocks of a sweep in their order: None is the whole sentence, a number the slot of a word."""
    words: list[int | None] = list(range(sentences.words))
    if turns == "word" or not sentences.fits_table:
        return words
    return [None] if turns == "sentence" else [None, *words]


def take_turns(
    sentences: Sentences,
    turns: str,
    row: Sequence[Speaker],
    listener: Belief,
    generator: Stream,
    log_prior: Tensor,
    current: Tensor,
    rule: Rule,
    length: int | None = 1,
) -> tuple[Response, Tensor]:
    """One encounter: a turn for each block. Returns the response, whose counts are those of turns, and messages (C,).

    row: the speaker, or several speakers whose recursive game makes the proposals (`mhng.inference.recursive`).
    generator: of the listener. log_prior (K,) or (C, 1, K); current (C, N) sentences of the listener. length: T.
    """
    accepted = not_a_number = torch.zeros_like(current)
    signs = proposed = current
    messages = torch.zeros_like(current[:, 0])
    for slot in blocks(sentences, turns):
        response, sent = turn(sentences, slot, row, listener, generator, log_prior, signs, rule, length)
        signs, proposed = response.signs, response.proposed
        accepted, not_a_number = accepted + response.accepted, not_a_number + response.not_a_number
        messages = messages + sent
    return Response(signs, proposed, accepted, not_a_number), messages


def turn(
    sentences: Sentences,
    slot: int | None,
    row: Sequence[Speaker],
    listener: Belief,
    generator: Stream,
    log_prior: Tensor,
    current: Tensor,
    rule: Rule,
    length: int | None = 1,
) -> tuple[Response, Tensor]:
    """One turn, and its messages (C,). slot: None for the whole sentence, or that of a word.

    In a word turn, every agent keeps the listener's other words, current (C, N).
    """
    if slot is None:
        proposal = propose(log_prior, row, length, current)
        return listener.respond(generator, proposal.signs, current, rule), proposal.messages
    word, offered = sentences.word(current, slot), sentences.variants(current, slot)
    speakers = [
        speaker._replace(
            belief=TableAnswers(word_table(speaker.belief, sentences, current, slot)),
            start=None if speaker.start is None else sentences.word(speaker.start, slot),
        )
        for speaker in row
    ]
    proposal = propose(block_prior(log_prior, offered), speakers, length, word)
    heard = TableAnswers(word_table(listener, sentences, current, slot))
    answer = heard.respond(generator, proposal.signs, word, rule)
    signs, proposed = (sentences.replace(current, slot, part) for part in (answer.signs, answer.proposed))
    return answer._replace(signs=signs, proposed=proposed), proposal.messages


def draw(
    sentences: Sentences,
    turns: str,
    beliefs: Sequence[Belief],
    generator: Stream,
    log_prior: Tensor,
    signs: Tensor,
) -> Tensor:
    """Gibbs draws of the blocks from the product of the agents' likelihoods: (C, N)."""
    for slot in blocks(sentences, turns):
        if slot is None:
            signs = draw_whole(beliefs, generator, log_prior)
        else:
            offered = sentences.variants(signs, slot)
            tables = [word_table(belief, sentences, signs, slot) for belief in beliefs]
            word = categorical(generator, joint_logits(block_prior(log_prior, offered), tables))
            signs = sentences.replace(signs, slot, word)
    return signs


def draw_whole(beliefs: Sequence[Belief], generator: Stream, log_prior: Tensor) -> Tensor:
    """Draws of whole sentences from the product of the agents' likelihoods: (C, N)."""
    words = [belief for belief in beliefs if isinstance(belief, WordBelief)]
    if len(words) == len(beliefs):
        return draw_sentences(generator, words, log_prior)
    return categorical(generator, joint_logits(log_prior, [cast(TableBelief, belief).table for belief in beliefs]))


def word_table(belief: Belief, sentences: Sentences, signs: Tensor, slot: int) -> Tensor:
    """log p(z_n | w, phi) of sentences (C, N) with every word in a slot, up to a constant of n: (C, N, V)."""
    if isinstance(belief, WordBelief):
        return belief.word_table(signs, slot)
    return block_table(belief, sentences.variants(signs, slot))


def block_table(belief: Belief, offered: Tensor) -> Tensor:
    """log p(z_n | w, phi) of some sentences of each object: offered (C, N, B) -> (C, N, B)."""
    return cast(TableBelief, belief).table.gather(-1, offered)


def block_prior(log_prior: Tensor, offered: Tensor) -> Tensor:
    """log p(w) of sentences (C, N, B); log_prior (K,) or (C, 1, K)."""
    if log_prior.dim() == 1:
        return log_prior[offered]
    return log_prior.squeeze(1).gather(-1, offered.flatten(1)).view(offered.shape)
