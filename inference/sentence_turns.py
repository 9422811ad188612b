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

from mhng.inference.metropolis import step
from mhng.inference.proposals import Rule, joint_logits
from mhng.inference.types import Belief, Stream, TableBelief
from mhng.models.belief import Response, TableAnswers
from mhng.models.languages import Sentences
from mhng.models.rng import categorical
from mhng.models.word_belief import WordBelief


def blocks(sentences: Sentences, turns: str) -> list[int | None]:
    """The blocks of a sweep in their order: None is the whole sentence, a number the slot of a word."""
    words: list[int | None] = list(range(sentences.words))
    if turns == "word" or not sentences.fits_table:
        return words
    return [None] if turns == "sentence" else [None, *words]


def take_turns(
    sentences: Sentences,
    turns: str,
    speaker: Belief,
    listener: Belief,
    generators: tuple[Stream, Stream],
    log_prior: Tensor,
    current: Tensor,
    rule: Rule,
) -> Response:
    """One encounter: a turn for each block. `accepted` and `not_a_number` count turns (C, N).

    generators: of speaker and listener; log_prior (K,) or (C, 1, K); current (C, N) sentences of the listener.
    """
    accepted = not_a_number = torch.zeros_like(current)
    signs = proposed = current
    for slot in blocks(sentences, turns):
        if slot is None:
            response = step(speaker, listener, *generators, log_prior, signs, rule)
        else:
            response = word_step(sentences, slot, speaker, listener, generators, log_prior, signs, rule)
        signs, proposed = response.signs, response.proposed
        accepted, not_a_number = accepted + response.accepted, not_a_number + response.not_a_number
    return Response(signs, proposed, accepted, not_a_number)


def word_step(
    sentences: Sentences,
    slot: int,
    speaker: Belief,
    listener: Belief,
    generators: tuple[Stream, Stream],
    log_prior: Tensor,
    current: Tensor,
    rule: Rule,
) -> Response:
    """One word turn: the speaker keeps the listener's other words, current (C, N)."""
    offered = sentences.variants(current, slot)
    said, heard = (TableAnswers(word_table(belief, sentences, current, slot)) for belief in (speaker, listener))
    word = sentences.word(current, slot)
    answer = step(said, heard, *generators, block_prior(log_prior, offered), word, rule)
    return answer._replace(
        signs=sentences.replace(current, slot, answer.signs),
        proposed=sentences.replace(current, slot, answer.proposed),
    )


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
            tables = [cast(TableBelief, belief).table for belief in beliefs]
            signs = categorical(generator, joint_logits(log_prior, tables))
        else:
            offered = sentences.variants(signs, slot)
            tables = [word_table(belief, sentences, signs, slot) for belief in beliefs]
            word = categorical(generator, joint_logits(block_prior(log_prior, offered), tables))
            signs = sentences.replace(signs, slot, word)
    return signs


def word_table(belief: Belief, sentences: Sentences, signs: Tensor, slot: int) -> Tensor:
    """log p(z_n | w, phi) of sentences (C, N) with every word in a slot: (C, N, V)."""
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
